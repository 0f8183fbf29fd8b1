"""Kinds of operators that other packages bring by an entry point."""

import sys

import pytest
import torch

from normalfit.errors import InputError
from normalfit.factor_file import open_factors
from normalfit.fit_to_file import fit_to_file
from normalfit.specs import load_spec, spec_from_document
from normalfit.specs.template import template

MODULE = """
from typing import Literal
from normalfit import FunctionOperator, Grid
from normalfit.specs.operator_config import OperatorConfig

class Gain(OperatorConfig):
    kind: Literal["gain"]
    samples: int
    factor: float = 2.0

    @property
    def grid(self):
        return Grid((self.samples,))

    def build(self, attachments):
        return FunctionOperator(
            self.grid, self.grid, lambda x: self.factor * x, lambda y: self.factor * y
        )

    @classmethod
    def template(cls):
        return "kind: gain\\nsamples: 8\\n"

class Plain(OperatorConfig):
    kind: Literal["plain"]

    def build(self, attachments):
        raise NotImplementedError
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package with these entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(entries, name="gain_package"):
        (tmp_path / f"{name}_module.py").write_text(MODULE)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{kind} = {name}_module:{value}" for kind, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[normalfit.operators]", *lines]))

    yield installed
    for name in [name for name in sys.modules if name.endswith("_package_module")]:
        del sys.modules[name]


def test_a_kind_of_another_package_works_everywhere(install, tmp_path):
    install({"gain": "Gain"})
    path = tmp_path / "op.yaml"
    path.write_text("kind: gain\nsamples: 9\nfactor: 3\n")
    spec = load_spec(path)
    assert spec.kind == "gain"
    assert spec.grid.shape == (9,)
    torch.testing.assert_close(spec.build().normal(torch.ones(9)), torch.full((9,), 9.0))
    again = spec_from_document(spec.document(), {})
    assert again.fingerprint == spec.fingerprint
    file = fit_to_file(spec, tmp_path / "f.zarr", probes=4, terms=1)
    stored = open_factors(file.path).spec
    assert stored is not None
    assert stored.fingerprint == spec.fingerprint
    assert template("gain").startswith("kind: gain")


def test_its_keys_are_checked_and_unknown_kinds_list_it(install, tmp_path):
    install({"gain": "Gain"})
    path = tmp_path / "op.yaml"
    path.write_text("kind: gain\nsamples: many\n")
    with pytest.raises(InputError, match="samples"):
        load_spec(path)
    path.write_text("kind: grain\n")
    with pytest.raises(InputError, match="python, gain, got 'grain'"):
        load_spec(path)
    with pytest.raises(InputError, match=r"must be one of .*gain, got 'grain'"):
        template("grain")


@pytest.mark.parametrize(
    ("entries", "kind", "said"),
    [
        ({"inpainting": "Gain"}, "inpainting", "must be normalfit's own"),
        ({"gain": "FunctionOperator"}, "gain", "must be an OperatorConfig"),
        ({"gain": "Absent"}, "gain", "must be importable"),
        ({"amplifier": "Gain"}, "amplifier", "must have the key kind"),
    ],
)
def test_entries_that_cannot_be(install, tmp_path, entries, kind, said):
    install(entries)
    path = tmp_path / "op.yaml"
    path.write_text(f"kind: {kind}\nsamples: 4\n")
    with pytest.raises(InputError, match=said):
        load_spec(path)


def test_two_packages_with_one_kind_and_a_kind_without_template(install, tmp_path):
    install({"gain": "Gain", "plain": "Plain"})
    install({"gain": "Gain"}, name="other_package")
    with pytest.raises(InputError, match="must come from one package"):
        template("gain")
    with pytest.raises(InputError, match="must have a template, got 'plain' without"):
        template("plain")
