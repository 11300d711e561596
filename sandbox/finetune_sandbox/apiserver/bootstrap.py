"""The objects that every cluster starts with: namespaces, the default roles and their bindings."""

from __future__ import annotations

from typing import Any

from . import write
from .options import Options
from .state import State

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_CORE = [
    "configmaps",
    "endpoints",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "replicationcontrollers/scale",
    "serviceaccounts",
    "services",
]
_VIEWED = [
    "bindings",
    "events",
    "limitranges",
    "namespaces/status",
    "pods/log",
    "pods/status",
    "resourcequotas",
    "resourcequotas/status",
    "namespaces",
]
_WORKLOADS: dict[str, list[str]] = {
    "apps": [
        "daemonsets",
        "deployments",
        "deployments/scale",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
    ],
    "autoscaling": ["horizontalpodautoscalers"],
    "batch": ["cronjobs", "jobs"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "policy": ["poddisruptionbudgets"],
}
_DISCOVERY = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
]
_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_RBAC = "rbac.authorization.k8s.io"
_AGGREGATE = _RBAC + "/aggregate-to-"


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def _view() -> list[dict[str, Any]]:
    return [_rule([""], _CORE + _VIEWED, _READ)] + [_rule([group], found, _READ) for group, found in _WORKLOADS.items()]


def _edit() -> list[dict[str, Any]]:
    rules = [
        _rule([""], ["secrets", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"], _READ)
    ]
    rules += [
        _rule([""], [*_CORE, "secrets", "events"], _WRITE),
        _rule([""], ["pods/eviction", "serviceaccounts/token"], ["create"]),
    ]
    rules += [_rule([group], found, _WRITE) for group, found in _WORKLOADS.items()]
    return [*rules, _rule(["coordination.k8s.io"], ["leases"], _READ + _WRITE)]


def _admin() -> list[dict[str, Any]]:
    local = _rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"])
    return [local, _rule([_RBAC], ["roles", "rolebindings"], _READ + _WRITE)]


def _cluster_roles() -> dict[str, dict[str, Any]]:
    everything = [_rule(["*"], ["*"], ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    reviews = [
        _rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
        _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
    ]
    found: dict[str, dict[str, Any]] = {
        "cluster-admin": {"rules": everything},
        "system:discovery": {"rules": [{"nonResourceURLs": _DISCOVERY, "verbs": ["get"]}]},
        "system:public-info-viewer": {"rules": [{"nonResourceURLs": _PUBLIC, "verbs": ["get"]}]},
        "system:basic-user": {"rules": reviews},
    }
    for name, rules, into in (("view", _view(), "edit"), ("edit", _edit(), "admin"), ("admin", _admin(), "")):
        labels = {_AGGREGATE + name: "true"} | ({_AGGREGATE + into: "true"} if into else {})
        if name == "view":
            labels[_AGGREGATE + "admin"] = "true"
        found[f"system:aggregate-to-{name}"] = {"labels": labels, "rules": rules}
        found[name] = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {_AGGREGATE + name: "true"}}]}}
    return found


_BINDINGS = {
    "cluster-admin": "system:masters",
    "system:discovery": "system:authenticated",
    "system:basic-user": "system:authenticated",
    "system:public-info-viewer": "system:authenticated system:unauthenticated",
}
_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def fill(state: State) -> None:
    """Creates the first objects."""
    for name in NAMESPACES:
        _create(state, "", "namespaces", {"metadata": {"name": name}})
    for name, role in _cluster_roles().items():
        labels = {"kubernetes.io/bootstrapping": "rbac-defaults", **role.pop("labels", {})}
        _create(state, _RBAC, "clusterroles", {"metadata": {"name": name, "labels": labels}, **role})
    for name, groups in _BINDINGS.items():
        subjects = [{"kind": "Group", "apiGroup": _RBAC, "name": group} for group in groups.split()]
        reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name}
        _create(
            state,
            _RBAC,
            "clusterrolebindings",
            {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects},
        )
    for name, value in _PRIORITIES.items():
        _create(state, "scheduling.k8s.io", "priorityclasses", {"metadata": {"name": name}, "value": value})
    state.store.forget_history()


def _create(state: State, group: str, plural: str, body: dict[str, Any]) -> None:
    resource = state.registry.find(group, plural)
    assert resource is not None
    write.create(state, resource, None, body, Options(field_validation="Ignore", manager="kube-apiserver"))
