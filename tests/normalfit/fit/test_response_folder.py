"""Responses on disk: resumed bit for bit, refused for another operator, damage told."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from normalfit.errors import InputError, MismatchError
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator
from normalfit.model import Model
from normalfit.operators.inpainting import Inpainting
from normalfit.probes import ProbeSet, collect_responses, default_batch, draw_probe
from normalfit.response_folder import ResponseFolder

SHAPE = (4, 5)


def normal(w):
    return 2 * w + w.roll(1, -1) + w.roll(-1, -1)


def collect(path, count, function=normal, **options):
    folder = None if path is None else ResponseFolder(path, options.pop("fingerprint", "op"))
    return collect_responses(
        function, SHAPE, count, seed=options.pop("seed", 0), stream="training", folder=folder,
        **options,
    )  # fmt: skip


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found.responses, expected.responses, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(found.probes, expected.probes, strict=True):
        assert torch.equal(a, b)


def test_a_folder_gives_what_memory_gives_and_computes_each_response_once(tmp_path):
    calls = []

    def counted(w):
        calls.append(1)
        return normal(w)

    assert_same(collect(tmp_path / "kept", 3, counted), collect(None, 3))
    assert_same(collect(tmp_path / "kept", 5, counted), collect(None, 5))
    assert len(calls) == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_every_dtype_comes_back_as_it_was(tmp_path, dtype):
    assert_same(collect(tmp_path / "kept", 2, dtype=dtype), collect(None, 2, dtype=dtype))


def test_a_fit_that_fails_in_the_middle_goes_on(tmp_path):
    calls = []

    def failing(w):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError
        return normal(w)

    with pytest.raises(RuntimeError):
        collect(tmp_path / "kept", 6, failing)
    assert_same(collect(tmp_path / "kept", 6, failing), collect(None, 6))
    assert len(calls) == 3 + 4


def test_a_killed_process_leaves_whole_files_and_nothing_else(tmp_path):
    script = textwrap.dedent(f"""
        import os, signal
        import normalfit.response_folder as r
        from normalfit.probes import collect_responses
        real = r.Path.replace
        def killed(self, target):
            if "000002" in self.name:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)
        r.Path.replace = killed
        collect_responses(
            lambda w: 2 * w + w.roll(1, -1) + w.roll(-1, -1), {SHAPE}, 6, seed=0,
            stream="training", folder=r.ResponseFolder({str(tmp_path / "kept")!r}, "op"),
        )
    """)
    ended = subprocess.run([sys.executable, "-c", script], check=False)  # noqa: S603
    assert ended.returncode == -signal.SIGKILL
    names = [file.name for file in (tmp_path / "kept").iterdir()]
    assert sum(name.endswith(".response") for name in names) == 2
    assert sum(name.endswith(".partial") for name in names) == 1
    assert_same(collect(tmp_path / "kept", 6), collect(None, 6))
    assert not any(
        name.endswith(".partial") for name in [file.name for file in (tmp_path / "kept").iterdir()]
    )


def test_what_another_process_is_writing_stays(tmp_path):
    collect(tmp_path / "kept", 1)
    partial = tmp_path / "kept" / f".x.response.{os.getpid()}.partial"
    partial.write_bytes(b"")
    collect(tmp_path / "kept", 2)
    assert partial.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fingerprint": "other"}, "fingerprint of the responses in .* must be other, got op"),
        ({"dtype": torch.float64}, "dtype of the responses in .* must be float64, got float32"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, options, said):
    collect(tmp_path / "kept", 1)
    with pytest.raises(MismatchError, match=said):
        collect(tmp_path / "kept", 1, **options)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a new folder or one of a fit"):
        collect(tmp_path, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_header_of_something_else_is_refused(tmp_path):
    (tmp_path / "responses.json").write_text(json.dumps({"mine": 1}))
    with pytest.raises(InputError, match="of something else"):
        collect(tmp_path, 1)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_response_is_told(tmp_path, damage):
    collect(tmp_path / "kept", 2)
    file = tmp_path / "kept" / "training-seed0-000001.response"
    data = bytearray(file.read_bytes())
    data[7] ^= 1
    file.write_bytes(data[:-5] if damage == "cut" else data)
    kept = collect(tmp_path / "kept", 2)
    with pytest.raises(InputError, match=r"000001.response damaged; delete it"):
        list(kept.responses)


def test_other_seeds_live_in_the_same_folder(tmp_path):
    collect(tmp_path / "kept", 2)
    assert_same(collect(tmp_path / "kept", 2, seed=1), collect(None, 2, seed=1))


def test_nothing_is_read_before_it_is_asked_for(tmp_path, monkeypatch):
    collect(tmp_path / "kept", 4)
    kept = collect(tmp_path / "kept", 4)
    for file in (tmp_path / "kept").glob("*00000[0-2].response"):
        file.unlink()
    assert isinstance(kept, ProbeSet)
    assert kept.responses[3].shape == SHAPE
    assert len(kept) == 4


def test_batches_are_the_same_to_rounding():
    single, batched = collect(None, 7), collect(None, 7, batch=3)
    for a, b in zip(single.responses, batched.responses, strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        collect(None, 1, batch=0)


def test_as_many_probes_at_once_as_the_voxels_allow():
    assert default_batch((4, 5)) == 64
    assert default_batch((128, 128)) == 32
    assert default_batch((64, 64, 64)) == 2
    assert default_batch((512, 512, 512)) == 1


@pytest.mark.parametrize(("batch", "sizes"), [(None, [4, 15, 5, 2]), (3, [3, 1, *[3] * 6, 2, 2])])
def test_a_fit_applies_the_operator_to_batches(monkeypatch, batch, sizes):
    operator, seen = Inpainting(Grid(SHAPE), torch.rand(SHAPE)), []
    normal = operator.normal

    def watched(w):
        seen.append(tuple(w.shape))
        return normal(w)

    monkeypatch.setattr(operator, "normal", watched)
    model = Model("diagonal-circulant", terms=1)
    fit(operator, model=model, probes=20, held_out=4, evaluation=2, batch=batch)
    assert seen == [(size, *SHAPE) for size in sizes]


def test_complex_probes_are_circular_and_of_unit_energy():
    draws = torch.stack(
        [
            draw_probe((40, 50), seed=0, stream="training", index=i, dtype=torch.complex128)
            for i in range(20)
        ]
    )
    assert float(draws.abs().square().mean()) == pytest.approx(1, abs=0.02)
    assert abs(complex(draws.square().mean())) < 0.02
    single = draw_probe((40, 50), seed=0, stream="training", index=0, dtype=torch.complex64)
    torch.testing.assert_close(single.to(torch.complex128), draws[0])


def test_a_complex_response_to_a_real_probe_says_what_to_do():
    with pytest.raises(InputError, match="set is_complex on the operator"):
        collect(None, 1, lambda w: w * 1j)


def test_responses_have_the_probes_precision_in_memory_and_on_disk(tmp_path):
    def in_double(w):
        return (normal(w.double()) / 3).double()

    kept = collect(None, 3, in_double)
    assert {response.dtype for response in kept.responses} == {torch.float32}
    assert_same(collect(tmp_path / "responses", 3, in_double), kept)


def test_a_response_whose_conjugate_is_yet_to_be_taken_is_stored(tmp_path):
    def lazy(w):
        return (w * 1j).conj()

    options = {"dtype": torch.complex64}
    assert lazy(torch.ones(1, dtype=torch.complex64)).is_conj()
    assert_same(
        collect(tmp_path / "responses", 2, lazy, **options), collect(None, 2, lazy, **options)
    )


def test_adam_goes_on_with_stored_responses(tmp_path):
    calls = []

    def counted(x):
        calls.append(len(x) if x.ndim > len(SHAPE) else 1)
        return normal(x)

    operator = FunctionOperator(Grid(SHAPE), Grid(SHAPE), counted, lambda y: y, batched=True)
    how = {"method": "adam", "probes": 5, "held_out": 2, "evaluation": 2}
    expected = fit(operator, **how).factors
    first = fit(operator, responses=ResponseFolder(tmp_path / "r", "op"), **how).factors
    calls.clear()
    again = fit(operator, responses=ResponseFolder(tmp_path / "r", "op"), **how).factors
    whole_grid = 2  # what is left are the patch errors, on restrictions of the operator
    assert sum(calls) == whole_grid
    for found in (first, again):
        assert torch.equal(found.kernel.values, expected.kernel.values)
