"""The columns of built-in kinds in tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from . import clock
from .ages import age, duration
from .store import Obj
from .subresources import selector_text

Cells = list[Any]
Row = Callable[[Obj], Cells]
Columns = list[tuple[str, str, int]]
"""Name, type and priority of each column; those with a priority above zero show only in wide output."""


def _created(obj: Obj) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _containers(spec: Obj) -> tuple[str, str]:
    containers = spec.get("containers") or ()
    return ",".join(item["name"] for item in containers), ",".join(item.get("image", "") for item in containers)


def _pod(pod: Obj) -> Cells:
    spec, status = pod["spec"], pod.get("status") or {}
    found = status.get("containerStatuses") or []
    reason = status.get("reason") or status.get("phase", "Unknown")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    starting = False
    for index, item in enumerate(status.get("initContainerStatuses") or ()):
        state = item.get("state") or {}
        ended = state.get("terminated")
        if ended and ended.get("exitCode") == 0:
            continue
        starting = True
        if ended:
            reason = "Init:" + (ended.get("reason") or f"ExitCode:{ended.get('exitCode')}")
        elif state.get("waiting", {}).get("reason") not in (None, "", "PodInitializing"):
            reason = "Init:" + state["waiting"]["reason"]
        else:
            reason = f"Init:{index}/{len(spec.get('initContainers') or ())}"
        break
    if not starting:
        for item in reversed(found):
            state = item.get("state") or {}
            if state.get("waiting", {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif "terminated" in state:
                ended = state["terminated"]
                reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
        if reason == "Completed" and any("running" in (item.get("state") or {}) for item in found):
            reason = "Running"
    if pod["metadata"].get("deletionTimestamp"):
        reason = "Terminating" if status.get("reason") != "NodeLost" else "Unknown"
    restarts: Any = sum(item.get("restartCount", 0) for item in found)
    ready = sum(bool(item.get("ready")) for item in found)
    nominated, gates = status.get("nominatedNodeName") or "<none>", "<none>"
    if spec.get("readinessGates"):
        types = {gate["conditionType"] for gate in spec["readinessGates"]}
        held = sum(c["type"] in types and c["status"] == "True" for c in status.get("conditions") or ())
        gates = f"{held}/{len(types)}"
    where = [status.get("podIP") or "<none>", spec.get("nodeName") or "<none>", nominated, gates]
    return [_name(pod), f"{ready}/{len(spec.get('containers') or ())}", reason, str(restarts), _created(pod), *where]


def _job(job: Obj) -> Cells:
    spec, status = job["spec"], job.get("status") or {}
    completions, parallelism = spec.get("completions"), spec.get("parallelism", 1)
    if completions is None:
        completions = f"1 of {parallelism}" if parallelism > 1 else 1
    took = ""
    if status.get("startTime"):
        end = clock.parse(status["completionTime"]) if status.get("completionTime") else datetime.now(UTC)
        took = duration((end - clock.parse(status["startTime"])).total_seconds())
    conditions = {item["type"] for item in status.get("conditions") or () if item["status"] == "True"}
    phase = "Running"
    for kind, shown in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if kind in conditions:
            phase = shown
            break
    else:
        if job["metadata"].get("deletionTimestamp"):
            phase = "Terminating"
    names, images = _containers(spec["template"]["spec"])
    return [
        _name(job),
        phase,
        f"{status.get('succeeded', 0)}/{completions}",
        took,
        _created(job),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _workload(obj: Obj, *counters: Any) -> Cells:
    spec = obj["spec"]
    return [
        _name(obj),
        *counters,
        _created(obj),
        *_containers(spec["template"]["spec"]),
        selector_text(spec["selector"]),
    ]


def _deployment(obj: Obj) -> Cells:
    wanted, status = obj["spec"].get("replicas", 0), obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{wanted}"
    return _workload(obj, ready, status.get("updatedReplicas", 0), status.get("availableReplicas", 0))


def _replica_set(obj: Obj) -> Cells:
    wanted, status = obj["spec"].get("replicas", 0), obj.get("status") or {}
    return _workload(obj, wanted, status.get("replicas", 0), status.get("readyReplicas", 0))


def _stateful_set(obj: Obj) -> Cells:
    ready = (obj.get("status") or {}).get("readyReplicas", 0)
    return _workload(obj, f"{ready}/{obj['spec'].get('replicas', 0)}")[:-1]


def _service(obj: Obj) -> Cells:
    spec = obj["spec"]
    ports = [
        f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p['protocol']}"
        for p in spec.get("ports") or ()
    ]
    ingress = (obj.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    external = ",".join(item.get("ip") or item.get("hostname", "") for item in ingress) or (
        "<pending>" if spec["type"] == "LoadBalancer" else "<none>"
    )
    if spec["type"] == "ExternalName":
        external = spec.get("externalName", "<none>")
    selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items())) or "<none>"
    return [
        _name(obj),
        spec["type"],
        spec.get("clusterIP") or "<none>",
        external,
        ",".join(ports) or "<none>",
        _created(obj),
        selector,
    ]


def _event(obj: Obj) -> Cells:
    about, series = obj.get("involvedObject") or {}, obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    source = obj.get("source") or {}
    origin = ", ".join(
        filter(
            None,
            [
                source.get("component") or obj.get("reportingComponent"),
                source.get("host") or obj.get("reportingInstance"),
            ],
        )
    )
    target = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    wide = [age(first), series.get("count") or obj.get("count") or 1, _name(obj)]
    shown = [age(last), obj.get("type", ""), obj.get("reason", ""), target, about.get("fieldPath", ""), origin]
    return [*shown, obj.get("message", "").strip(), *wide]


def _node(obj: Obj) -> Cells:
    status = obj.get("status") or {}
    ready = next((item["status"] for item in status.get("conditions") or () if item["type"] == "Ready"), "Unknown")
    shown = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    if obj["spec"].get("unschedulable"):
        shown += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(
        key.removeprefix(prefix)
        for key in obj["metadata"].get("labels") or {}
        if key.startswith(prefix) and key != prefix
    )
    info = status.get("nodeInfo") or {}
    addresses = {item["type"]: item["address"] for item in status.get("addresses") or ()}
    wide = [
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
    ]
    wide += [info.get("kernelVersion") or "<unknown>", info.get("containerRuntimeVersion") or "<unknown>"]
    return [_name(obj), shown, ",".join(roles) or "<none>", _created(obj), info.get("kubeletVersion", ""), *wide]


def _quota(obj: Obj) -> Cells:
    status = obj.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    shown = {False: "", True: ""}
    for name in sorted(hard):
        limit = name.startswith("limits.")
        shown[limit] += f"{name}: {used.get(name, '0')}/{hard[name]}, "
    return [_name(obj), shown[False].rstrip(", "), shown[True].rstrip(", "), _created(obj)]


def _binding(obj: Obj) -> Cells:
    role = obj["roleRef"]
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for item in obj.get("subjects") or ():
        by_kind.setdefault(item["kind"], []).append(
            f"{item['namespace']}/{item['name']}" if item.get("namespace") else item["name"]
        )
    return [
        _name(obj),
        f"{role['kind']}/{role['name']}",
        _created(obj),
        *(", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")),
    ]


def _claim(obj: Obj) -> Cells:
    spec, status = obj["spec"], obj.get("status") or {}
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    modes = ",".join(short.get(mode, mode) for mode in status.get("accessModes") or ())
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "Pending")
    return [
        _name(obj), phase, spec.get("volumeName", ""), (status.get("capacity") or {}).get("storage", ""), modes,
        spec.get("storageClassName", ""),
        "<unset>", _created(obj), spec.get("volumeMode", ""),
    ]  # fmt: skip


def _since(obj: Obj) -> Cells:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _budget(obj: Obj) -> Cells:
    spec, allowed = obj["spec"], (obj.get("status") or {}).get("disruptionsAllowed", 0)
    return [
        _name(obj),
        *(str(spec.get(key, "N/A")) for key in ("minAvailable", "maxUnavailable")),
        allowed,
        _created(obj),
    ]


def _config_map(obj: Obj) -> Cells:
    return [_name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _created(obj)]


def _priority_class(obj: Obj) -> Cells:
    default, preemption = bool(obj.get("globalDefault")), obj.get("preemptionPolicy", "")
    return [_name(obj), obj["value"], default, _created(obj), preemption]


_ROWS: dict[str, Row] = {
    "clusterrolebindings": _binding,
    "clusterroles": _since,
    "configmaps": _config_map,
    "customresourcedefinitions": _since,
    "deployments": _deployment,
    "events": _event,
    "jobs": _job,
    "leases": lambda obj: [_name(obj), (obj.get("spec") or {}).get("holderIdentity", ""), _created(obj)],
    "namespaces": lambda obj: [_name(obj), obj.get("status", {}).get("phase", ""), _created(obj)],
    "networkpolicies": lambda obj: [
        _name(obj),
        selector_text(obj["spec"].get("podSelector")) or "<none>",
        _created(obj),
    ],
    "nodes": _node,
    "persistentvolumeclaims": _claim,
    "poddisruptionbudgets": _budget,
    "pods": _pod,
    "priorityclasses": _priority_class,
    "replicasets": _replica_set,
    "resourcequotas": _quota,
    "rolebindings": _binding,
    "roles": _since,
    "secrets": lambda obj: [_name(obj), obj.get("type", ""), len(obj.get("data") or ()), _created(obj)],
    "serviceaccounts": lambda obj: [_name(obj), len(obj.get("secrets") or ()), _created(obj)],
    "services": _service,
    "statefulsets": _stateful_set,
}

# Resource and columns: `Ready`, `Count:integer`, `Images+` (in wide output only).
_HEADERS = """
clusterrolebindings: Name, Role, Age, Users+, Groups+, ServiceAccounts+
clusterroles: Name, Created At:date
configmaps: Name, Data, Age
customresourcedefinitions: Name, Created At:date
deployments: Name, Ready, Up-to-date, Available, Age, Containers+, Images+, Selector+
events: Last Seen, Type, Reason, Object, Subobject+, Source+, Message, First Seen+, Count+, Name+
jobs: Name, Status, Completions, Duration, Age, Containers+, Images+, Selector+
leases: Name, Holder, Age
namespaces: Name, Status, Age
networkpolicies: Name, Pod-Selector, Age
nodes: Name, Status, Roles, Age, Version, Internal-IP+, External-IP+, OS-Image+, Kernel-Version+, Container-Runtime+
persistentvolumeclaims: Name, Status, Volume, Capacity, Access Modes, StorageClass, \
VolumeAttributesClass, Age, VolumeMode+
poddisruptionbudgets: Name, Min Available, Max Unavailable, Allowed Disruptions:integer, Age
pods: Name, Ready, Status, Restarts, Age, IP+, Node+, Nominated Node+, Readiness Gates+
priorityclasses: Name, Value:integer, Global-Default:boolean, Age, PreemptionPolicy
replicasets: Name, Desired:integer, Current:integer, Ready:integer, Age, Containers+, Images+, Selector+
resourcequotas: Name, Request, Limit, Age
rolebindings: Name, Role, Age, Users+, Groups+, ServiceAccounts+
roles: Name, Created At:date
secrets: Name, Type, Data, Age
serviceaccounts: Name, Secrets, Age
services: Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector+
statefulsets: Name, Ready, Age, Containers+, Images+
"""


def _columns(text: str) -> Columns:
    found = []
    for column in text.split(", "):
        name, _, kind = column.rstrip("+").partition(":")
        found.append((name, kind or "string", int(column.endswith("+"))))
    return found


BUILTIN: dict[str, tuple[Columns, Row]] = {
    plural: (_columns(text), _ROWS[plural])
    for plural, text in (line.split(": ", 1) for line in _HEADERS.strip().splitlines())
}
PLAIN: tuple[Columns, Row] = (_columns("Name, Age"), lambda obj: [_name(obj), _created(obj)])
