"""What every model of the API shares: camel case, frozen, strict, described.

The docstring under a field is its description in the CRD, so `kubectl explain` prints what is written here.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "finetune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

PRESERVE: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}
"""Schema extension of blocks whose content belongs to somebody else (pod templates, W&B syntax)."""


class Spec(BaseModel):
    """What a user writes: unknown keys are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )


class Status(BaseModel):
    """What the operator writes: unknown keys are ignored, so that an older operator can read a newer one's status."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON of this status, without absent fields."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules as a schema extension: (expression, static message) pairs."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def immutable(field: str, message: str) -> tuple[str, str]:
    """The rule that an optional field of `self` never changes; without optional syntax, which not every CEL speaks."""
    same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    return same, message


Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""A Kubernetes object name."""

Uri = Annotated[str, Field(min_length=1, max_length=2048)]

Fraction = Annotated[str, Field(max_length=16, pattern=r"^(0(\.[0-9]+)?|1(\.0+)?|\.[0-9]+)$")]
"""A share between 0 and 1, as a string: API conventions keep floats out of spec, where they would not round-trip."""

Decimal = Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(\.[0-9]+)?$")]
"""A non-negative decimal number as a string."""

Duration = Annotated[str, Field(max_length=32, pattern=r"^([0-9]+(d|h|m|s))+$")]
"""A duration such as `48h` or `1d12h30m`."""

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: str) -> timedelta:
    """`1d12h` -> timedelta; the text has already passed the `Duration` pattern."""
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9]+)([dhms])", text)))
