"""demo_commands: the commands that would do each part of the demo by hand."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from partunroll.demo.demo_scans import Untrained
    from partunroll.demo.demo_settings import DemoSettings

TRAIN_SERIES, TEST_SERIES = 0, 1  # seeds of the made objects: test objects are never trained on


def demo_commands(
    settings: DemoSettings, output: Path, device: str, seed: int, untrained: Untrained
) -> tuple[str, ...]:
    """Return commands that do what the demo did, for its first test object.

    They write to the folder ``by_hand`` in `output`, from the operator and the training
    configurations that the demo left there.

    Parameters
    ----------
    settings, output, device, seed
        As for `run_demo`.
    untrained
        The methods without training, as the demo set them.
    """
    here, where = output / "by_hand", ("--device", device)
    operator = ("--operator", output / "operator.yaml")
    factors = ("--factors", here / "factors.zarr")
    data, test = here / "data.zarr", here / "test.zarr"
    objects = ("--made-smallest", settings.smallest, *settings.scan.simulate_options, *where)
    sample = test / "samples" / f"made-{TEST_SERIES}-0000"
    measured = (*operator, "--measurements", sample / "measurements")

    def simulate(count: int, series: int, *options: object) -> str:
        made = ("--made-objects", count, "--made-seed", series, *objects, *options)
        return _line("partunroll simulate", *operator, *made)

    def train(kind: str) -> str:
        config = ("--config", output / "runs" / kind / "config.yaml", "--seed", seed)
        run = ("-o", here / "runs" / kind)
        return _line("partunroll train", *factors, "--data", data, *config, *run)

    def reconstruct(kind: str, stages: int) -> str:
        checkpoint = ("--checkpoint", here / "runs" / kind / "best.pt", *factors)
        options = ("--stages", stages, *where, "-o", here / f"{kind}.zarr")
        return _line("partunroll reconstruct", *checkpoint, *measured, *options)

    def evaluate(name: str) -> str:
        volume = ("--reconstruction", here / name)
        return _line("partunroll evaluate", *volume, "--reference", sample / "reference")

    def without_training(name: str) -> str:
        command, *options = untrained.commands[name]
        made = ("-o", here / f"{name}.npy", *where)
        return _line(f"partunroll {command}", *options, *measured, *made)

    chosen = settings.scan.fit_options(settings.probes)
    how = (part for name, value in chosen.items() for part in (f"--{name}", value))
    fitted = (*how, *where, "-o", here / "factors.zarr")
    total = settings.train + settings.validation
    return (
        _line("mkdir", here),
        _line("normalfit fit", *operator, *fitted),
        simulate(total, TRAIN_SERIES, "--validation", settings.validation, "-o", data),
        simulate(settings.test, TEST_SERIES, "--split", "test", "-o", test),
        train("unrolled"),
        train("post_processing"),
        *(without_training(name) for name in untrained.commands),
        reconstruct("post_processing", 1),
        reconstruct("unrolled", 2),
        *(evaluate(f"{name}.npy") for name in untrained.commands),
        *(evaluate(f"{name}.zarr") for name in ("post_processing", "unrolled")),
    )


def _line(command: str, *arguments: object) -> str:
    return f"{command} {shlex.join(str(argument) for argument in arguments)}"
