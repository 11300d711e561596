"""What a server sets in new objects of the built-in kinds, and keeps when they change."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from finetune_sandbox.apiserver.errors import forbidden

from . import crd

if TYPE_CHECKING:
    from finetune_sandbox.apiserver.state import State

Obj = dict[str, Any]

_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def _pod(state: State, pod: Obj) -> None:
    spec = pod["spec"]
    tolerations = spec.setdefault("tolerations", [])
    for key in _TOLERATED:
        if not any(
            item.get("key", key) == key and item.get("effect", "NoExecute") == "NoExecute" for item in tolerations
        ):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        message = "Scheduling is blocked due to non-empty scheduling gates"
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}
        pod["status"]["conditions"] = [gated]
    _priority(state, pod)


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort by the requests and limits of all containers."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    resources = [container.get("resources") or {} for container in containers]
    named = [
        {name: (found.get(key) or {}).get(name) for key in ("requests", "limits") for name in ("cpu", "memory")}
        for found in resources
    ]
    if not any(value for amounts in named for value in amounts.values()):
        return "BestEffort"
    for found in resources:
        limits, requests = found.get("limits") or {}, found.get("requests") or {}
        if any(not limits.get(name) or requests.get(name, limits[name]) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def _priority(state: State, pod: Obj) -> None:
    spec, found = pod["spec"], None
    if name := spec.get("priorityClassName", ""):
        found = state.store.get("scheduling.k8s.io/priorityclasses", None, name)
        if found is None:
            raise forbidden("", "pods", pod["metadata"].get("name", ""), f"no PriorityClass with name {name} was found")
    else:
        classes = state.store.items("scheduling.k8s.io/priorityclasses")
        found = next((item for item in classes if item.get("globalDefault")), None)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
    spec["priority"] = found["value"] if found else 0
    spec.setdefault("preemptionPolicy", found["preemptionPolicy"] if found else "PreemptLowerPriority")


def _job(_state: State, job: Obj) -> None:
    """Gives a new Job the selector and labels that find its pods."""
    spec, name, uid = job["spec"], job["metadata"]["name"], job["metadata"]["uid"]
    if spec.get("manualSelector") or "template" not in spec:
        return
    own = {prefix + key: value for prefix in ("batch.kubernetes.io/", "")
           for key, value in (("controller-uid", uid), ("job-name", name))}  # fmt: skip
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = {**(template.get("labels") or {}), **own}
    selector = spec.setdefault("selector", {"matchLabels": {}})
    selector.setdefault("matchLabels", {})["batch.kubernetes.io/controller-uid"] = uid
    if not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(template["labels"])


def _service(state: State, obj: Obj) -> None:
    """Gives a Service its addresses."""
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        return
    others = [service["spec"] for service in state.store.items("/services")]
    if "clusterIP" not in spec:
        taken = {other.get("clusterIP") for other in others}
        seed = zlib.crc32(f"{obj['metadata'].get('namespace')}/{obj['metadata'].get('name')}".encode()) % 65000 + 20
        addresses = (f"10.96.{(number >> 8) & 255}.{number & 255}" for number in range(seed, seed + 66000))
        spec["clusterIP"] = next(address for address in addresses if address not in taken)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        used = {port.get("nodePort") for other in others for port in other.get("ports") or ()}
        for port in spec.get("ports") or ():
            port.setdefault("nodePort", next(number for number in range(30000, 32768) if number not in used))
            used.add(port["nodePort"])


def _namespace(_state: State, obj: Obj) -> None:
    obj["spec"]["finalizers"] = ["kubernetes"]


def _claim(state: State, obj: Obj) -> None:
    for found in state.store.items("storage.k8s.io/storageclasses"):
        if (found["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true":
            obj["spec"].setdefault("storageClassName", found["metadata"]["name"])


PREPARE: dict[str, Callable[[State, Obj], None]] = {
    "customresourcedefinitions": lambda _, obj: crd.prepare(obj),
    "jobs": _job,
    "namespaces": _namespace,
    "persistentvolumeclaims": _claim,
    "pods": _pod,
    "services": _service,
}
"""By resource: completes a new object."""


def keep(plural: str, obj: Obj, old: Obj) -> None:
    """Keeps in a changed object what a server keeps of the stored one."""
    if plural == "services" and obj["spec"]["type"] != "ExternalName":
        for key in ("clusterIP", "clusterIPs"):
            if key in old["spec"] and not obj["spec"].get(key):
                obj["spec"][key] = old["spec"][key]
    elif plural == "namespaces":
        obj["spec"].pop("finalizers", None)
        if old["spec"].get("finalizers"):
            obj["spec"]["finalizers"] = old["spec"]["finalizers"]
