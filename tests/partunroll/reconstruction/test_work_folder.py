"""A reconstruction on disk goes on after a kill, bit for bit, in its own folder alone."""

import itertools

import numpy as np
import pytest
import torch
from tests.partunroll.reconstruction.small_scan import SHAPE

from partunroll.errors import InputError, MismatchError
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.reconstruction.work_folder import WorkFolder, opened


def test_an_interrupted_reconstruction_goes_on_bit_for_bit(scan, tmp_path):
    """Interrupted after 3 to 10 calls of the prior; stage 2 has three for every batch."""
    whole, final, stage1 = scan.on_disk(tmp_path / "whole", refresh=2, batch=8)
    interruptions, calls = 0, itertools.count(1)
    while True:
        scan.network.calls_left = 3 + next(calls) % 8
        try:
            resumed, *volumes = scan.on_disk(tmp_path / "cut", refresh=2, batch=8)
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert interruptions < 60
    assert interruptions > 3
    np.testing.assert_array_equal(volumes[0], final)
    np.testing.assert_array_equal(volumes[1], stage1)
    assert resumed.history == whole.history
    assert resumed.patch_history == whole.patch_history


def test_what_is_finished_is_not_computed_again(scan, tmp_path):
    final = scan.on_disk(tmp_path / "work")[1]
    scan.network.calls_left = 0
    np.testing.assert_array_equal(scan.on_disk(tmp_path / "work")[1], final)


def test_in_memory_iterations_are_kept_too(scan, tmp_path):
    whole = scan.in_memory(normal="factors")

    def resumable():
        with opened(tmp_path / "work", {}, SHAPE, np.dtype(np.float32)) as work:
            return scan.in_memory(normal="factors", work=work)

    calls = len(overlapping_windows(SHAPE, 6).patches) // 2
    scan.network.calls_left = 2 * calls + 1  # two iterations are behind, and one call of the third
    with pytest.raises(KeyboardInterrupt):
        resumable()
    scan.network.calls_left = 4 * calls  # of six: one of stage 1, three of stage 2 are left
    resumed = resumable()
    assert torch.equal(resumed.final, whole.final)
    assert resumed.history == whole.history


def test_another_reconstruction_does_not_go_on(scan, tmp_path):
    scan.on_disk(tmp_path / "work", stages=1)
    with pytest.raises(MismatchError, match="got one with of test, not other"):
        scan.on_disk(tmp_path / "work", identity={"of": "other"})


def test_two_processes_do_not_share_a_work_folder(tmp_path):
    def work():
        return opened(tmp_path / "work", {}, SHAPE, np.dtype(np.float32))

    with work(), pytest.raises(InputError, match="another process works"), work():
        pass


def test_volumes_on_disk_are_deleted_when_nothing_reads_them(scan, tmp_path):
    scan.on_disk(tmp_path / "work", refresh=2)
    left = {path.name for path in (tmp_path / "work").iterdir() if path.is_dir()}
    assert left == {"initial_estimate", "iterate-3", "residual_backprojection", "refined"}


def test_interrupted_proximal_steps_go_on_bit_for_bit(scan, tmp_path, monkeypatch):
    """Interrupted at every second thing that is finished: amid conjugate gradients, too."""
    scan.network.cg_iterations = 2
    whole = scan.on_disk(tmp_path / "whole", stages=1)[1]
    finish, left = WorkFolder.finish, 0

    def interrupted(folder, name, **facts):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        finish(folder, name, **facts)

    monkeypatch.setattr(WorkFolder, "finish", interrupted)
    interruptions = 0
    while True:
        left = 2
        try:
            found = scan.on_disk(tmp_path / "cut", stages=1)[1]
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert interruptions < 30
    assert interruptions > 5
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("journal", ["", "{}", "[1]", '{"identity": 1, "finished": 2}'])
def test_a_damaged_journal_is_named(scan, tmp_path, journal):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "journal.json").write_text(journal)
    with pytest.raises(InputError, match=r"journal\.json must be the journal of a reconstruction"):
        scan.on_disk(folder)


def test_a_file_in_the_place_of_the_folder_is_refused(scan, tmp_path):
    (tmp_path / "work").write_text("")
    with pytest.raises(InputError, match="must be free for a work folder"):
        scan.on_disk(tmp_path / "work")


def test_a_result_that_is_not_finite_is_refused(scan, tmp_path):
    scan.network.weight.fill_(torch.nan)
    with pytest.raises(InputError, match="reconstruction must be finite"):
        scan.on_disk(tmp_path / "work")
    assert not (tmp_path / "work").exists()  # it would stand in the way of a mended network
