"""Denoisers of Gaussian noise: trained on noisy references, resumed, exported, never misused."""

import numpy as np
import pytest
import torch

from partunroll.configuration.network_config import DRUNetConfig
from partunroll.configuration.train_config import TrainConfig
from partunroll.errors import InputError
from partunroll.network.checkpoint import load_checkpoint
from partunroll.network.export_to_folder import export_to_folder
from partunroll.network.exported_model import load_model
from partunroll.network.prior import DRUNetPrior
from partunroll.network.volume_denoiser import VolumeDenoiser
from partunroll.patches.denoising_batch import add_noise
from partunroll.ranks import Ranks
from partunroll.reconstruction.reconstruct_to_file import reconstruct_to_file
from partunroll.training.patch_dataset import PatchDataset

DENOISING = {
    "kind": "denoising",
    "noise_levels": [0.1, 0.3],
    "prior": {"widths": [2, 2, 2, 2]},
}
RUN = {"network": DENOISING, "steps": 6, "validation": {"every": 3}}


def test_batches_are_references_with_noise_of_the_drawn_levels(problem):
    config = problem.config(network=DENOISING, batch=4)
    batch = PatchDataset(problem.data, problem.operators, config)[5]
    assert batch.noise_levels.shape == (4,)
    assert 0.1 <= float(batch.noise_levels.min()) < float(batch.noise_levels.max()) <= 0.3
    noise = (batch.noisy - batch.truth) / batch.noise_levels[:, None, None]
    assert float(noise.std()) == pytest.approx(1, abs=0.15)
    assert not torch.equal(noise[0], noise[1])
    again = PatchDataset(problem.data, problem.operators, config)[5]
    assert torch.equal(again.noisy, batch.noisy)
    other = PatchDataset(problem.data, problem.operators, config)[6]
    assert not torch.equal(other.noise_levels, batch.noise_levels)


def test_processes_share_a_batch_without_changing_it(problem):
    config = problem.config(network=DENOISING, batch=4)
    whole = PatchDataset(problem.data, problem.operators, config)[2]
    parts = [
        PatchDataset(problem.data, problem.operators, config, ranks=Ranks(rank, 2))[2]
        for rank in range(2)
    ]
    assert torch.equal(torch.cat([part.noisy for part in parts]), whole.noisy)
    assert torch.equal(torch.cat([part.noise_levels for part in parts]), whole.noise_levels)


def test_complex_noise_has_the_level_in_both_parts():
    truth = torch.zeros(1, 200, 200, dtype=torch.complex64)
    noisy, levels = add_noise(truth, (0.2, 0.2), [(0, 1)])
    assert float(levels) == pytest.approx(0.2)
    assert float(noisy.real.std()) == pytest.approx(0.2, rel=0.03)
    assert float(noisy.imag.std()) == pytest.approx(0.2, rel=0.03)


def test_training_denoises_and_resumes_bit_for_bit(problem, tmp_path):
    straight = problem.run(tmp_path / "straight", **RUN)
    problem.run(tmp_path / "run", stop_after=4, **RUN)
    resumed = problem.run(tmp_path / "run", resume=True, **RUN)
    first, second = (load_checkpoint(r.output / "last.pt") for r in (straight, resumed))
    assert all(torch.equal(first.weights[k], second.weights[k]) for k in first.weights)
    # noise of 0.1 … 0.3 on images that reach about 1: middles of the thirds are 14, 14 … 11.5 dB
    expected = np.mean([-20 * np.log10(level) for level in (0.1333, 0.2, 0.2667)])
    assert straight.best["psnr_initial"] == pytest.approx(expected, abs=2)


def test_a_trained_denoiser_denoises(problem, tmp_path):
    network = {**DENOISING, "prior": {"widths": [8, 8, 8, 8]}}
    run = problem.run(
        tmp_path / "run",
        network=network,
        steps=150,
        batch=8,
        patch_shape=16,
        validation={"every": 150},
    )
    assert run.best["psnr"] > run.best["psnr_initial"] + 3


def test_an_exported_denoiser_is_the_same_and_says_what_it_is(problem, tmp_path):
    run = problem.run(tmp_path / "run", **RUN)
    export_to_folder(run.output, tmp_path / "model")
    network = load_model(tmp_path / "model").build_network()
    x, level = torch.rand(2, 16, 16), torch.tensor([0.1, 0.2])
    with torch.no_grad():
        expected = load_checkpoint(run.output / "best.pt").build_network()(x, level)
        assert torch.equal(network(x, level), expected)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "A denoiser of Gaussian noise of levels 0.1 to 0.3" in card
    assert "baseline pnp-pgd" in card


def test_reconstruct_refuses_a_denoiser(problem, tmp_path):
    run = problem.run(tmp_path / "run", **RUN)
    spec = next(iter(problem.specs.values()))
    with pytest.raises(InputError, match="of a denoiser"):
        reconstruct_to_file(
            spec,
            run.output / "best.pt",
            problem.factors[0],
            tmp_path / "y.npy",
            tmp_path / "x.zarr",
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": {**DENOISING, "noise_levels": [0.3, 0.1]}}, "range of positive levels"),
        ({"network": {**DENOISING, "noise_levels": [0, 0]}}, "range of positive levels"),
        ({"network": {**DENOISING, "prior": {"noise_level": 0.1}}}, "noise_level"),
        ({"network": DENOISING, "normal": "restricted"}, "no data step"),
        ({"network": DENOISING, "validation": {"stages": 2}}, "no data step"),
    ],
)
def test_options_that_mean_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate(values)


def test_a_level_per_patch_reaches_every_slice():
    config = DRUNetConfig(dim=2, channels=1, slice_axis=1, widths=(2, 2, 2, 2))
    torch.manual_seed(0)
    prior = DRUNetPrior(config).eval()
    x, levels = torch.rand(2, 5, 3, 6), torch.tensor([0.05, 0.5])
    with torch.no_grad():
        found = prior(x, levels)
        for part, level, one in zip(x, levels, found, strict=True):
            for number in range(3):
                alone = prior(part[None, :, number], level[None])[0]
                torch.testing.assert_close(one[:, number], alone, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(prior(x, levels.flip(0)), found)
        with pytest.raises(InputError, match="noise_levels must be given"):
            prior(x)


def test_a_volume_is_denoised_patch_by_patch_as_whole():
    """A pointwise denoiser cannot tell: the windows sum to one, and σ reaches every patch."""
    denoiser = VolumeDenoiser(
        lambda x, levels: x * (1 - levels.reshape(-1, 1, 1, 1)), patch_shape=4, batch=3
    )
    x = torch.rand(9, 7, 5)
    torch.testing.assert_close(denoiser(x, 0.25), 0.75 * x)
