"""One call of train at a time works in a run; plans of others change nothing."""

import pytest

from partunroll.errors import InputError
from partunroll.training.planned_run import planned_run
from partunroll.training.run_lock import RunLock


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def busy(stopped):
    """A run in which another process trains: it is writing its next checkpoint."""
    (stopped / "last.pt.partial").write_bytes(b"half")
    with RunLock() as lock:
        lock.take(stopped)
        yield stopped


def test_run_that_another_process_trains_is_refused_and_left_alone(problem, busy):
    before = files(busy)
    with pytest.raises(InputError, match=r"one process at a time, got .*in another's hands; wait"):
        problem.resume(busy)
    assert files(busy) == before


def test_run_is_free_again_when_the_other_has_ended(problem, stopped):
    with RunLock() as lock:
        lock.take(stopped)
    assert problem.resume(stopped).step == 8


def test_plan_of_a_run_that_another_process_trains_changes_nothing(problem, busy):
    before = files(busy)
    assert planned_run(None, problem.factors, problem.data, busy, resume=True).steps_left == 4
    assert files(busy) == before


def test_plan_of_a_run_that_was_killed_before_it_had_its_objects_makes_none(problem, stopped):
    text = (stopped / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(f"# data made objects\n{text}")
    for path in stopped.glob("*.pt"):
        path.unlink()
    before = files(stopped)
    planned_run(None, problem.factors, None, stopped, resume=True)
    assert files(stopped) == before
