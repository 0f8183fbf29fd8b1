"""The result of a training run, as a line and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partunroll.training.patch_training import TrainResult


def summary(result: TrainResult) -> str:
    """Return the result in words."""
    best = result.best
    validated = (
        f"best PSNR {best['psnr']:.2f} dB at step {best['step']:.0f} (initial estimate "
        f"{best['psnr_initial']:.2f} dB)"
        if "psnr" in best
        else ("no validation data" if best else "not validated yet")
    )
    loss = "" if result.loss is None else f"; last loss {result.loss:.3e}"
    line = (
        f"{result.output}/best.pt: {result.step} of {result.steps} steps, {validated}{loss}; "
        f"{result.seconds:.0f} s"
    )
    return "\n".join([line, *_stopped(result), *(f"note: {note}" for note in result.notes)])


def _stopped(result: TrainResult) -> list[str]:
    """Return why it ended before its steps were taken, and how it goes on."""
    if result.stop_reason == "finished":
        return []
    if result.stop_reason == "early_stop":
        return ["stopped: no better validation within validation.patience"]
    return [
        f"stopped by {result.stop_reason} and saved; the same command with --resume goes on from "
        f"step {result.step}"
    ]


def figures(result: TrainResult) -> dict[str, Any]:
    """Return the result as JSON values."""
    return {
        "output": str(result.output),
        "step": result.step,
        "steps": result.steps,
        "loss": result.loss,
        "best": dict(result.best),
        "seconds": result.seconds,
        "stop_reason": result.stop_reason,
        "notes": list(result.notes),
    }
