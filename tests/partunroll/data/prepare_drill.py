"""Prepare in forked processes, with their peak memory taken.

A script, run once by the tests beside it: importing the packages takes longer than the rest.
Nothing starts a thread before a process is forked.
"""

import json
import os
import resource
import sys
from pathlib import Path

import numpy as np

from normalfit.specs import spec_from_document
from partunroll.measurements.preparation import prepare

SIDE = 128
CONE = {"kind": "cone_beam", "voxel_mm": 1.0, "detector_shape": [64, 64], "num_views": 8}


def inpainting(side):
    """Return an operator that has no kernels to load."""
    document = {"kind": "inpainting", "volume_shape": [side] * 3, "mask_file": "mask.npy"}
    mask = np.random.default_rng(0).random((side,) * 3) < 0.6
    return spec_from_document(document, {"mask_file": mask})


def cone_beam(side):
    lengths = {"pixel_mm": 3 * side / 64, "source_origin_mm": 4.0 * side}
    document = {**CONE, **lengths, "origin_detector_mm": 2.0 * side, "volume_shape": [side] * 3}
    return spec_from_document(document, {})


def forked(run, *arguments):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(*arguments)
            status = 0
        finally:
            os._exit(status)
    return child


def finished(child):
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("a forked process failed")


def written(folder, shape_of_x, shape_of_y):
    rng = np.random.default_rng(0)
    paths = []
    for name, shape in (("y", shape_of_y), ("x", shape_of_x)):
        paths.append([folder / f"{name}{i}.npy" for i in range(shape[0])])
        for path in paths[-1]:
            np.save(path, rng.random(shape[1:], dtype=np.float32))
    return paths


def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_memory(folder, make_spec, method):
    """Write the peak memory beyond that of a small problem, in volumes."""
    before = 0
    for side in (16, SIDE):
        before = peak_bytes()
        spec, place = make_spec(side), folder / f"{spec_name(make_spec)}{side}"
        place.mkdir()
        views = (8, 64, 64) if make_spec is cone_beam else (side,) * 3
        files = written(place, (1, side, side, side), (1, *views))
        prepare(spec, *files, place / "data.zarr", method=method)
    volume_bytes = 4 * SIDE**3
    (folder / f"{spec_name(make_spec)}.txt").write_text(str((peak_bytes() - before) / volume_bytes))


def spec_name(make_spec):
    return make_spec.__name__


def main(folder):
    volumes = {}
    for make_spec, method in ((cone_beam, "fdk"), (inpainting, "least-squares")):
        finished(forked(measure_memory, folder, make_spec, method))
        volumes[method] = float((folder / f"{spec_name(make_spec)}.txt").read_text())
    sys.stdout.write(json.dumps({"volumes": volumes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
