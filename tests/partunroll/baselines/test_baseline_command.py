"""`partunroll baseline`: what it makes, chooses and refuses."""

import functools
import json

import numpy as np
import pytest
import torch
import yaml

from normalfit.specs import load_spec
from partunroll.baselines.baseline_to_file import baseline_to_file
from partunroll.baselines.method import parse_method
from partunroll.baselines.problem import Problem
from partunroll.cli import main
from partunroll.configuration.network_config import DenoisingConfig, DRUNetConfig
from partunroll.errors import InputError, MismatchError, NotFiniteError
from partunroll.measurements.noise import RelativeNoise
from partunroll.measurements.simulation import simulate
from partunroll.network.checkpoint import Checkpoint, save_checkpoint
from partunroll.network.networks import build_network
from partunroll.objects.object_sources import MadeObjects
from partunroll.store.data_store import DataStore
from partunroll.volumes.image_metrics import Comparison


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A blur, made objects measured by it, and a denoiser."""
    folder = tmp_path_factory.mktemp("scans")
    document = {"kind": "deconvolution", "volume_shape": [20, 18], "gaussian_std_voxels": 1.2}
    (folder / "op.yaml").write_text(yaml.safe_dump(document))
    other = {**document, "gaussian_std_voxels": 1.5}
    (folder / "other.yaml").write_text(yaml.safe_dump(other))
    specs = {"blur": load_spec(folder / "op.yaml")}
    simulate(
        specs, MadeObjects(3), folder / "data.zarr", validation=2, noise=RelativeNoise(0.02), seed=4
    )
    torch.manual_seed(0)
    config = DenoisingConfig(prior=DRUNetConfig(dim=2, channels=1, widths=(2, 2, 2, 2)))
    weights = build_network(config).state_dict()
    save_checkpoint(folder / "denoiser.pt", Checkpoint(config, weights, (), (8, 8), "factors", 1))
    (store,) = (DataStore.open(folder / "data.zarr"),)
    sample = store.split("train")[0].id
    np.save(folder / "y.npy", store.read(sample, "measurements"))
    return folder


@pytest.fixture
def command(scans, tmp_path, monkeypatch, capfd):
    """Run the command on the scan; return its exit code and what it says."""

    def run(name, *options, operator="op.yaml"):
        files = ("--operator", scans / operator, "--measurements", scans / "y.npy")
        arguments = ["partunroll", "baseline", name, *files, "-o", tmp_path / "x.npy", *options]
        monkeypatch.setattr("sys.argv", list(map(str, arguments)))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return ended.value.code, out + err

    return run


def reconstructed(scans, name, y, **options):
    operator = load_spec(scans / "op.yaml").build()
    return parse_method({"kind": name, **options}).reconstruct(
        Problem.of(operator, torch.from_numpy(y))
    )


@pytest.mark.parametrize(
    ("name", "options", "same"),
    [
        ("cg", ("--weight", "0.1", "--iterations", "3"), {"ridge": 0.1, "iterations": 3}),
        ("tv", ("--option", "weight=0.02", "iterations=4"), {"weight": 0.02, "iterations": 4}),
        ("pnp-pgd", ("--denoiser", "DENOISER", "--iterations", "2"), {"iterations": 2}),
        ("dpir", ("--denoiser", "DENOISER", "--option", "iterations=2"), {"iterations": 2}),
        ("inr", ("--iterations", "3", "--option", "width=8"), {"iterations": 3, "width": 8}),
    ],
)
def test_the_command_makes_what_the_method_makes(command, scans, tmp_path, name, options, same):
    denoiser = str(scans / "denoiser.pt")
    code, text = command(name, *(denoiser if o == "DENOISER" else o for o in options))
    assert code == 0, text
    more = {"denoiser": denoiser} if "DENOISER" in options else {}
    expected = reconstructed(scans, name, np.load(scans / "y.npy"), **same, **more)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_options_gives_way_to_the_command_line(command, scans, tmp_path):
    (tmp_path / "tv.yaml").write_text("kind: tv\nweight: 0.5\niterations: 3\n")
    assert command("tv", "--config", tmp_path / "tv.yaml", "--weight", "0.01")[0] == 0
    y = np.load(scans / "y.npy")
    expected = reconstructed(scans, "tv", y, weight=0.01, iterations=3)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, rtol=1e-4, atol=1e-5)


def test_the_unit_is_taken_out_and_put_back(scans, tmp_path):
    """A denoiser is not linear: it must see objects that reach about 1, whatever their unit."""
    y = np.load(scans / "y.npy")
    np.save(tmp_path / "y.npy", 0.02 * y)
    spec, options = load_spec(scans / "op.yaml"), {"iterations": 2, "device": "cpu"}
    denoiser = scans / "denoiser.pt"
    baseline_to_file("pnp-pgd", spec, tmp_path / "y.npy", tmp_path / "x.npy", denoiser=denoiser,
                     intensity_per_mm=0.02, **options)  # fmt: skip
    given = {"denoiser": str(denoiser), "iterations": 2}
    expected = 0.02 * reconstructed(scans, "pnp-pgd", y, **given)
    tolerance = 0.01 * float(expected.abs().max())  # least squares, twenty steps in float32
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, rtol=0, atol=tolerance)
    unscaled = reconstructed(scans, "pnp-pgd", 0.02 * y, **given)
    assert float((unscaled - expected).abs().max()) > 2 * tolerance


def test_options_are_chosen_on_the_validation_samples_of_a_store(command, scans, tmp_path):
    data = scans / "data.zarr"
    code, text = command("tv", "--validation", data, "--iterations", "5", "--try",
                         "weight=[10, 1e-3]", "--json", tmp_path / "x.json")  # fmt: skip
    assert code == 0, text
    assert "tv, weight 0.001, iterations 5" in text
    assert "weight 10.0: " in text or "weight 10: " in text
    store = DataStore.open(data)
    psnr = []
    for sample in store.split("validation"):
        reference = torch.from_numpy(store.read(sample.id, "reference"))
        y = store.read(sample.id, "measurements")
        x = reconstructed(scans, "tv", y, weight=1e-3, iterations=5)
        psnr.append(Comparison.with_reference(reference).psnr(x, reference))
    assert f"weight 0.001: {np.mean(psnr):.2f} dB" in text


def test_what_was_chosen_is_written_as_json(scans, tmp_path):
    summary = baseline_to_file(
        "pnp-pgd",
        load_spec(scans / "op.yaml"),
        scans / "y.npy",
        tmp_path / "x.zarr",
        denoiser=scans / "denoiser.pt",
        iterations=1,
        validation=scans / "data.zarr",
        candidates={"noise_level": [0.1, 0.2]},
        device="cpu",
    )
    document = json.loads(json.dumps(summary.as_json()))
    assert document["choice"]["method"]["denoiser"] == str(scans / "denoiser.pt")
    assert [t["options"] for t in document["choice"]["tried"]] == [
        {"noise_level": 0.1},
        {"noise_level": 0.2},
    ]


OWN = """
import torch

def fitted(A, y):
    x = torch.zeros(A.domain.shape, requires_grad=True)
    (gradient,) = torch.autograd.grad((A.forward(x) - y).square().sum() / 2, x)
    return x - gradient

def diverged(A, y):
    return A.adjoint(y) * float("nan")
"""


def test_a_function_may_differentiate_and_what_is_not_finite_is_not_written(
    scans, tmp_path, monkeypatch
):
    (tmp_path / "my_fitted_method.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    spec = load_spec(scans / "op.yaml")
    for name, output in (("fitted", "x.npy"), ("diverged", "nan.npy")):
        options = {"function": f"my_fitted_method:{name}"}
        make = functools.partial(baseline_to_file, "function", spec, scans / "y.npy",
                                 tmp_path / output, options=options, device="cpu")  # fmt: skip
        if name == "fitted":
            make()
        else:
            with pytest.raises(NotFiniteError, match="must be finite"):
                make()
    expected = spec.build().adjoint(torch.from_numpy(np.load(scans / "y.npy")))
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, rtol=1e-4, atol=1e-6)
    assert not (tmp_path / "nan.npy").exists()


def test_complex_measurements_of_a_projector_are_refused(tmp_path):
    document = {"kind": "parallel_beam", "volume_shape": [8, 8], "voxel_mm": 1.0, "num_views": 4,
                "num_columns": 12, "pixel_mm": 1.0}  # fmt: skip
    (tmp_path / "op.yaml").write_text(yaml.safe_dump(document))
    spec = load_spec(tmp_path / "op.yaml")
    np.save(tmp_path / "y.npy", np.ones(spec.build().range.shape, np.complex64))
    with pytest.raises(InputError, match="must be real for parallel_beam, got complex"):
        baseline_to_file("fdk", spec, tmp_path / "y.npy", tmp_path / "x.npy", device="cpu")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("tv", ("--option", "wieght=1"), "wieght must be left out of tv"),
        ("fdk", ("--iterations", "3"), "iterations must be left out of fdk and only be given for"),
        ("tv", ("--try", "weight=[1]"), "only be given with validation"),
        ("tv", ("--option", "weight=1", "--weight", "2"), "weight twice"),
        ("zero-filled", ("--validation", "DATA"), "must be given to choose options"),
        ("tv", ("--config", "nope.yaml"), "readable YAML"),
        ("pnp-pgd", ("--denoiser", "nope.pt"), "nope.pt, not there"),
        ("pnp-pgd", (), "denoiser: Field required"),
        ("fdk", (), "must be used with a cone or parallel beam"),
    ],
)
def test_wrong_options_are_one_error_line(command, scans, tmp_path, name, options, words):
    code, text = command(name, *(scans / "data.zarr" if o == "DATA" else o for o in options))
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert words in text
    assert not (tmp_path / "x.npy").exists()


def test_samples_and_factors_of_another_operator_are_refused(command, scans, tmp_path):
    code, text = command("tv", "--validation", scans / "data.zarr", operator="other.yaml")
    assert code == 2
    assert "got none; its operators are blur" in text


def test_factors_of_another_operator_do_not_precondition(scans, tmp_path):
    from normalfit.fit_to_file import fit_to_file

    other = load_spec(scans / "other.yaml")
    fit_to_file(other, tmp_path / "f.zarr", probes=2)
    spec = load_spec(scans / "op.yaml")
    with pytest.raises(MismatchError, match="factors must belong to the operator"):
        baseline_to_file("cg", spec, scans / "y.npy", tmp_path / "x.npy", device="cpu",
                         factors=tmp_path / "f.zarr")  # fmt: skip
