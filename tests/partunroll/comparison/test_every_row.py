"""Every row of the small recipes runs, at sizes that only check the plumbing, in one process."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from normalfit.specs.yaml_mapping import read_yaml_mapping
from partunroll.comparison import compare as compare_module
from partunroll.comparison.compare import compare
from partunroll.comparison.job_runner import Outcome, recorded
from partunroll.comparison.network_training import train_row
from partunroll.comparison.recipe_file import load_recipe
from partunroll.comparison.row_job import TrainJob
from partunroll.comparison.row_reconstruction import reconstruct_row

TABLES = Path(__file__).parents[3] / "benchmarks" / "tables"


class InThisProcess:
    """Runs jobs one after the other; what they raise is raised."""

    def __init__(self, _jobs, on_end):
        self.on_end = on_end

    def run(self, jobs):
        outcomes = []
        for job in jobs:
            if recorded(job) is None:
                job.folder.mkdir(parents=True, exist_ok=True)
                train_row(job) if isinstance(job, TrainJob) else reconstruct_row(job)
            outcomes.append(recorded(job))
            self.on_end(job, outcomes[-1] or Outcome(None, "nothing"))
        return outcomes


def shrunk(document, n):
    """A recipe with small volumes, patches, networks and numbers of iterations."""
    size = next(iter(document["operators"].values()))["volume_shape"][0]
    document["data"]["made"] = {"train": 1, "validation": 1, "test": 2, "smallest": 0.2}
    for operator in document["operators"].values():
        operator["volume_shape"] = [n, n, n]
        if operator["kind"] == "cone_beam":
            pixels = operator["detector_shape"][0] * n // size
            operator["detector_shape"] = [pixels, pixels]
            operator["num_views"] = max(3, operator["num_views"] * n // size // 2)
            for key in ("source_origin_mm", "origin_detector_mm"):
                operator[key] *= n / size
        else:
            acceleration = operator["acceleration"] / 2.5
            operator.update(num_coils=4, calibration=2, acceleration=acceleration)
    for fit in document["factors"].values():
        if "probes" in fit:
            fit["probes"] = 4
    document.update(seeds=[0], budget={"steps": 2}, crop=n - 2)
    _shrink(document["train"], n / size)
    for row in document["rows"]:
        for part in ("train", "method", "reconstruct"):
            _shrink(row.get(part, {}), n / size)
    return document


def _shrink(part, share):
    for key, value in part.items():
        if key == "patch_shape":
            several = isinstance(value, list)
            lengths = [max(1, round(share * v)) for v in (value if several else [value])]
            part[key] = lengths if several else lengths[0]
        elif key == "widths":
            part[key] = [2, 2, 2, 2]
        elif key in ("iterations", "cg_iterations"):
            part[key] = min(value, 2)
        elif key == "choose":
            part[key] = {option: values[:2] for option, values in value.items()}
        elif isinstance(value, dict):
            _shrink(value, share)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ct_small", "mri_small", "ablation"])
def test_every_row_runs(tmp_path, monkeypatch, name):
    monkeypatch.setattr(compare_module, "JobRunner", InThisProcess)
    document = read_yaml_mapping(TABLES / f"{name}.yaml", "recipe")
    unshared = json.loads(json.dumps(document))  # of what anchors share, each its own copy
    small = shrunk(unshared, 16)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(small), encoding="utf-8")
    recipe = load_recipe(path)
    table = compare(recipe, tmp_path / "out", device="cpu", say=print)
    assert [row.name for row in table.rows] == [row.name for row in recipe.rows if row.shown]
    for row in table.rows:
        assert not row.reasons
        for column in table.columns:
            assert torch.tensor(list(row.by_volume(column, "psnr").values())).isfinite().all()
            assert len(row.by_volume(column, "psnr")) == 2
    assert (tmp_path / "out" / "figure.png").exists()
