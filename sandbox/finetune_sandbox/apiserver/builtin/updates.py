"""What may not change in objects of the built-in kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, banned, wrong

Obj = dict[str, Any]
Errors = Iterator[FieldError]

_POD_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_STATEFUL_TEXT = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy',"
    " 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_JOB_IMMUTABLE = (
    "completions", "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy",
    "successPolicy",
)  # fmt: skip


def _without(obj: Obj, names: Iterable[str]) -> Obj:
    return {key: value for key, value in obj.items() if key not in names}


def _pod(pod: Obj, old: Obj) -> Errors:
    """Images, deadline, more tolerations, and scheduling while gates hold the pod back."""
    new, was = pod["spec"], old["spec"]
    if any(item not in (new.get("tolerations") or ()) for item in was.get("tolerations") or ()):
        yield banned("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    mutable = ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"]
    mutable += ["nodeSelector", "affinity"] if was.get("schedulingGates") else []

    def frozen(spec: Obj) -> Obj:
        lists = ("containers", "initContainers")
        images = {key: [_without(item, ("image",)) for item in spec[key]] for key in lists if key in spec}
        return _without(spec, mutable) | images

    if frozen(new) != frozen(was):
        yield banned("spec", _POD_TEXT)


def _job(job: Obj, old: Obj) -> Errors:
    """A Job's template does not change, but for where its pods go while it is suspended and was never started."""
    new, was = job["spec"], old["spec"]
    for key in _JOB_IMMUTABLE:
        resized = key == "completions" and new.get("completionMode") == "Indexed"
        if new.get(key) != was.get(key) and not (resized and new.get(key) == new.get("parallelism")):
            yield wrong(f"spec.{key}", "field is immutable", new.get(key))
    template, before = new.get("template") or {}, was.get("template") or {}
    if was.get("suspend") and (old.get("status") or {}).get("startTime") is None:
        template, before = _without_scheduling(template), _without_scheduling(before)
    if template != before:
        inside = {**template, "spec": None} == {**before, "spec": None}
        yield wrong("spec.template.spec" if inside else "spec.template", "field is immutable", template)


def _without_scheduling(template: Obj) -> Obj:
    spec = _without(template.get("spec") or {}, ("nodeSelector", "tolerations", "affinity", "schedulingGates"))
    return {**template, "spec": spec, "metadata": _without(template.get("metadata") or {}, ("labels", "annotations"))}


def _workload(obj: Obj, old: Obj) -> Errors:
    if obj["spec"].get("selector") != old["spec"].get("selector"):
        yield wrong("spec.selector", "field is immutable", obj["spec"].get("selector"))


def _stateful_set(obj: Obj, old: Obj) -> Errors:
    if _without(obj["spec"], _STATEFUL_MUTABLE) != _without(old["spec"], _STATEFUL_MUTABLE):
        yield banned("spec", _STATEFUL_TEXT)


def _service(obj: Obj, old: Obj) -> Errors:
    address = obj["spec"].get("clusterIP")
    if old["spec"].get("clusterIP") not in (None, "", address) and obj["spec"]["type"] != "ExternalName":
        yield wrong("spec.clusterIPs[0]", "may not change once set", address)


def _data(obj: Obj, old: Obj) -> Errors:
    if obj.get("type") != old.get("type"):
        yield wrong("type", "field is immutable", obj.get("type"))
    if old.get("immutable"):
        changed = [key for key in ("data", "binaryData") if obj.get(key) != old.get(key)]
        for key in changed + ["immutable"] * (not obj.get("immutable")):
            yield banned(key, "field is immutable when `immutable` is set")


def _claim(obj: Obj, old: Obj) -> Errors:
    """A claim's specification is for good but for its volume once and a growing size."""
    free = ("resources",) if old["spec"].get("volumeName") else ("resources", "volumeName")
    if _without(obj["spec"], free) != _without(old["spec"], free):
        yield banned("spec", _CLAIM_TEXT)


def _binding(obj: Obj, old: Obj) -> Errors:
    if obj.get("roleRef") != old.get("roleRef"):
        yield wrong("roleRef", "cannot change roleRef", obj.get("roleRef"))


def _priority_class(obj: Obj, old: Obj) -> Errors:
    for key in ("value", "preemptionPolicy"):
        if obj.get(key) != old.get(key):
            yield banned(key, "may not be changed in an update.")


_CHANGES: dict[str, Callable[[Obj, Obj], Errors]] = {
    "clusterrolebindings": _binding,
    "configmaps": _data,
    "deployments": _workload,
    "jobs": _job,
    "persistentvolumeclaims": _claim,
    "pods": _pod,
    "priorityclasses": _priority_class,
    "replicasets": _workload,
    "rolebindings": _binding,
    "secrets": _data,
    "services": _service,
    "statefulsets": _stateful_set,
}


def changes(plural: str, obj: Obj, old: Obj) -> list[FieldError]:
    """Everything wrong with a change."""
    return list(_CHANGES[plural](obj, old)) if plural in _CHANGES else []
