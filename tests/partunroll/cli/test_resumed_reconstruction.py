"""A killed `partunroll reconstruct` goes on, and two processes give what one gives."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from tests.partunroll.cli.conftest import call

from partunroll.reconstruction.memory_plan import MemoryPlan
from partunroll.reconstruction.reconstruction_file import open_reconstruction
from partunroll.reconstruction.stored_problem import StoredProblem
from partunroll.reconstruction.work_folder import work_path

KILLS = 3  # of either way; 10 passed when this was written, and take a minute
VOLUMES = ("reconstruction", "stage1", "initial_estimate")
# Runs commands in forks of a process that has imported everything and computed nothing: each as
# so many ranks of torchrun, killed by SIGKILL when it has seen so many events.
DRIVER = """
import json, os, signal, socket, sys
import deepinv.models, torch.distributed
from partunroll.reconstruction import reconstruct_to_file
from partunroll.store import data_store_header
from partunroll.reconstruction import reconstruction_file, reconstruction_job
from partunroll.cli import main
from partunroll.reconstruction.memory_plan import MemoryPlan
from partunroll.network.prior import DRUNetPrior
from partunroll.store.stored_volume import PlaneWriter
from partunroll.reconstruction.work_folder import WorkFolder

data_store_header.VOLUME_CHUNK = data_store_header.IMAGE_CHUNK = 4

def counted(owner, name, events):
    function = getattr(owner, name)

    def hit(*arguments, **options):
        events["left"] -= 1
        if events["left"] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    setattr(owner, name, hit)

def run(job, rank, port):
    plan = MemoryPlan(on_disk=job["on_disk"], planes=24, slab_bytes=2**27)
    reconstruction_job.plan_memory = lambda *_, **__: plan
    if job["kill_after"] is not None:
        events = {"left": job["kill_after"]}
        for owner, name in ((DRUNetPrior, "forward"), (PlaneWriter, "write"), (WorkFolder, "_save"),
                            (WorkFolder, "clear"), (reconstruction_file, "put_in_place")):
            counted(owner, name, events)
    if job["ranks"] > 1:
        os.environ |= {"WORLD_SIZE": str(job["ranks"]), "RANK": str(rank), "LOCAL_RANK": str(rank),
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.argv = ["partunroll", *job["arguments"]]
    main()

for job in json.loads(sys.stdin.read()):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(job["ranks"]):
        child = os.fork()
        if not child:
            with open(os.devnull if rank else 2, "w", closefd=bool(rank)) as out:
                os.dup2(out.fileno(), 1)
                run(job, rank, port)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes), flush=True)
"""


def run(*jobs):
    """Run jobs one after the other; return the exit codes of the processes of each."""
    common = {"ranks": 1, "kill_after": None, "on_disk": True}
    done = subprocess.run(  # noqa: S603 - the driver above
        [sys.executable, "-c", DRIVER],
        input=json.dumps([common | job for job in jobs]),
        capture_output=True,
        text=True,
        timeout=900,  # of which a busy machine needs most to import
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def on_disk_arguments(reconstruct_arguments, project):
    initial = project / "data.zarr/samples/a/initial_estimate"
    # more than this process holds after other tests: it counts, with what it held before
    options = ["--max-memory", "64G", "--patch", "8", "--batch", "4"]
    return lambda output: [*reconstruct_arguments(output, initial=initial), *options]


@pytest.mark.slow  # test_killed_reconstruction drills the same with one seed
def test_killed_at_random_moments_and_shared_it_gives_the_same_volumes(on_disk_arguments, tmp_path):
    """One driver for all, as its imports take longer than what it drives."""
    rng = random.Random(7)  # noqa: S311 - seeded on purpose
    jobs = []
    for on_disk in (True, False):
        where = "disk" if on_disk else "memory"
        whole, cut, two = (
            {"arguments": on_disk_arguments(tmp_path / f"{name}-{where}.zarr"), "on_disk": on_disk}
            for name in ("whole", "cut", "two")
        )
        kills = [rng.randrange(2, 9 if on_disk else 20) for _ in range(KILLS)]
        jobs += [whole, *(cut | {"kill_after": n} for n in kills), cut, two | {"ranks": 2}]
    codes = run(*jobs)
    for half, where in ((codes[: KILLS + 3], "disk"), (codes[KILLS + 3 :], "memory")):
        assert half[0] == [0]
        assert half[1] == [-9]
        assert half[KILLS + 2] == [0, 0]
        # once it is finished, what is there is not touched: a user's error
        finished = next(i for i, code in enumerate(half[1 : KILLS + 2]) if code == [0])
        assert half[1 : 1 + finished] == [[-9]] * finished
        assert half[2 + finished : KILLS + 2] == [[2]] * (KILLS - finished)
        whole, cut, two = (tmp_path / f"{n}-{where}.zarr" for n in ("whole", "cut", "two"))
        same_volumes(whole, cut)
        same_volumes(whole, two, exactly=False)
        facts = [open_reconstruction(path).facts for path in (whole, cut, two)]
        assert [f.settings["processes"] for f in facts] == [1, 1, 2]
        assert facts[0].iterations == facts[1].iterations
        for name in ("iterations", "patch_iterations"):
            one, shared = ([i["gradient_norm"] for i in getattr(facts[k], name)] for k in (0, 2))
            assert shared == pytest.approx(one, rel=1e-4)
    same_volumes(tmp_path / "whole-disk.zarr", tmp_path / "whole-memory.zarr", exactly=False)
    assert len(list(tmp_path.iterdir())) == 6  # and no work folder


def same_volumes(a, b, *, exactly=True):
    for name in VOLUMES:
        found, wanted = open_reconstruction(b).read(name), open_reconstruction(a).read(name)
        if exactly:
            np.testing.assert_array_equal(found, wanted)
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture
def on_disk(monkeypatch):
    plan = MemoryPlan(on_disk=True, planes=24, slab_bytes=2**27)
    monkeypatch.setattr(
        "partunroll.reconstruction.reconstruction_job.plan_memory", lambda *_, **__: plan
    )


def test_the_file_says_where_the_volumes_were(on_disk, on_disk_arguments, cli, tmp_path):
    stored, in_memory = tmp_path / "stored.zarr", tmp_path / "memory.zarr"
    code, _, err = cli(*on_disk_arguments(stored))
    assert (code, err) == (0, "")
    assert cli(*on_disk_arguments(in_memory)[:-6])[0] == 0  # without the last three options
    found, expected = (open_reconstruction(path).facts for path in (stored, in_memory))
    assert (found.settings["volumes"], expected.settings["volumes"]) == ("on disk", "in memory")
    assert len(found.iterations) == len(found.patch_iterations) == 2
    assert found.final_residual_norm


def test_an_output_in_its_place_is_the_end_of_what_was_begun(
    on_disk_arguments, cli, refused, tmp_path, monkeypatch
):
    """Killed between the renaming of the output and the deletion of the work folder."""
    output = tmp_path / "recon.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("partunroll.reconstruction.work_folder.WorkFolder.clear", lambda _: None)
        assert cli(*on_disk_arguments(output))[0] == 0
    assert work_path(output).is_dir()
    assert "must be of the same reconstruction" in refused(
        *on_disk_arguments(output), "--blend", "crop"
    )
    assert cli(*on_disk_arguments(output))[0] == 0
    assert not work_path(output).exists()
    assert "output must not exist yet" in refused(*on_disk_arguments(output))


def test_a_foreign_output_beside_what_was_begun_is_refused(
    on_disk_arguments, cli, refused, tmp_path, monkeypatch
):
    output = tmp_path / "recon.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("partunroll.reconstruction.work_folder.WorkFolder.finish", stopped)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            call(*on_disk_arguments(output))
    output.mkdir()
    assert "output must not exist yet" in refused(*on_disk_arguments(output))


def stopped(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-memory", "much"], "max_memory must be an amount as 512M or 8G, got 'much'"),
        (["--max-memory", "1M"], "max_memory must be at least"),
    ],
)
def test_memory_that_does_not_do(reconstruct_arguments, refused, tmp_path, options, message):
    assert message in refused(*reconstruct_arguments(tmp_path / "r.zarr"), *options)


def test_least_squares_and_auto_are_made_on_disk_too(on_disk, reconstruct_arguments, cli, tmp_path):
    stored, in_memory = tmp_path / "stored.zarr", tmp_path / "memory.zarr"
    auto = ["--intensity-per-mm", "auto", "--patch", "8"]
    assert cli(*reconstruct_arguments(stored), *auto, "--max-memory", "64G")[0] == 0
    assert cli(*reconstruct_arguments(in_memory), *auto)[0] == 0
    found, wanted = (open_reconstruction(path) for path in (stored, in_memory))
    assert found.facts.settings["volumes"] == "on disk"
    assert found.facts.initial_estimate == wanted.facts.initial_estimate
    assert found.facts.intensity_per_mm == pytest.approx(wanted.facts.intensity_per_mm, rel=1e-3)
    for name in VOLUMES:
        np.testing.assert_allclose(found.read(name), wanted.read(name), rtol=1e-3, atol=1e-3)


def test_the_slabs_of_a_killed_process_are_kept(
    on_disk, monkeypatch, reconstruct_arguments, cli, tmp_path
):
    """Their thickness follows the memory that a process holds, which is never twice the same."""
    output = tmp_path / "recon.zarr"
    arguments = [*reconstruct_arguments(output), "--max-memory", "64G"]
    with monkeypatch.context() as patch:
        patch.setattr("partunroll.reconstruction.reconstruction_job.reconstruct_stored", stopped)
        assert cli(*arguments)[0] == 130
    kept = []
    monkeypatch.setattr(
        "partunroll.reconstruction.reconstruction_job.plan_memory",
        lambda *_, **__: MemoryPlan(on_disk=True, planes=7, slab_bytes=2**20),
    )

    def watched(*arguments, planes, **options):
        kept.append(planes)
        return StoredProblem(*arguments, planes=planes, **options)

    monkeypatch.setattr("partunroll.reconstruction.reconstruction_job.StoredProblem", watched)
    assert cli(*arguments)[0] == 0
    assert kept == [24]


def test_a_batch_of_nothing_is_refused_before_anything_is_computed(
    reconstruct_arguments, refused, tmp_path, monkeypatch
):
    monkeypatch.setattr("partunroll.reconstruction.reconstruction_job.load_scan", stopped)
    output = tmp_path / "r.zarr"
    said = refused(*reconstruct_arguments(output), "--batch", "0")
    assert "'--batch'" in said
    assert "greater than or equal to 1" in said
    assert not work_path(output).exists()
