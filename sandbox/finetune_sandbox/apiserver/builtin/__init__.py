"""Defaults, checks and admission of the built-in kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune_sandbox.apiserver.errors import FieldError, forbidden
from finetune_sandbox.apiserver.resources import Resource

from . import apps, core, crd, jobs, pods, quota, services

if TYPE_CHECKING:
    from finetune_sandbox.apiserver.state import State

Obj = dict[str, Any]

KEEPS_STATUS = frozenset({"nodes", "namespaces"})
"""Resources whose status may be set when they are created."""

_WORKLOADS = frozenset({"deployments", "replicasets", "statefulsets", "daemonsets"})
_EMPTY_STATUS: dict[str, tuple[str, ...]] = {
    "jobs": (),
    "cronjobs": (),
    "deployments": (),
    "replicasets": ("replicas",),
    "statefulsets": ("replicas", "availableReplicas"),
    "daemonsets": ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
    "poddisruptionbudgets": ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"),
}
"""Counters that a status shows even when they are zero."""


def default(resource: Resource, obj: Obj) -> None:
    """Fills in the defaults of a kind, in place."""
    plural = resource.plural
    if plural == "pods":
        pods.default_pod(obj)
    elif plural == "jobs":
        jobs.default_job_spec(obj.setdefault("spec", {}))
    elif plural == "cronjobs":
        jobs.default_cronjob(obj)
    elif plural in _WORKLOADS:
        apps.default_workload(plural, obj)
    elif plural == "customresourcedefinitions":
        crd.default(obj)
    elif (found := core.DEFAULTS.get(plural)) is not None:
        found(obj)
    if plural in _EMPTY_STATUS:
        obj["status"] = dict.fromkeys(_EMPTY_STATUS[plural], 0) | (obj.get("status") or {})


def prepare(state: State, resource: Resource, obj: Obj) -> None:
    """Sets what a server sets in a new object."""
    plural = resource.plural
    if plural == "pods":
        pods.prepare_pod(obj)
        _priority(state, obj)
    elif plural == "jobs":
        jobs.prepare_job(obj)
    elif plural == "services":
        services.prepare_service(state, obj)
    elif plural == "namespaces":
        obj["spec"]["finalizers"] = ["kubernetes"]
    elif plural == "customresourcedefinitions":
        crd.prepare(obj)
    elif plural == "persistentvolumeclaims" and "storageClassName" not in obj["spec"]:
        for storage_class in state.store.items("storage.k8s.io/storageclasses"):
            if (storage_class["metadata"].get("annotations") or {}).get(
                "storageclass.kubernetes.io/is-default-class"
            ) == "true":
                obj["spec"]["storageClassName"] = storage_class["metadata"]["name"]


def _priority(state: State, pod: Obj) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName", "")
    found: Obj | None = None
    if name:
        found = state.store.get("scheduling.k8s.io/priorityclasses", None, name)
        if found is None:
            raise forbidden("", "pods", pod["metadata"].get("name", ""), f"no PriorityClass with name {name} was found")
    else:
        classes = list(state.store.items("scheduling.k8s.io/priorityclasses"))
        found = next((item for item in classes if item.get("globalDefault")), None)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
    spec["priority"] = found["value"] if found else 0
    spec.setdefault("preemptionPolicy", found["preemptionPolicy"] if found else "PreemptLowerPriority")


def prepare_update(state: State, resource: Resource, obj: Obj, old: Obj) -> None:
    """Keeps what a server keeps of the stored object."""
    if resource.plural == "services":
        services.keep_service(obj, old)
    elif resource.plural == "namespaces":
        obj["spec"]["finalizers"] = old["spec"].get("finalizers") or []
        if not obj["spec"]["finalizers"]:
            del obj["spec"]["finalizers"]


def validate(resource: Resource, obj: Obj) -> list[FieldError]:
    """Everything wrong with a new object."""
    plural = resource.plural
    if plural == "pods":
        return pods.validate_spec(obj["spec"], "spec")
    if plural == "jobs":
        return jobs.validate_job(obj)
    if plural == "cronjobs":
        return jobs.validate_cronjob(obj)
    if plural in _WORKLOADS:
        return apps.validate_workload(plural, obj)
    if plural == "customresourcedefinitions":
        return crd.validate(obj)
    found = core.CHECKS.get(plural)
    return found(obj) if found is not None else []


def validate_update(resource: Resource, obj: Obj, old: Obj) -> list[FieldError]:
    """Everything wrong with a changed object."""
    plural = resource.plural
    if plural == "pods":
        return pods.validate_pod_update(obj, old)
    if plural == "jobs":
        return jobs.validate_job_update(obj, old)
    if plural in _WORKLOADS:
        return apps.validate_workload_update(plural, obj, old)
    if plural == "customresourcedefinitions":
        return crd.validate(obj, old)
    found = core.UPDATE_CHECKS.get(plural)
    return found(obj, old) if found is not None else validate(resource, obj)


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
