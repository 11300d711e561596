"""Checks of custom objects against their schema."""

from __future__ import annotations

from typing import Any

from .errors import FieldError
from .resources import Resource


def validate(resource: Resource, obj: dict[str, Any], old: dict[str, Any] | None, broken: bool) -> list[FieldError]:
    """Everything that is wrong with a custom object."""
    errors = []
    if obj["kind"] != resource.kind:
        errors.append(FieldError("Invalid", "kind", f"must be {resource.kind}", obj["kind"]))
    return errors
