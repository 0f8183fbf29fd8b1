"""Methods out of documents and functions; options chosen on validation samples."""

import json
from typing import get_args

import pytest
import torch

from normalfit.errors import NormalfitError
from partunroll.baselines.choice import choose
from partunroll.baselines.method import KINDS, parse_method
from partunroll.baselines.method_options import method_document, parse_candidates, parse_options
from partunroll.baselines.problem import Problem
from partunroll.cli.baselines import Name
from partunroll.errors import InputError, NotFiniteError
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
