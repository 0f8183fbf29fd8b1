"""The commands of MRI, as a user types them."""

import numpy as np
import pytest

from partunroll.cli import main
from partunroll.store.data_store import DataStore


@pytest.fixture
def command(monkeypatch, capfd):
    """Run a command; return its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["partunroll", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return ended.value.code, out + err

    return run


@pytest.fixture
def kspace(scan):
    sample = next(s for s in DataStore.open(scan / "data.zarr").samples if s.operator == "r3")
    return scan / "data.zarr" / "samples" / sample.id / "measurements"


def test_what_an_operator_is_made_of_comes_from_kspace(command, kspace, tmp_path):
    maps, mask, three = (tmp_path / f"{name}.npy" for name in ("maps", "mask", "three"))
    assert command("coil-maps", kspace, "-o", maps, "--calibration", 4)[0] == 0
    assert command("sampling-mask", kspace, "-o", mask)[0] == 0
    code, text = command("compress-coils", kspace, "-o", three, "--coils", 3)
    assert code == 0
    assert "of the energy" in text
    assert np.load(maps).shape == (4, 12, 16, 14)
    assert np.load(mask).dtype == bool


@pytest.mark.parametrize("name", ["zero-filled", "cg", "tv"])
def test_baselines_and_their_figures(command, scan, kspace, tmp_path, name):
    output = tmp_path / "x.npy"
    made = ("--measurements", kspace, "-o", output, "--json", tmp_path / "x.json")
    assert command("baseline", name, "--operator", scan / "r3.yaml", *made)[0] == 0
    code, text = command(
        "evaluate", "--reconstruction", output, "--reference", kspace.parent / "reference"
    )
    assert code == 0
    assert "magnitude" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("coil-maps", "nope.npz", "-o", "m.npy"), "nope.npz must be an existing file"),
        (("baseline", "magic"), "'magic' is not one of"),
        (("compress-coils", "KSPACE", "-o", "m.npy", "--coils", "0"), "greater than or equal to 1"),
        (("coil-maps", "KSPACE", "-o", "m.txt"), "end in .npy"),
        (
            ("baseline", "cg", "--operator", "R5", "--measurements", "KSPACE", "-o", "m.npy"),
            "must belong to the operator",
        ),
    ],
)
def test_wrong_input_is_one_error_line(
    command, scan, kspace, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    named = {"KSPACE": str(kspace), "R5": str(scan / "r5.yaml")}
    code, text = command(*(named.get(argument, argument) for argument in arguments))
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert words in text
    assert not list(tmp_path.iterdir())
