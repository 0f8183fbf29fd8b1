"""RowSection: one row of a comparison's table: a method without training, or a trained network."""

from __future__ import annotations

import itertools
import re
from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from partunroll.configuration.config_section import Count, PatchShape, Section
from partunroll.patches.patch_normal import PatchNormalKind

NETWORK = "$NETWORK"  # stands in a method's options for the checkpoint of the row that it uses


class ReconstructSection(Section):
    """How a trained row reconstructs; what is left out is as in `partunroll reconstruct`."""

    stages: Literal[1, 2] | None = None  # None: 2, or 1 for post-processing
    normal: Literal["exact", "factors"] = "exact"  # on the whole volume, in stage 1
    patch_normal: PatchNormalKind | None = None  # None: as in training
    refresh: Count | None = None
    patch_shape: PatchShape | None = None  # None: as in training
    overlap: Literal["half"] | int | None = None
    stride: PatchShape | None = None
    blend: Literal["hann", "gaussian", "crop"] = "hann"
    batch: Count = 2


class RowSection(Section):
    """A row: its name, and how its reconstructions come about."""

    name: str = Field(min_length=1, max_length=80)
    method: dict[str, JsonValue] | None = None  # kind and options; choose: {option: [values]}
    train: dict[str, JsonValue] | None = None  # a training configuration, on top of the recipe's
    uses: str | None = None  # the row whose trained network is taken
    # the fit that it trains and reconstructs with; left out beside uses: that of the row it uses
    factors: str = "default"
    reconstruct: ReconstructSection = ReconstructSection()
    ours: bool = False  # paired differences are taken to it
    shown: bool = True  # false: trained for other rows only
    every_seed: bool | None = None  # None: only what is trained, or uses what is
    note: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> RowSection:
        if self.train is not None and (self.method is not None or self.uses is not None):
            msg = "train must stand alone, got method or uses beside it"
            raise ValueError(msg)
        if self.train is None and self.method is None and self.uses is None:
            msg = "a row must have a method, a training, or uses another row, got none"
            raise ValueError(msg)
        if self.method is not None and self.reconstruct != ReconstructSection():
            msg = "reconstruct must be left out of a method's row, which has options of its own"
            raise ValueError(msg)
        if not self.shown and (self.ours or self.train is None):
            msg = "shown must only be false for a training that other rows use"
            raise ValueError(msg)
        _check_candidates(self.candidates)
        return self

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-.") or "row"

    @property
    def document(self) -> dict[str, Any] | None:
        """The method without what is to be chosen."""
        if self.method is None:
            return None
        return {key: value for key, value in self.method.items() if key != "choose"}

    @property
    def candidates(self) -> dict[str, Any]:
        """Values by option, the best of which is chosen on the validation samples."""
        chosen = (self.method or {}).get("choose", {})
        return dict(chosen) if isinstance(chosen, dict) else {"choose": chosen}

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """Every document that may be chosen."""
        document, candidates = self.document or {}, self.candidates
        values = itertools.product(*candidates.values())
        return [{**document, **dict(zip(candidates, found, strict=True))} for found in values]

    def runs_every_seed(self) -> bool:
        """Whether it depends on the seed."""
        trained = self.train is not None or self.uses is not None
        return trained if self.every_seed is None else self.every_seed


def with_network(document: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """Return a method's document with the path of a checkpoint wherever `NETWORK` stands."""

    def filled(value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return checkpoint if value == NETWORK else value

    return {key: filled(value) for key, value in document.items()}


def needs_network(document: dict[str, Any]) -> bool:
    """Return whether `NETWORK` stands anywhere in a method's document."""
    return with_network(document, "") != document


def _check_candidates(candidates: dict[str, Any]) -> None:
    for option, values in candidates.items():
        if not isinstance(values, list) or not values:
            msg = f"choose must hold a list of values for every option, got {option}: {values!r}"
            raise ValueError(msg)
