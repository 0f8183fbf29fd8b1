"""The prior takes any shape; the networks iterate the formula and share one call."""

import pytest
import torch

from partunroll.configuration.train_config import PostProcessingConfig, PriorConfig, UnrolledConfig
from partunroll.errors import InputError
from partunroll.network.networks import build_network
from partunroll.network.prior import DRUNetPrior


def prior_config(dim, **values):
    return PriorConfig(dim=dim, widths=(2, 2, 2, 2), blocks=1, **values)


def seeded(build, *arguments):
    torch.manual_seed(0)
    return build(*arguments)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("dim", "shape"),
    [
        (2, (2, 5, 7)),
        (2, (1, 65, 70)),  # above 64 and no multiple of 8: DRUNet alone splits it in evaluation
        (2, (2, 3, 9, 12)),
        (3, (1, 8, 9, 33)),
        (3, (1, 65, 66, 67)),  # DRUNet alone raises NotImplementedError in evaluation
    ],
)
def test_prior_keeps_any_shape_in_training_and_evaluation(dim, shape, training):
    prior = seeded(DRUNetPrior, prior_config(dim)).train(training)
    with torch.no_grad():
        assert prior(torch.rand(shape)).shape == shape


@pytest.mark.parametrize("shape", [(1, 65, 70), (1, 6, 34)])
def test_prior_is_the_same_in_training_and_evaluation(shape):
    prior = seeded(DRUNetPrior, prior_config(2))
    x = torch.rand(shape)
    assert torch.equal(prior.train()(x), prior.eval()(x))


@pytest.mark.parametrize(("dim", "shape"), [(2, (1, 5, 41)), (3, (1, 8, 32, 33))])
def test_drunet_gets_only_shapes_that_it_does_not_pad_itself(dim, shape):
    prior = seeded(DRUNetPrior, prior_config(dim))
    seen = []
    prior.drunet.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0].shape[2:]))
    prior(torch.rand(shape))
    assert len(seen) == dim
    assert all(n >= 32 and n % 8 == 0 for n in seen)


def test_2d_prior_treats_slices_as_a_batch():
    prior = seeded(DRUNetPrior, prior_config(2))
    volume = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(prior(volume)[0, 1], prior(volume[:, 1])[0])


def test_a_lone_volume_on_the_cpu_goes_through_the_fast_path_and_comes_back_alone():
    prior = seeded(DRUNetPrior, prior_config(3))
    seen = []
    prior.drunet.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    x = torch.rand(1, 8, 9, 8)
    assert prior(x).shape == x.shape
    torch.testing.assert_close(prior(x), prior(x.expand(3, -1, -1, -1))[:1])
    assert seen == [2, 2, 3]


def test_prior_items_do_not_see_each_other():
    prior = seeded(DRUNetPrior, prior_config(3))
    x = torch.rand(2, 8, 8, 8)
    torch.testing.assert_close(prior(x)[1:], prior(x[1:]))


def test_residual_adds_the_input():
    plain = seeded(DRUNetPrior, prior_config(2, residual=False))
    residual = seeded(DRUNetPrior, prior_config(2, residual=True))
    x = torch.rand(1, 8, 8)
    torch.testing.assert_close(residual(x), x + plain(x))


def test_untrained_residual_prior_is_near_the_identity():
    prior = seeded(DRUNetPrior, PriorConfig(dim=3))
    x = torch.rand(1, 16, 16, 16)
    assert (prior(x) - x).norm() < 0.1 * x.norm()


@pytest.mark.parametrize("dim", [2, 3])
def test_memory_format_changes_the_layout_and_not_the_result(dim):
    last, first = (
        seeded(DRUNetPrior, prior_config(dim, channels_last=kept)) for kept in (True, False)
    )
    x = torch.rand(2, *(32,) * dim)
    torch.testing.assert_close(first(x), last(x), rtol=1e-4, atol=1e-5)
    assert last.drunet.m_body.res[0].weight.stride()[1] == 1
    assert first.drunet.m_body.res[0].weight.stride()[-1] == 1


def test_noise_level_reaches_the_network():
    low = seeded(DRUNetPrior, prior_config(2, noise_level=0.0))
    high = seeded(DRUNetPrior, prior_config(2, noise_level=1.0))
    x = torch.rand(1, 8, 8)
    assert not torch.allclose(low(x), high(x))


@pytest.mark.parametrize(("dim", "shape"), [(3, (1, 8, 8)), (2, (8, 8)), (3, (1, 1, 8, 8, 8))])
def test_prior_refuses_another_number_of_axes(dim, shape):
    with pytest.raises(InputError, match=r"x must have shape \(batch"):
        seeded(DRUNetPrior, prior_config(dim))(torch.rand(shape))


def test_prior_without_a_dimension_is_refused():
    with pytest.raises(InputError, match="dim"):
        DRUNetPrior(PriorConfig())


def test_unrolled_network_is_the_formula():
    config = UnrolledConfig(iterations=3, initial_step_size=0.7, prior=prior_config(2))
    network = seeded(build_network, config)
    with torch.no_grad():
        network.step_size_logits += torch.tensor([0.1, 0.2, 0.3])
    x0, g0 = torch.rand(2, 2, 8, 8)
    weights = torch.rand(8, 8)
    x = x0
    for eta in network.step_sizes:
        x = network.prior(x - eta * (weights * (x - x0) + g0))
    torch.testing.assert_close(network(x0, g0, lambda z: weights * z), x)


def test_step_sizes_start_where_configured_and_stay_where_gradient_steps_are_stable():
    config = UnrolledConfig(iterations=2, initial_step_size=0.3, prior=prior_config(2))
    network = seeded(build_network, config)
    torch.testing.assert_close(network.step_sizes, torch.full((2,), 0.3))
    for change in (-50, 100):
        with torch.no_grad():
            network.step_size_logits += change
        assert (network.step_sizes > 0).all()
        assert (network.step_sizes <= 2).all()


def test_every_parameter_of_the_unrolled_network_gets_a_gradient():
    network = seeded(build_network, UnrolledConfig(iterations=2, prior=prior_config(2)))
    x0, g0 = torch.rand(2, 1, 8, 8)
    network(x0, g0, lambda z: z).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_data_step_stays_in_float32_under_autocast():
    network = seeded(build_network, UnrolledConfig(iterations=2, prior=prior_config(2)))
    seen = []

    def normal(x):
        seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
        return x

    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.rand(1, 8, 8), torch.rand(1, 8, 8), normal)
    assert seen == [(torch.float32, False)]  # the first gradient is given


def test_post_processing_is_the_prior_and_an_unrolling_with_step_size_zero():
    network = seeded(build_network, PostProcessingConfig(prior=prior_config(2)))
    x0, g0 = torch.rand(2, 1, 8, 8)
    assert torch.equal(network(x0, g0, None), network.prior(x0))
    assert network.step_sizes.tolist() == [0]
    assert all(name.startswith("prior.") for name in network.state_dict())
