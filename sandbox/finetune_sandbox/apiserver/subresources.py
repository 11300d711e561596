"""Subresources other than status: scale, binding, eviction, token, finalize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune_sandbox.objects import matches

from . import clock, deletion, write
from .errors import ApiError, bad_request, conflict, invalid, method_not_allowed, required, status_object, wrong
from .options import Options
from .patching import patched
from .resources import Resource
from .store import Obj

if TYPE_CHECKING:
    from .state import State


def selector_text(selector: Obj | None) -> str:
    """A `LabelSelector` in the text form that Scale shows."""
    if not selector:
        return ""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for item in selector.get("matchExpressions") or ():
        values = "(" + ",".join(item.get("values") or ()) + ")"
        parts.append(
            {
                "In": f"{item['key']} in {values}",
                "NotIn": f"{item['key']} notin {values}",
                "Exists": item["key"],
                "DoesNotExist": "!" + item["key"],
            }[item["operator"]]
        )
    return ",".join(parts)


def _dig(obj: Any, path: str) -> Any:
    for name in path.split("."):
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def scale_of(resource: Resource, obj: Obj) -> Obj:
    """The `Scale` of an object."""
    assert resource.scale is not None
    wanted, found, selector = resource.scale
    meta = {
        key: obj["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in obj["metadata"]
    }
    status: Obj = {"replicas": _dig(obj, found) or 0}
    if resource.custom is None:
        chosen = obj["spec"].get("selector")
        text = selector_text(chosen if resource.plural != "replicationcontrollers" else {"matchLabels": chosen})
    else:
        text = _dig(obj, selector) or "" if selector else ""
    if text:
        status["selector"] = text
    replicas = _dig(obj, wanted)
    if replicas is None and resource.custom is not None:
        text = f'the spec replicas field ".{wanted}" does not exist'
        raise ApiError(500, "InternalError", f"Internal error occurred: {text}")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def write_scale(
    state: State,
    resource: Resource,
    namespace: str | None,
    name: str,
    body: Any,
    media: str | None,
    options: Options,
    data: bytes,
) -> Obj:
    """Sets the number of replicas by PUT (`media` None) or PATCH of a `Scale`."""
    assert resource.scale is not None
    old = write.current(state, resource, namespace, name)
    scale = scale_of(resource, old)
    if media is not None:
        body, _, _ = patched(resource, scale, data, media)
    sent = body.get("metadata") or {}
    if sent.get("name", name) != name:
        raise bad_request(f"the name of the object ({sent['name']}) does not match the name on the URL ({name})")
    version = sent.get("resourceVersion")
    if version and version != old["metadata"]["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(resource.group, resource.plural, name, why)
    replicas = (body.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        error = wrong("spec.replicas", "must be greater than or equal to 0", replicas)
        raise invalid("autoscaling", "Scale", name, [error])
    new = {**_with(old, resource.scale[0].split("."), replicas), "metadata": dict(old["metadata"])}
    return scale_of(resource, write.update(state, resource, old, new, options))


def _with(obj: Obj, path: list[str], value: Any) -> Obj:
    """A copy with one field set."""
    if len(path) == 1:
        return {**obj, path[0]: value}
    return {**obj, path[0]: _with(obj.get(path[0]) or {}, path[1:], value)}


def bind(state: State, resource: Resource, namespace: str | None, name: str, body: Obj, options: Options) -> Obj:
    """Assigns a pod to a node."""
    pod = write.current(state, resource, namespace, name)
    node = (body.get("target") or {}).get("name", "")
    if not node:
        raise invalid("", "Binding", name, [required("target.name")])
    uid = (body.get("metadata") or {}).get("uid")
    if uid and uid != pod["metadata"]["uid"]:
        raise conflict(
            "",
            "pods/binding",
            name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {pod['metadata']['uid']}",
        )
    if pod["metadata"].get("deletionTimestamp"):
        raise conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
        raise conflict("", "pods/binding", name, why)
    if pod["spec"].get("schedulingGates"):
        raise conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    status = dict(pod.get("status") or {})
    conditions = [item for item in status.get("conditions") or () if item["type"] != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": clock.now()}
    new = {
        **pod,
        "spec": {**pod["spec"], "nodeName": node},
        "status": {**status, "conditions": [*conditions, scheduled]},
    }
    if not options.dry_run:
        state.stored(resource, new)
    return status_object("Success", 201)


def evict(state: State, resource: Resource, namespace: str | None, name: str, body: Obj, options: Options) -> Obj:
    """Deletes a pod unless a disruption budget forbids it.

    Raises:
        ApiError: 429 when the budget is used up.
    """
    pod = write.current(state, resource, namespace, name)
    running = (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed", "Pending")
    for budget in state.store.items("policy/poddisruptionbudgets", namespace) if running else ():
        if not matches(budget["spec"].get("selector"), pod["metadata"].get("labels") or {}):
            continue
        status = budget.get("status") or {}
        allowed = status.get("disruptionsAllowed", 0)
        if allowed <= 0:
            title = budget["metadata"]["name"]
            needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
            cause = {
                "reason": "DisruptionBudget",
                "message": f"The disruption budget {title} needs {needs} healthy pods and has {has} currently",
            }
            text = "Cannot evict pod as it would violate the pod's disruption budget."
            raise ApiError(429, "TooManyRequests", text, {"causes": [cause]})
        if not options.dry_run:
            disrupted = {**(status.get("disruptedPods") or {}), name: clock.now()}
            new = {**budget, "status": {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}}
            state.store.put("policy/poddisruptionbudgets", new)
    wanted = body.get("deleteOptions") or {}
    if not options.dry_run:
        status = dict(pod.get("status") or {})
        conditions = [item for item in status.get("conditions") or () if item["type"] != "DisruptionTarget"]
        target = {
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction"
            " API: evicting",
            "lastProbeTime": None, "lastTransitionTime": clock.now(),
        }  # fmt: skip
        pod = state.stored(resource, {**pod, "status": {**status, "conditions": [*conditions, target]}})
    deletion.delete(state, resource, pod, wanted, options)
    return status_object("Success", 201)


def finalize(state: State, resource: Resource, name: str, body: Obj) -> Obj:
    """Sets the finalizers of a namespace; without any it goes when it is being deleted."""
    old = write.current(state, resource, None, name)
    finalizers = (body.get("spec") or {}).get("finalizers") or []
    spec = {key: value for key, value in old["spec"].items() if key != "finalizers"}
    new = {**old, "spec": {**spec, "finalizers": finalizers} if finalizers else spec}
    if old["metadata"].get("deletionTimestamp") and deletion.released(resource, new):
        state.removed(resource, old)
        return new
    return state.stored(resource, new)


def create(
    state: State, resource: Resource, namespace: str | None, name: str, sub: str, body: Any, options: Options
) -> Obj:
    """Carries out a POST to a subresource."""
    if not isinstance(body, dict):
        raise bad_request("the body is no object")
    if sub == "binding":
        return bind(state, resource, namespace, name, body, options)
    if sub == "eviction":
        return evict(state, resource, namespace, name, body, options)
    if sub == "token":
        return state.tokens.request(state, resource, namespace or "", name, body)
    raise method_not_allowed()
