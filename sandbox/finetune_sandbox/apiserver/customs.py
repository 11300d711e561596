"""Checks of custom objects: their schema, then their CEL rules."""

from __future__ import annotations

from typing import Any

from .cel.rules import evaluate, has_rules
from .errors import FieldError, wrong
from .resources import Resource
from .schema.validate import MISSING
from .schema.validate import validate as validate_schema

_BLOCKING = frozenset({"Required", "TypeInvalid", "NotSupported", "TooLong", "TooMany"})
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete"
    " validation"
)


def validate(
    resource: Resource, obj: dict[str, Any], old: dict[str, Any] | None, errors: list[FieldError]
) -> list[FieldError]:
    """Everything that is wrong with a custom object beyond its metadata.

    Args:
        resource: What it is.
        obj: The object, pruned and defaulted.
        old: The stored object in an update: what did not change is not complained about.
        errors: What is already known to be wrong; rules do not run on objects that are broken.
    """
    found = []
    if obj["kind"] != resource.kind:
        found.append(wrong("kind", f"must be {resource.kind}", obj["kind"]))
    found += validate_schema(_seen(obj), resource.node, "", MISSING if old is None else _seen(old))
    if not has_rules(resource.node):
        return found
    if any(error.kind in _BLOCKING for error in (*errors, *found)):
        return [*found, FieldError("Invalid", "<nil>", _UNCHECKED)]
    return found + evaluate(resource.node, obj, old)


def _seen(obj: dict[str, Any]) -> dict[str, Any]:
    """An object as its schema sees it: of metadata just the names."""
    meta = {key: obj["metadata"][key] for key in ("name", "generateName") if key in obj["metadata"]}
    return {**obj, "metadata": meta}
