"""A step is the mean gradient of its batches, in any precision, or no step at all."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch

from partunroll.errors import TrainingError
from partunroll.network.networks import UnrolledNetwork
from partunroll.network.trained_on import TrainedOn
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.run_log import read_log
from partunroll.training.training_state import TrainingState
from partunroll.training.training_step import training_step

CPU = torch.device("cpu")


def state_of(problem, **values):
    return TrainingState.fresh(problem.config(**values), TrainedOn((), (), "", {}), CPU)


def batches_of(problem, count, **values):
    dataset = PatchDataset(problem.data, problem.operators, problem.config(**values))
    return [dataset[i] for i in range(count)]


def gradients(state):
    return [parameter.grad.clone() for parameter in state.network.parameters()]


class Joined:
    """The normal operators of two batches, for one twice as large."""

    def __init__(self, *normals):
        self.normals = normals

    def __call__(self, x):
        return torch.cat([n(part) for n, part in zip(self.normals, x.chunk(2), strict=True)])

    def to(self, device):
        return self


def joined(first, second):
    pairs = {
        name: torch.cat([getattr(first, name), getattr(second, name)])
        for name in ("initial_estimate", "truth", "initial_gradient")
    }
    both = {"samples": first.samples + second.samples, "patches": first.patches + second.patches}
    return replace(first, **pairs, **both, normal=Joined(first.normal, second.normal))


def test_accumulated_batches_are_one_of_twice_the_size(problem):
    first, second = batches_of(problem, 2)
    parts = state_of(problem, accumulation=2, gradient_clip=None)
    whole = state_of(problem, gradient_clip=None)
    in_parts = training_step(parts, [first, second])
    at_once = training_step(whole, [joined(first, second)])
    assert in_parts["loss"] == pytest.approx(at_once["loss"], rel=1e-5)
    for one, other in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_every_step_takes_batches_of_its_own(problem, tmp_path):
    run = problem.run(tmp_path / "run", steps=3, accumulation=2)
    lines = [x for x in read_log(run.output / "log.jsonl") if "loss" in x]
    wanted = [batch.operator for batch in batches_of(problem, 6, steps=3, accumulation=2)]
    pairs = [", ".join(dict.fromkeys(wanted[i : i + 2])) for i in (0, 2, 4)]
    assert [line["operator"] for line in lines] == pairs


@pytest.mark.parametrize("cg_iterations", [0, 2])
def test_checkpointing_gives_the_same_gradients_bit_for_bit(problem, cg_iterations):
    network = {"iterations": 3, "cg_iterations": cg_iterations, "prior": {"widths": [2] * 4}}
    found: dict[bool, list[torch.Tensor]] = {}
    calls: dict[bool, list[int]] = {}
    for checkpointing in (False, True):
        state = state_of(problem, checkpointing=checkpointing, network=network)
        counted = calls.setdefault(checkpointing, [])
        state.network.prior.drunet.register_forward_pre_hook(lambda *_, c=counted: c.append(1))
        training_step(state, batches_of(problem, 1))
        found[checkpointing] = gradients(state)
    assert all(torch.equal(*pair) for pair in zip(found[False], found[True], strict=True))
    assert (len(calls[False]), len(calls[True])) == (3, 6)


def test_checkpointing_keeps_the_activations_of_one_iteration(problem):
    """Tensors that autograd holds between forward and backward, in bytes."""
    held = {}
    for checkpointing in (False, True):
        network = {"iterations": 4, "prior": {"widths": [4] * 4}}
        state = state_of(problem, checkpointing=checkpointing, network=network)
        (batch,) = batches_of(problem, 1)
        sizes: list[int] = []

        def note(tensor, sizes=sizes):
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            state.network(batch.initial_estimate, batch.initial_gradient, batch.normal)
        held[checkpointing] = sum(sizes)
    assert held[True] < 0.05 * held[False]


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.half)])
def test_only_the_prior_is_in_the_lower_precision(problem, precision, dtype):
    state = state_of(problem, precision=precision)
    (batch,) = batches_of(problem, 1)
    seen: dict[str, list[object]] = {"prior": [], "normal": []}
    state.network.prior.drunet.register_forward_hook(lambda *a: seen["prior"].append(a[2].dtype))
    inner = batch.normal

    class Watched:
        def __call__(self, x):
            seen["normal"] += [x.dtype, torch.is_autocast_enabled("cpu")]
            return inner(x)

        def to(self, device):
            return self

    object.__setattr__(batch, "normal", Watched())
    exact = training_step(state_of(problem), batches_of(problem, 1))
    figures = training_step(state, [batch])
    assert seen == {"prior": [dtype] * 2, "normal": [torch.float32, False]}  # one is given
    assert figures["loss"] == pytest.approx(exact["loss"], rel=0.02)
    assert figures["gradient_norm"] == pytest.approx(exact["gradient_norm"], rel=0.2)
    assert {p.dtype for p in state.network.parameters()} == {torch.float32}
    assert figures.get("skipped", False) is False


def weights(state):
    return [parameter.detach().clone() for parameter in state.network.parameters()]


def overflowing(state):
    """Let the gradient of the prior overflow, and not its result."""
    hook = torch.full((), torch.inf)
    next(state.network.prior.parameters()).register_hook(lambda g: g + hook)


def test_overflow_of_the_scaled_gradient_is_a_skipped_step(problem):
    state = state_of(problem, precision="fp16", ema=0.9)
    before, scale = weights(state), state.scaler.get_scale()
    overflowing(state)
    figures = training_step(state, batches_of(problem, 1))
    assert (figures["skipped"], figures["gradient_norm"]) == (True, None)
    assert state.scaler.get_scale() == scale / 2
    assert all(torch.equal(*pair) for pair in zip(before, weights(state), strict=True))
    assert state.average.num_updates == 0
    assert state.step == 1


def test_overflow_that_no_scale_mends_is_an_error(problem):
    state = state_of(problem, precision="fp16")
    overflowing(state)
    one = batches_of(problem, 1)
    for _ in range(16):
        training_step(state, one)
    with pytest.raises(TrainingError, match=r"gradient norm (inf|nan) in step 17 on sample std"):
        training_step(state, one)
    assert state.scaler.get_scale() == 1


def test_gradient_that_is_not_finite_is_an_error_without_a_scaler(problem):
    state = state_of(problem, precision="bf16")
    overflowing(state)
    before = weights(state)
    with pytest.raises(TrainingError, match="gradient norm"):
        training_step(state, batches_of(problem, 1))
    assert all(torch.equal(*pair) for pair in zip(before, weights(state), strict=True))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_loss_that_is_not_finite_names_its_patch_in_any_batch(problem, monkeypatch, precision):
    batches = batches_of(problem, 4)
    state = state_of(problem, accumulation=4, precision=precision)
    before = weights(state)
    calls, original = itertools.count(1), UnrolledNetwork.forward

    def broken(network, *arguments):
        x = original(network, *arguments)
        return x * torch.tensor([1.0, torch.nan])[:, None, None] if next(calls) == 3 else x

    monkeypatch.setattr(UnrolledNetwork, "forward", broken)
    guilty = f"{batches[2].samples[1]} at {batches[2].patches[1].offset} "
    with pytest.raises(TrainingError) as error:
        training_step(state, batches)
    assert guilty in str(error.value)
    assert "step 1 " in str(error.value)
    assert str(error.value).count("(patch of") == 1
    assert all(torch.equal(*pair) for pair in zip(before, weights(state), strict=True))
    assert state.step == 0


def test_average_follows_the_weights(problem):
    state = state_of(problem, ema=0.5, learning_rate=1e-2)
    expected = [w.double() for w in weights(state)]
    for step, batch in enumerate(batches_of(problem, 12), start=1):
        training_step(state, [batch])
        decay = min(0.5, (1 + step) / (10 + step))
        pairs = zip(expected, weights(state), strict=True)
        expected = [decay * average + (1 - decay) * new for average, new in pairs]
    for average, value in zip(state.average.network.parameters(), expected, strict=True):
        torch.testing.assert_close(average.double(), value, rtol=1e-4, atol=1e-6)
    assert state.evaluated is state.average.network
    assert not any(p.requires_grad for p in state.evaluated.parameters())


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute:UserWarning"
)  # torch's compiler looks at it
def test_compiled_prior_computes_the_same(problem, monkeypatch):
    """Traced as for inductor, whose compilation takes a minute, and run by torch's kernels."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, compiled = state_of(problem), state_of(problem, compile=True)
    batch = batches_of(problem, 1)
    expected, found = training_step(plain, batch), training_step(compiled, batch)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert compiled.network.state_dict().keys() == plain.network.state_dict().keys()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1


@pytest.mark.parametrize("cg_iterations", [0, 2])
@pytest.mark.parametrize("normal", ["factors", "restricted"])
def test_gradient_of_the_step_is_that_of_finite_differences(problem, normal, cg_iterations):
    """Along a random direction of all weights and step sizes, in float64 but for the factors."""
    network = {"iterations": 2, "cg_iterations": cg_iterations, "prior": {"widths": [2] * 4}}
    values = {"network": network, "normal": normal}
    state, (batch,) = state_of(problem, **values), batches_of(problem, 1, **values)
    network = state.network.double()
    arrays = [x.double() for x in (batch.initial_estimate, batch.initial_gradient, batch.truth)]
    generator = torch.Generator().manual_seed(3)
    parameters = list(network.parameters())
    along = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]

    def loss():
        x = network(*arrays[:2], lambda z: batch.normal(z.float()).double())
        return (x - arrays[2]).square().mean()

    torch.autograd.backward(loss())
    slope = sum(float((p.grad * d).sum()) for p, d in zip(parameters, along, strict=True))
    moved, step = [], 1e-4
    for sign in (1, -2, 1):
        with torch.no_grad():
            for p, d in zip(parameters, along, strict=True):
                p += sign * step * d
            moved.append(float(loss()))
    assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(slope, rel=2e-2)
