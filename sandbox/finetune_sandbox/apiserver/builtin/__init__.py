"""Defaults, checks and admission of the built-in kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune_sandbox.apiserver.errors import FieldError
from finetune_sandbox.apiserver.resources import Resource

from . import admission, checks, crd, quota, updates
from .defaults import default

if TYPE_CHECKING:
    from finetune_sandbox.apiserver.state import State

__all__ = ["KEEPS_STATUS", "admit", "counts", "default", "prepare", "prepare_update", "validate", "validate_update"]

Obj = dict[str, Any]

KEEPS_STATUS = frozenset({"nodes", "namespaces"})
"""Resources whose status may be set when they are created."""

_CHANGES_ALONE = frozenset({"pods", "persistentvolumeclaims"})
"""Resources of which hardly anything may change: the rest was checked when they were created."""


def prepare(state: State, resource: Resource, obj: Obj) -> None:
    """Sets what a server sets in a new object."""
    if resource.plural in admission.PREPARE:
        admission.PREPARE[resource.plural](state, obj)


def prepare_update(resource: Resource, obj: Obj, old: Obj) -> None:
    """Keeps what a server keeps of the stored object."""
    admission.keep(resource.plural, obj, old)


def validate(resource: Resource, obj: Obj) -> list[FieldError]:
    """Everything wrong with a new object."""
    return list(crd.validate(obj)) if resource.plural == "customresourcedefinitions" else checks.check(resource, obj)


def validate_update(resource: Resource, obj: Obj, old: Obj) -> list[FieldError]:
    """Everything wrong with a changed object."""
    if resource.plural == "customresourcedefinitions":
        return list(crd.validate(obj, old))
    found = [] if resource.plural in _CHANGES_ALONE else checks.check(resource, obj)
    return found + updates.changes(resource.plural, obj, old)


def admit(state: State, resource: Resource, obj: Obj) -> None:
    """Refuses or completes a new object by what else is there."""
    quota.admit(state, resource, obj)


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
