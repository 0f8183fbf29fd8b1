"""DataSection: which objects a comparison trains, validates and tests with, and their noise."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field, model_validator

from partunroll.configuration.config_section import Count, Section, Seed
from partunroll.initial.initial_estimate import Method
from partunroll.measurements.noise import MAX_PHOTONS


class MadeSection(Section):
    """Made objects; those of the test are a series of their own, never trained on."""

    train: Count = 16
    validation: Count = 2
    test: Count = 4
    seed: Seed = 0  # of the series trained on; the next one is that of the test
    smallest: float = Field(0.0, ge=0)  # part of the objects, as for `partunroll simulate`


class VolumesSection(Section):
    """Files of volumes, relative to the recipe, each for one purpose."""

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> VolumesSection:
        every = (*self.train, *self.validation, *self.test)
        files = [os.path.realpath(name) for name in every]  # a/../b.npz and links are b.npz
        twice = [name for name, file in zip(every, files, strict=True) if files.count(file) > 1]
        if twice:
            msg = f"a volume must be for one purpose, got {', '.join(twice)} for more"
            raise ValueError(msg)
        return self


class PlacementSection(Section):
    """How volumes from files are put onto the operators' grids, as in `partunroll simulate`."""

    mode: Literal["fit", "physical"] = "fit"
    mask: Literal["cylinder"] | None = None
    value_range: tuple[float, float] | None = None


class NoiseSection(Section):
    """Noise of simulated measurements, one of the two; without either, none."""

    photons: float | None = Field(None, gt=0, le=MAX_PHOTONS)  # per ray without an object
    relative: float | None = Field(None, ge=0)  # of the measurements' root mean square

    @model_validator(mode="after")
    def _one(self) -> NoiseSection:
        if self.photons is not None and self.relative is not None:
            msg = "photons and relative must not both be set"
            raise ValueError(msg)
        return self

    def __str__(self) -> str:
        if self.photons is not None:
            return f"{self.photons:g} photons per ray"
        return f"{self.relative or 0:.1%} relative noise" if self.relative else "no noise"


class DataSection(Section):
    """Objects to simulate on a twice finer grid, or a prepared data store with all three splits."""

    made: MadeSection | None = None
    volumes: VolumesSection | None = None
    store: str | None = None  # relative to the recipe
    placement: PlacementSection = PlacementSection()
    noise: NoiseSection = NoiseSection()
    seed: Seed = 0  # of noise and phases
    initial: Method = "auto"  # how initial estimates are made: by fdk (or FBP), or least-squares
    window: str = "hann"  # of the ramp filter of initial estimates

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        given = [name for name in ("made", "volumes", "store") if getattr(self, name) is not None]
        if len(given) != 1:
            msg = f"one of made, volumes and store must be given, got {', '.join(given) or 'none'}"
            raise ValueError(msg)
        if self.store is not None:
            vain = sorted(self.model_fields_set - {"made", "volumes", "store"})
            if vain:
                msg = f"{', '.join(vain)} must be left out beside a store, whose samples are there"
                raise ValueError(msg)
        return self
