"""Methods out of documents; options chosen on validation samples; the command."""

import functools
import json
from typing import get_args

import numpy as np
import pytest
import torch
import yaml

from normalfit.errors import NormalfitError
from normalfit.specs import load_spec
from partunroll.baselines.baseline_to_file import baseline_to_file
from partunroll.baselines.choice import choose
from partunroll.baselines.method import KINDS, parse_method
from partunroll.baselines.method_options import method_document, parse_candidates, parse_options
from partunroll.baselines.problem import Problem
from partunroll.cli import main
from partunroll.cli.baselines import Name
from partunroll.configuration.network_config import DenoisingConfig, DRUNetConfig
from partunroll.errors import InputError, MismatchError, NotFiniteError
from partunroll.measurements.noise import RelativeNoise
from partunroll.measurements.simulation import simulate
from partunroll.network.checkpoint import Checkpoint, save_checkpoint
from partunroll.network.networks import build_network
from partunroll.objects.object_sources import MadeObjects
from partunroll.store.data_store import DataStore
from partunroll.volumes.image_metrics import Comparison


def test_the_command_knows_the_kinds_of_the_table():
    assert get_args(Name) == tuple(KINDS)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "one of zero-filled"),
        ({"kind": "dpri"}, "perhaps dpir"),
        ({"kind": ["tv"]}, "one of zero-filled"),
        ({"kind": "tv", "wieght": 1, "iterations": 0}, "iterations: .*; wieght: "),
        ({"kind": "fdk", "window": "square"}, "window: .*'ramp'"),
        ({"kind": "pnp-pgd"}, "denoiser: Field required"),
        ({"kind": "pnp-pgd", "denoiser": "d.pt", "step": 2}, "step: .*less than 2"),
        ({"kind": "dpir", "denoiser": "d.pt", "noise_levels": [0.1, 0.2]}, "not increase"),
        ({"kind": "function", "function": "os:system"}, "in a module of yours"),
        ({"kind": "function", "function": "mine"}, "must be module:function"),
    ],
)
def test_every_problem_of_a_document_is_named(document, words):
    with pytest.raises(InputError, match=words):
        parse_method(document)


def test_a_method_says_its_options():
    assert str(parse_method({"kind": "tv", "weight": 0.02})) == "tv, weight 0.02, iterations 60"
    words = str(parse_method({"kind": "pnp-pgd", "denoiser": "d.pt"}))
    assert words.startswith("pnp-pgd, denoiser d.pt, noise level 0.05, step 1, relaxation")


def test_a_function_of_the_user_is_called_with_its_options(real, tmp_path, monkeypatch):
    (tmp_path / "my_own_method.py").write_text(
        "def landweber(A, y, *, steps, size):\n"
        "    x = 0 * A.adjoint(y)\n"
        "    for _ in range(steps):\n"
        "        x = x - size * A.adjoint(A.forward(x) - y)\n"
        "    return x\n"
        "def wrong(A, y):\n"
        "    return y\n"
        "def failing(A, y):\n"
        "    return 1 / 0\n"
    )
    monkeypatch.chdir(tmp_path)
    size = 1 / real.problem.norm
    document = {"kind": "function", "function": "my_own_method:landweber"}
    method = parse_method({**document, "options": {"steps": 2, "size": size}})
    b = real.backprojection
    real.assert_is(method.reconstruct(real.problem), b + (b - real.normal @ b))
    for name, words in (("wrong", "of shape .6, 5, 4., got .90,."), ("failing", "ZeroDivision")):
        other = parse_method({**document, "function": f"my_own_method:{name}"})
        with pytest.raises(InputError, match=words):
            other.reconstruct(real.problem)
    with pytest.raises(NormalfitError, match="no_such_module"):
        parse_method({**document, "function": "no_such_module:f"}).reconstruct(real.problem)


def test_the_best_options_are_chosen_and_all_are_told(real):
    truth = torch.from_numpy(real.truth).float()
    candidates = {"ridge": [1.0, 1e-2], "iterations": [1, 30]}
    choice = choose({"kind": "cg"}, candidates, [real.problem], [truth])
    assert [dict(t.options) for t in choice.tried] == [
        {"ridge": r, "iterations": n} for r in (1.0, 1e-2) for n in (1, 30)
    ]
    comparison = Comparison.with_reference(truth)
    for tried in choice.tried:
        x = parse_method({"kind": "cg", **tried.options}).reconstruct(real.problem)
        assert tried.psnr == pytest.approx(comparison.psnr(x, truth), abs=1e-6)
    assert choice.best.psnr == max(tried.psnr for tried in choice.tried)
    assert choice.document == {"kind": "cg", **choice.best.options}


@pytest.mark.parametrize(
    ("candidates", "words"),
    [({}, "values to try"), ({"weight": []}, "values to try"), ({"weigth": [1]}, "weigth")],
)
def test_nothing_is_tried_where_a_candidate_cannot_be(real, candidates, words):
    with pytest.raises(InputError, match=words):
        choose({"kind": "tv"}, candidates, [real.problem], [real.problem.initial_estimate])
    with pytest.raises(InputError, match="each with its reference"):
        choose({"kind": "tv"}, {"weight": [1]}, [real.problem], [])


def test_options_that_diverge_are_not_chosen(real, tmp_path, monkeypatch):
    """NaN compares with nothing: as the first of the candidates it would have been the best."""
    (tmp_path / "my_diverging_method.py").write_text(
        "from partunroll.errors import NotFiniteError\n"
        "def scaled(A, y, *, scale):\n"
        "    if scale == 'raise':\n"
        "        raise NotFiniteError('it must stay finite')\n"
        "    return float(scale) * A.adjoint(y)\n"
    )
    monkeypatch.chdir(tmp_path)
    truth = torch.from_numpy(real.truth).float()
    document = {"kind": "function", "function": "my_diverging_method:scaled"}
    bad = [{"scale": scale} for scale in ("nan", "inf", "raise")]
    good = {"scale": str(1 / real.problem.norm)}
    choice = choose(document, {"options": [*bad, good]}, [real.problem], [truth])
    assert choice.best.options == {"options": good}
    assert choice.document["options"] == good
    assert "diverged" in str(choice.tried[0])
    record = json.loads(json.dumps(choice.as_json(), allow_nan=False))
    assert [tried["psnr"] is None for tried in record["tried"]] == [True, True, True, False]
    with pytest.raises(NotFiniteError, match="with some candidate"):
        choose(document, {"options": bad}, [real.problem], [truth])


def test_a_problem_is_checked(real):
    p = real.problem
    with pytest.raises(InputError, match="y must have the shape"):
        Problem(p.operator, p.y[1:], p.norm, p.initial_estimate)
    with pytest.raises(InputError, match="norm must be positive"):
        Problem(p.operator, p.y, 0.0, p.initial_estimate)
    assert Problem.of(p.operator, p.y).norm == pytest.approx(p.norm, rel=1e-2)


def test_options_are_read_as_yaml():
    assert parse_options(["step=1.5", "window=hann", "a=1e-3"]) == {
        "step": 1.5, "window": "hann", "a": 1e-3
    }  # fmt: skip
    assert parse_options(["options={size: 1e-3, steps: [2]}"]) == {
        "options": {"size": 1e-3, "steps": [2]}
    }
    assert parse_candidates(["weight=[1e-3, 2]", "b=3"]) == {"weight": [1e-3, 2], "b": [3]}
    for wrong in (["step"], ["=1"], ["a=1", "a=2"], ["a=[1"]):
        with pytest.raises(InputError):
            parse_options(wrong)


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


@pytest.mark.parametrize(
    ("text", "words"),
    [("weight: 1\nweight: 2\n", "must be given once"), ("", "empty file"), ("- a", "a list")],
)
def test_a_config_is_one_mapping_without_repeated_keys(tmp_path, text, words):
    path = tmp_path / "tv.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"readable YAML file.*{words}"):
        method_document("tv", path)
    path.write_text("weight: 1e-3\n", encoding="utf-8")
    assert method_document("tv", path) == {"kind": "tv", "weight": 1e-3}


def test_complex_measurements_of_a_projector_are_refused(tmp_path):
    document = {"kind": "parallel_beam", "volume_shape": [8, 8], "voxel_mm": 1.0, "num_views": 4,
                "num_columns": 12, "pixel_mm": 1.0}  # fmt: skip
    (tmp_path / "op.yaml").write_text(yaml.safe_dump(document))
    spec = load_spec(tmp_path / "op.yaml")
    np.save(tmp_path / "y.npy", np.ones(spec.build().range.shape, np.complex64))
    with pytest.raises(InputError, match="must be real for parallel_beam, got complex"):
        baseline_to_file("fdk", spec, tmp_path / "y.npy", tmp_path / "x.npy", device="cpu")


def test_a_denoiser_is_read_once_while_its_file_is_the_same(real, tmp_path, monkeypatch):
    read = []

    def load(path, **_):
        read.append(path)
        return lambda x, _levels: x

    monkeypatch.setattr("partunroll.baselines.plug_and_play_methods.load_denoiser", load)
    path = tmp_path / "denoiser.pt"
    path.write_bytes(b"1")
    method = parse_method({"kind": "pnp-pgd", "denoiser": str(path), "iterations": 1})
    method.prepare(torch.device("cpu"))
    method.reconstruct(real.problem)
    assert read == [path]
    path.write_bytes(b"12")
    method.reconstruct(real.problem)
    assert read == [path, path]


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
