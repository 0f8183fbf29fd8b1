"""A configuration is valid or refused with every problem; it resolves against the volumes."""

from pathlib import Path

import pytest
import yaml

from partunroll.configuration.train_config import (
    PostProcessingConfig,
    TrainConfig,
    UnrolledConfig,
    load_config,
)
from partunroll.errors import InputError


def written(tmp_path, text):
    path = tmp_path / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_valid_and_survive_yaml(tmp_path):
    config = load_config(None)
    text = yaml.safe_dump(config.resolved((40, 40, 40)).model_dump(mode="json"))
    assert load_config(written(tmp_path, text)) == config.resolved((40, 40, 40))


def test_overrides_replace_values_of_the_file(tmp_path):
    path = written(tmp_path, "steps: 10\nnetwork: {iterations: 3}\n")
    config = load_config(path, {"network.iterations": 5, "network.prior.blocks": 2})
    assert config.steps == 10
    assert isinstance(config.network, UnrolledConfig)
    assert (config.network.iterations, config.network.prior.blocks) == (5, 2)


def test_network_is_chosen_by_kind(tmp_path):
    assert isinstance(load_config(written(tmp_path, "network: {}\n")).network, UnrolledConfig)
    path = written(tmp_path, "network: {kind: post_processing}\n")
    assert isinstance(load_config(path).network, PostProcessingConfig)


def test_every_problem_is_in_one_line(tmp_path):
    text = "steps: 0\nbatches: 3\nnetwork: {iterations: -1, prior: {dim: 4}}\n"
    with pytest.raises(InputError) as error:
        load_config(written(tmp_path, text))
    message = str(error.value)
    assert "\n" not in message
    assert "train.yaml" in message
    for place in ("steps: ", "batches: ", "network.iterations: ", "network.prior.dim: "):
        assert place in message
    assert "(got -1)" in message


@pytest.mark.parametrize(
    "text",
    [
        "network: {kind: transformer}",
        "network: 3",
        "network: {kind: post_processing, iterations: 4}",
        "learning_rate: .nan",
        "patch_shape: [8, 0, 8]",
        "normal: approximate",
        "made_objects: {photons: 1e5, relative_noise: 0.01}",
        "steps: [",
        "- steps",
    ],
)
def test_invalid_values_are_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"config .* must"):
        load_config(written(tmp_path, text))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_override_inside_a_value_is_refused():
    with pytest.raises(InputError, match="steps"):
        load_config(None, {"steps": 3, "steps.more": 4})


def test_config_resolves_against_the_volumes():
    config = TrainConfig(patch_shape=32).resolved((20, 40, 48))
    assert config.patch_shape == (20, 32, 32)
    assert config.network.prior.dim == 3
    assert config.validation.patch_shape == (20, 32, 32)
    assert config.validation.overlap == 5
    assert config.resolved((20, 40, 48)) == config


def test_2d_volumes_get_a_2d_prior():
    assert TrainConfig().resolved((64, 64)).network.prior.dim == 2


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"patch_shape": (8, 8)}, "patch_shape"),
        ({"patch_shape": (8, 8, 17)}, "patch_shape"),
        ({"validation": {"patch_shape": (8, 17, 8)}}, "validation.patch_shape"),
        ({"patch_shape": 8, "validation": {"overlap": 8}}, "validation.overlap"),
    ],
)
def test_patches_that_do_not_fit_the_volumes_are_refused(values, name):
    with pytest.raises(InputError, match=name):
        TrainConfig.model_validate(values).resolved((16, 16, 16))


def test_3d_prior_for_2d_volumes_is_refused():
    config = load_config(None, {"network.prior.dim": 3})
    with pytest.raises(InputError, match=r"network\.prior\.dim"):
        config.resolved((16, 16))


def test_the_page_shows_every_key_with_its_default():
    page = (Path(__file__).parents[3] / "docs/training.md").read_text(encoding="utf-8")
    shown = page.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(shown) == TrainConfig().model_dump(mode="json")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("network: {prior: {widths: [0, 2, 2, 2]}}", r"network\.prior\.widths"),
        ("seed: 99999999999999999999999", "seed"),
        ("steps: true", "steps"),
        ("network: {prior: {noise_level: false}}", "noise_level"),
        ("made_objects: {photons: 1.0e+20}", r"made_objects\.photons"),
    ],
)
def test_values_that_would_fail_later_are_refused(tmp_path, text, place):
    with pytest.raises(InputError, match=place):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("step: 4", r"step: There is no such key \(got 4\); did you mean steps\?"),
        ("network: {prior: {width: 4}}", r"network\.prior\.width: .*did you mean widths\?"),
        ("network: {iteration: 2}", r"network\.iteration: .*did you mean iterations\?"),
        ("schedule: {kind: cosine, every: 3}", r"schedule\.every: .*known are final, kind"),
        ("schedule: step", r"schedule\.every: Field required"),
        ("steps: 5\nbatch: 1\nsteps: 6", "the key steps twice in .*line 1"),
        ("network: {prior: {dim: 2, dim: 3}}", "the key dim twice"),
        ("rotations: 1", r"rotations: must be a valid boolean \(got 1\), or must be a valid tuple"),
        ("patch_shape: [true, 8]", r"patch_shape must hold no truth value, got \[True, 8\]; write"),
        ("patch_shape: big", r"patch_shape: must be a valid integer, .*, or must be a valid tuple"),
        ("batch: [" + ", ".join(["1"] * 500) + "]", r"\(got \[1, 1, .{60,90}\.\.\.\)$"),
    ],
    ids=lambda text: text[:30],
)
def test_wrong_files_are_told_where_and_what_is_meant(tmp_path, text, found):
    with pytest.raises(InputError, match=found) as error:
        load_config(written(tmp_path, text))
    assert "constrained-int" not in str(error.value)
    assert "\n" not in str(error.value)


def test_keys_of_a_merged_section_may_be_given_again(tmp_path):
    text = "validation: &v {every: 3}\ncheckpoints: {<<: *v, every: 4}\n"
    assert load_config(written(tmp_path, text)).checkpoints.every == 4
