"""Defaults, checks and admission of the built-in kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import FieldError
from ..resources import Resource

if TYPE_CHECKING:
    from ..state import State

Obj = dict[str, Any]

KEEPS_STATUS = frozenset({"nodes", "namespaces"})
"""Resources whose status may be set when they are created."""


def default(resource: Resource, obj: Obj) -> None:
    """Fills in the defaults of a kind, in place."""
    if resource.plural == "namespaces":
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        obj.setdefault("status", {}).setdefault("phase", "Active")
    elif resource.plural == "pods":
        obj.setdefault("status", {}).setdefault("phase", "Pending")


def prepare(state: State, resource: Resource, obj: Obj) -> None:
    """Sets what a server sets in a new object."""


def prepare_update(state: State, resource: Resource, obj: Obj, old: Obj) -> None:
    """Keeps what a server keeps of the stored object."""


def validate(resource: Resource, obj: Obj) -> list[FieldError]:
    """Everything wrong with a new object."""
    return []


def validate_update(resource: Resource, obj: Obj, old: Obj) -> list[FieldError]:
    """Everything wrong with a changed object."""
    return []


def admit(state: State, resource: Resource, obj: Obj) -> None:
    """Refuses or completes a new object by what else is there."""


def counts(resource: Resource, new: Obj, old: Obj) -> bool:
    """Whether a change counts for `metadata.generation`."""
    if resource.custom is not None:
        ignored = {"metadata", "apiVersion", "kind"} | ({"status"} if resource.has_status else set())
        return {k: v for k, v in new.items() if k not in ignored} != {k: v for k, v in old.items() if k not in ignored}
    if not resource.generation:
        return False
    if resource.plural == "deployments" and new["metadata"].get("annotations") != old["metadata"].get("annotations"):
        return True
    return bool(new.get("spec") != old.get("spec"))
