"""model_card: what somebody must know to use an exported network, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from partunroll.configuration.train_config import DenoisingConfig, UnrolledConfig

if TYPE_CHECKING:
    from partunroll.configuration.train_config import NetworkConfig, TrainConfig
    from partunroll.network.checkpoint import Checkpoint

# what hosts of models read; the licence is the exporter's to add
_FRONT_MATTER = "---\nlibrary_name: partunroll\ntags: [image-reconstruction, unrolled-network]\n---"

_USE = """\
    partunroll reconstruct --checkpoint {name} --operator op.yaml --factors factors.zarr \\
        --measurements y.zarr -o recon.zarr

`op.yaml` must be an operator of the table (its fingerprint is compared, and another one is
refused), and the factors must have been fitted to it and have the norm that stands there.
Measurements out of a data store carry their unit; of others, `--intensity-per-mm` says what one
unit of training stands for. In Python:

    from pathlib import Path
    from partunroll.network.exported_model import load_model

    network = load_model(Path("{name}")).build_network()

`sha256sum -c SHA256SUMS` checks the files; `partunroll` does so whenever it loads them."""

_DENOISE = """\
    partunroll baseline pnp-pgd --denoiser {name} --operator op.yaml --measurements y.zarr \\
        -o recon.zarr

Objects must reach about 1, as in training: `--intensity-per-mm` says what a value of one stands
for. In Python, with noisy patches `(batch, *p)` and the standard deviation of the noise of each:

    from pathlib import Path
    from partunroll.network.exported_model import load_model

    network = load_model(Path("{name}")).build_network()
    denoised = network(noisy, noise_levels)

`sha256sum -c SHA256SUMS` checks the files; `partunroll` does so whenever it loads them."""


def model_card(name: str, checkpoint: Checkpoint, training: TrainConfig | None = None) -> str:
    """Return the model card of a checkpoint.

    Parameters
    ----------
    name
        Of the model's folder.
    checkpoint
        The network with what it was trained with.
    training
        Configuration of its training, where it is known.
    """
    versions = ", ".join(f"{name} {version}" for name, version in checkpoint.versions.items())
    sections = [
        _FRONT_MATTER,
        f"# {name}",
        _network(checkpoint),
        f"## Operators\n\n{_trained_with(checkpoint)}",
        _operators(checkpoint),
        "## Metrics",
        _metrics(checkpoint),
        f"## Use\n\n{_use(checkpoint).format(name=name)}",
        "## Training",
        f"{checkpoint.step} steps on patches of {_by(checkpoint.patch_shape)} voxels, with "
        f"`normal: {checkpoint.normal}`. Made by {versions or 'unknown versions'}.",
    ]
    if training is not None:
        document = yaml.safe_dump(training.model_dump(mode="json"), sort_keys=False)
        sections.append(f"```yaml\n{document}```")
    return "\n\n".join(sections) + "\n"


def num_parameters(checkpoint: Checkpoint) -> int:
    """Return how many numbers the network has learned."""
    return sum(weight.numel() for weight in checkpoint.weights.values())


def _network(checkpoint: Checkpoint) -> str:
    config = checkpoint.network
    prior = config.prior
    values = "complex" if prior.channels == 2 else "real"
    return (
        f"{_kind(config)} for {values} volumes; its prior is a {prior.dim}-D DRUNet of widths "
        f"{_by(prior.widths, ', ')} with {prior.blocks} blocks per scale. "
        f"{num_parameters(checkpoint):,} parameters."
    )


def _trained_with(checkpoint: Checkpoint) -> str:
    if isinstance(checkpoint.network, DenoisingConfig):
        return "It was trained on the volumes of these operators' samples, whatever measures them."
    return (
        "It was trained with these operators and is for no others: "
        "gradients are in units in which the norm of `A*A` is 1."
    )


def _use(checkpoint: Checkpoint) -> str:
    return _DENOISE if isinstance(checkpoint.network, DenoisingConfig) else _USE


def _kind(config: NetworkConfig) -> str:
    if isinstance(config, DenoisingConfig):
        low, high = config.noise_levels
        return f"A denoiser of Gaussian noise of levels {low:g} to {high:g}"
    if not isinstance(config, UnrolledConfig):
        return "A post-processing network"
    steps = f"proximal steps of {config.cg_iterations} CG iterations"
    return (
        f"An unrolled network of {config.iterations} iterations with "
        f"{steps if config.cg_iterations else 'gradient steps'}"
    )


def _operators(checkpoint: Checkpoint) -> str:
    rows = [
        f"| {o.name} | `{o.fingerprint}` | {o.norm:.9g} | "
        f"{o.initial_method}{f', window {o.initial_window}' if o.initial_window else ''} |"
        for o in checkpoint.operators
    ]
    head = "| name | fingerprint | norm of `A*A` | initial estimate |\n|---|---|---|---|"
    return "\n".join([head, *rows])


def _metrics(checkpoint: Checkpoint) -> str:
    figures = {name: value for name, value in checkpoint.metrics.items() if name != "step"}
    if not figures:
        return "It was not validated."
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    step = checkpoint.metrics.get("step", checkpoint.step)
    denoises = isinstance(checkpoint.network, DenoisingConfig)
    start = "noisy volumes" if denoises else "initial estimates"
    return "\n".join(
        [
            f"Means over the validation samples of its training, after step {step:.0f}; PSNR in "
            "dB, relative to the range of each reference, and `psnr_initial` that of the "
            f"{start}.\n",
            "| figure | value |\n|---|---|",
            *rows,
        ]
    )


def _by(numbers: tuple[int, ...], separator: str = " × ") -> str:
    return separator.join(map(str, numbers))
