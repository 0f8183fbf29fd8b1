"""Every template loads, builds and explains every key of its kind."""

import re

import pytest

from normalfit.errors import InputError
from normalfit.specs import load_spec
from normalfit.specs.operator_spec import CONFIGS
from normalfit.specs.template import template, template_kinds


def test_every_kind_has_a_template():
    assert set(template_kinds()) == set(CONFIGS)


@pytest.mark.parametrize("kind", CONFIGS)
def test_template_loads_and_builds(kind, tmp_path):
    path = tmp_path / "op.yaml"
    path.write_text(template(kind), encoding="utf-8")
    spec = load_spec(path)
    assert spec.kind == kind
    assert spec.build("numba").domain == spec.grid


@pytest.mark.parametrize("kind", CONFIGS)
def test_template_shows_every_key(kind):
    shown = re.findall(r"^(?:# )?(\w+): *\S?", template(kind), flags=re.MULTILINE)
    assert set(CONFIGS[kind].model_fields) <= set(shown)


def test_cone_beam_template_is_the_promised_size(tmp_path):
    path = tmp_path / "op.yaml"
    path.write_text(template("cone_beam"), encoding="utf-8")
    document = load_spec(path).document()
    assert (document["volume_shape"], document["num_views"]) == ([64, 64, 64], 60)


def test_unknown_kind_lists_the_known_ones():
    known = (
        "cone_beam, deconvolution, inpainting, multicoil_mri, noncartesian_mri, parallel_beam, "
        "python"
    )
    with pytest.raises(InputError, match=f"kind must be one of {known}, got 'mri'"):
        template("mri")
