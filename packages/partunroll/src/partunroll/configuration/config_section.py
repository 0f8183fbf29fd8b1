"""Section: a part of a YAML file whose keys and values are all checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch takes
PatchShape = Count | tuple[Count, ...]


class Section(BaseModel):
    """Unknown keys, truth values in the place of numbers, and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values_for_numbers(cls, values: object) -> object:
        for name, value in values.items() if isinstance(values, Mapping) else ():
            field = cls.model_fields.get(name)
            kinds = () if field is None else (field.annotation, *get_args(field.annotation))
            takes_it = any(kind is bool or get_args(kind)[:1] == (bool,) for kind in kinds)
            in_list = isinstance(value, list) and any(isinstance(v, bool) for v in value)
            if in_list or (isinstance(value, bool) and field is not None and not takes_it):
                msg = f"{name} must hold no truth value, got {value}; write a number"
                raise ValueError(msg)
        return values
