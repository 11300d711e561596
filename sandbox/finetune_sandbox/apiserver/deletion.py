"""Deletion: graceful for pods, held by finalizers, or at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import clock
from .errors import ApiError, conflict, invalid, status_object, unsupported, wrong
from .options import Options
from .resources import Resource
from .store import Obj

if TYPE_CHECKING:
    from .state import State

_RETURNS_OBJECT = frozenset(
    [
        "pods",
        "services",
        "serviceaccounts",
        "podtemplates",
        "persistentvolumes",
        "persistentvolumeclaims",
        "resourcequotas",
    ]
)
_ORPHANED = ("batch/jobs", "/replicationcontrollers")
_POLICIES = ("Background", "Foreground", "Orphan")


def released(resource: Resource, obj: Obj) -> bool:
    """Nothing holds an object any more that is being deleted."""
    meta = obj["metadata"]
    if meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return resource.storage != "/namespaces" or not obj.get("spec", {}).get("finalizers")


def delete(state: State, resource: Resource, obj: Obj, wanted: dict[str, Any], options: Options) -> tuple[Obj, bool]:
    """Deletes an object as far as it can be deleted now.

    Args:
        state: The server's state.
        resource: What the object is.
        obj: The stored object.
        wanted: The `DeleteOptions`.
        options: Of the request.

    Returns:
        The object in its new state and whether it is gone.
    """
    meta = obj["metadata"]
    _check_preconditions(resource, obj, wanted.get("preconditions") or {})
    policy = _policy(resource, wanted, options)
    finalizers = _finalizers(list(meta.get("finalizers") or ()), policy)
    grace = _grace(resource, obj, wanted.get("gracePeriodSeconds"))
    holds = bool(finalizers) or grace > 0 or (resource.storage == "/namespaces" and bool(obj["spec"].get("finalizers")))
    if meta.get("deletionTimestamp"):
        earlier = meta.get("deletionGracePeriodSeconds")
        grace = min(grace, earlier) if earlier is not None else grace
    new_meta = {
        **meta,
        "deletionTimestamp": meta.get("deletionTimestamp") or clock.after(grace),
        "deletionGracePeriodSeconds": grace,
    }
    if meta.get("deletionTimestamp") and grace < (meta.get("deletionGracePeriodSeconds") or 0):
        new_meta["deletionTimestamp"] = clock.after(grace)
    if not meta.get("deletionTimestamp") and "generation" in meta:
        new_meta["generation"] = meta["generation"] + 1
    new_meta.pop("finalizers", None)
    if finalizers:
        new_meta["finalizers"] = finalizers
    new = {**obj, "metadata": new_meta}
    if resource.storage == "/namespaces":
        new["status"] = {**obj.get("status", {}), "phase": "Terminating"}
    if options.dry_run:
        return new, not holds
    if holds:
        return (obj if new == obj else state.stored(resource, new)), False
    state.removed(resource, obj)
    return new, True


def answer(resource: Resource, obj: Obj, gone: bool) -> Obj:
    """The body of the answer to a DELETE."""
    if not gone or resource.plural in _RETURNS_OBJECT:
        if gone and resource.plural != "pods":
            meta = {key: value for key, value in obj["metadata"].items() if not key.startswith("deletion")}
            return {**obj, "metadata": meta}
        return obj
    details = {
        "name": obj["metadata"]["name"],
        "group": resource.group,
        "kind": resource.plural,
        "uid": obj["metadata"]["uid"],
    }
    return status_object("Success", details={key: value for key, value in details.items() if value})


def _check_preconditions(resource: Resource, obj: Obj, wanted: dict[str, Any]) -> None:
    meta = obj["metadata"]
    for key, shown, what in (
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ):
        if wanted.get(key) is not None and wanted[key] != meta[key]:
            why = (
                f"the {shown} in the precondition ({wanted[key]}) does not match the {shown} in record ({meta[key]})."
                f" The object might have been {what}"
            )
            raise conflict(resource.group, resource.kind, meta["name"], why)


def _policy(resource: Resource, wanted: dict[str, Any], options: Options) -> str:
    policy, orphan = wanted.get("propagationPolicy"), wanted.get("orphanDependents")
    if policy is not None and orphan is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        raise invalid("meta.k8s.io", "DeleteOptions", "", [wrong("propagationPolicy", text, policy)])
    if policy is not None and policy not in _POLICIES:
        error = unsupported("propagationPolicy", policy, ["Background", "Foreground", "Orphan", "nil"])
        raise invalid("meta.k8s.io", "DeleteOptions", "", [error])
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if policy is None and resource.storage in _ORPHANED:
        if resource.plural == "jobs":
            options.warnings.append(
                "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to"
                " remove them or set"
                " propagationPolicy=Orphan to suppress this warning"
            )
        policy = "Orphan"
    return policy or ""


def _finalizers(found: list[str], policy: str) -> list[str]:
    """The finalizers with those that carry out the propagation policy."""
    if not policy:
        return found
    kept = [name for name in found if name not in ("orphan", "foregroundDeletion")]
    return kept + {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(policy, [])


def _grace(resource: Resource, obj: Obj, wanted: int | None) -> int:
    """Seconds an object has left: only pods that run somewhere get any."""
    if wanted is not None and wanted < 0:
        raise ApiError(422, "Invalid", "gracePeriodSeconds must be non-negative")
    if resource.storage != "/pods":
        return 0
    if not obj["spec"].get("nodeName") or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    default: int = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return default if wanted is None else wanted
