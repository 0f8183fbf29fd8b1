"""The demo does the whole chain, and the commands that it prints do the same by hand."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import normalfit.cli
import partunroll.cli
from partunroll.demo.chain import run_demo
from partunroll.demo.demo_scans import ConeBeamScan, MRIScan
from partunroll.demo.demo_settings import QUICK
from partunroll.errors import PartunrollError
from partunroll.reconstruction.reconstruction_file import open_reconstruction

SIZES = {"num_voxels": 16, "train": 2, "test": 2, "steps": 2, "probes": 2, "validate_every": 1}
TINY = {
    "ct": replace(QUICK, scan=ConeBeamScan(6, 2e4), **SIZES),
    "mri": replace(QUICK, scan=MRIScan(3, 2.5, 4, 0.02), **SIZES),
}
UNTRAINED = {"ct": ["fdk"], "mri": ["zero_filled", "cg_sense"]}


@pytest.fixture(scope="module", params=TINY)
def demo(request, tmp_path_factory):
    """A finished demo of tiny sizes; its folder has a blank in its name."""
    output = tmp_path_factory.mktemp("folder") / "the demo"
    return output, run_demo(output, device="cpu", settings=TINY[request.param]), request.param


def test_it_compares_methods_on_every_test_object(demo):
    output, report, modality = demo
    document = json.loads((output / "report.json").read_text())
    assert document == json.loads(json.dumps(report.as_json()))
    trained = ["post_processing", "stage1", "stage2"]
    assert list(document["methods"]) == [*UNTRAINED[modality], *trained]
    for figures in document["methods"].values():
        assert len(figures["psnr_per_object"]) == 2
        assert figures["psnr"] == pytest.approx(sum(figures["psnr_per_object"]) / 2)
    assert {"fit", "simulate", "train unrolled", "reconstruct"} <= document["seconds"].keys()
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_commands_that_it_prints_give_its_figures(demo, monkeypatch, capfd):
    output, report, modality = demo
    for line in report.commands:
        assert run_line(line, monkeypatch) == 0, capfd.readouterr().err
    by_hand = open_reconstruction(output / "by_hand" / "unrolled.zarr")
    assert by_hand.facts.settings["stages"] == 2
    out = capfd.readouterr().out
    for method in (*UNTRAINED[modality], "post_processing", "stage2"):
        assert f"{report.methods[method].psnr[0]:.2f}" in out


def test_an_existing_folder_is_refused(demo):
    output, _, modality = demo
    before = sorted(output.rglob("*"))
    with pytest.raises((PartunrollError, normalfit.errors.NormalfitError), match="exist"):
        run_demo(output, settings=TINY[modality])
    assert sorted(output.rglob("*")) == before


def run_line(line, monkeypatch):
    """Run a printed command in this process (but mkdir); return its exit code."""
    name, *arguments = shlex.split(line)
    if name == "mkdir":
        Path(*arguments).mkdir()
        return 0
    main = {"normalfit": normalfit.cli.main, "partunroll": partunroll.cli.main}[name]
    monkeypatch.setattr("sys.argv", [name, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code
