"""What makes an object of a built-in kind invalid, by the type of the part that is wrong."""

from __future__ import annotations

import re

from finetune_sandbox import quantity
from finetune_sandbox.apiserver.errors import FieldError, banned, required, unsupported, wrong
from finetune_sandbox.apiserver.resources import Resource
from finetune_sandbox.apiserver.schema.walk import parts

from . import meta
from .pod_checks import POD_RULES
from .rules import PROTOCOL, Errors, Obj, Rules, listed, names, needs, not_negative, one_of, port
from .workload_checks import WORKLOAD_RULES


def _service_spec(spec: Obj, at: str) -> Errors:
    if spec["type"] == "ExternalName":
        yield from needs("externalName")(spec, at)
    elif spec.get("clusterIP") != "None":
        yield from needs("ports")(spec, at)
    ports = listed(spec, at, "ports")
    if len(ports) > 1 or any(item.get("name") for item, _ in ports):
        yield from names(ports)
    taken: list[Obj] = []
    for item, here in ports:
        identity = {"port": item.get("port"), "protocol": item["protocol"]}
        if identity in taken:
            yield FieldError("Duplicate", here, "", identity)
        taken.append(identity)
    yield from meta.labels(spec.get("selector"), f"{at}.selector")


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_DATA_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    " (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_LARGEST = 1024 * 1024


def _secret(secret: Obj, at: str) -> Errors:
    yield from _data(secret, at)
    for key in _SECRET_KEYS.get(secret["type"], ()):
        if key not in (secret.get("data") or {}):
            yield required(f"data[{key}]")
    account = "kubernetes.io/service-account.name"
    annotations = secret["metadata"].get("annotations") or {}
    if secret["type"] == "kubernetes.io/service-account-token" and not annotations.get(account):
        yield required(f"metadata.annotations[{account}]")


def _config_map(config_map: Obj, at: str) -> Errors:
    yield from _data(config_map, at)
    for key in set(config_map.get("binaryData") or ()) & set(config_map.get("data") or ()):
        yield wrong(f"data[{key}]", "duplicate of key present in binaryData", key)


def _data(obj: Obj, _at: str) -> Errors:
    data = [(field, *item) for field in ("data", "binaryData") for item in (obj.get(field) or {}).items()]
    for field, key, _ in data:
        if not _DATA_KEY.fullmatch(key) or len(key) > 253 or key in (".", ".."):
            yield wrong(f"{field}[{key}]", _DATA_KEY_TEXT, key)
    if sum(len(value) for _, _, value in data) > _LARGEST * 4 // 3:
        yield FieldError("TooLong", "", f"may not be more than {_LARGEST} bytes")


def _event(event: Obj, _at: str) -> Errors:
    about, home = (event.get("involvedObject") or {}).get("namespace", ""), event["metadata"].get("namespace", "")
    if about != home and not (not about and home == "default"):
        yield wrong("involvedObject.namespace", "does not match event.namespace", about)


def _lease_spec(spec: Obj, at: str) -> Errors:
    if (seconds := spec.get("leaseDurationSeconds")) is not None and seconds <= 0:
        yield wrong(f"{at}.leaseDurationSeconds", "must be greater than 0", seconds)


def _binding(binding: Obj, _at: str) -> Errors:
    kinds = ("ClusterRole",) if binding["kind"] == "ClusterRoleBinding" else ("Role", "ClusterRole")
    yield from one_of("kind", *kinds)({"kind": "", **binding["roleRef"]}, "roleRef")
    yield from needs("name")(binding["roleRef"], "roleRef")
    for subject, at in listed(binding, "", "subjects"):
        yield from needs("name")(subject, at)
        yield from one_of("kind", "Group", "ServiceAccount", "User")({"kind": "", **subject}, at)
        if subject.get("kind") == "ServiceAccount" and binding["kind"] == "ClusterRoleBinding":
            yield from needs("namespace")(subject, at)


def _policy_rule(rule: Obj, at: str) -> Errors:
    yield from needs("verbs", detail="verbs must contain at least one value")(rule, at)
    if not rule.get("nonResourceURLs"):
        yield from needs("apiGroups", detail="resource rules must supply at least one api group")(rule, at)
        yield from needs("resources", detail="resource rules must supply at least one resource")(rule, at)


def _budget_spec(spec: Obj, at: str) -> Errors:
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield wrong(at, "minAvailable and maxUnavailable cannot be both set", {})


def _priority_class(obj: Obj, _at: str) -> Errors:
    if obj["value"] > 1_000_000_000 and not obj["metadata"].get("name", "").startswith("system-"):
        yield banned("value", "maximum allowed value of a user defined priority is 1000000000")


def _claim_spec(spec: Obj, at: str) -> Errors:
    modes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
    yield from (unsupported(f"{at}.accessModes", m, modes) for m in spec.get("accessModes") or () if m not in modes)
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield required(f"{at}.resources[storage]")
    elif quantity.parse(size) <= 0:
        yield wrong(f"{at}.resources[storage]", "must be greater than zero", size)


_RULES: Rules = {
    **POD_RULES,
    **WORKLOAD_RULES,
    "ClusterRoleBinding": (_binding,),
    "ConfigMap": (_config_map,),
    "Event": (_event,),
    "LeaseSpec": (not_negative("leaseTransitions"), _lease_spec),
    "PersistentVolumeClaimSpec": (needs("accessModes", detail="at least 1 access mode is required"), _claim_spec),
    "PersistentVolumeSpec": (needs("accessModes", "capacity"),),
    "PodDisruptionBudgetSpec": (_budget_spec,),
    "PolicyRule": (_policy_rule,),
    "PriorityClass": (_priority_class,),
    "RoleBinding": (_binding,),
    "Secret": (_secret,),
    "ServicePort": (port("port", "targetPort"), PROTOCOL),
    "ServiceSpec": (one_of("type", "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"), _service_spec),
}


def check(resource: Resource, obj: Obj) -> list[FieldError]:
    """Everything wrong with an object that has its defaults."""
    claims = {claim["metadata"]["name"] for claim in (obj.get("spec") or {}).get("volumeClaimTemplates") or ()}
    found = (
        error
        for kind, part, at in parts(obj, resource.node)
        for rule in _RULES.get(kind, ())
        for error in rule(part, at)
    )
    return [error for error in found if not (error.kind == "NotFound" and error.value in claims)]
