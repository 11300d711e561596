"""The smaller built-in kinds: defaults and checks."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import quantity
from ..errors import FieldError, unsupported
from . import meta

if TYPE_CHECKING:
    from ..state import State

Obj = dict[str, Any]

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LARGEST = 1024 * 1024
_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_SERVICE_TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
_ACCESS_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]


def default_namespace(obj: Obj) -> None:
    """A namespace carries its name as a label and a finalizer until its content is gone."""
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    obj.setdefault("spec", {})
    obj.setdefault("status", {}).setdefault("phase", "Active")


def default_secret(obj: Obj) -> None:
    """A secret is opaque; its string data becomes data."""
    obj.setdefault("type", "Opaque")
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()


def validate_secret(obj: Obj) -> list[FieldError]:
    """Checks a secret."""
    errors = _data(obj)
    for key in _SECRET_KEYS.get(obj["type"], ()):
        if key not in (obj.get("data") or {}):
            errors.append(FieldError("Required", f"data[{key}]"))
    if obj["type"] == "kubernetes.io/service-account-token":
        if not (obj["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name"):
            errors.append(FieldError("Required", "metadata.annotations[kubernetes.io/service-account.name]"))
    return errors


def validate_secret_update(obj: Obj, old: Obj) -> list[FieldError]:
    """A secret's type is for good, and its data too once it is immutable."""
    errors = validate_secret(obj)
    if obj["type"] != old["type"]:
        errors.append(FieldError("Invalid", "type", "field is immutable", obj["type"]))
    return errors + _immutable(obj, old)


def validate_config_map(obj: Obj) -> list[FieldError]:
    """Checks a ConfigMap."""
    errors = _data(obj)
    for key in obj.get("binaryData") or ():
        if key in (obj.get("data") or {}):
            errors.append(FieldError("Invalid", f"data[{key}]", "duplicate of key present in binaryData", key))
    return errors


def validate_config_map_update(obj: Obj, old: Obj) -> list[FieldError]:
    """An immutable ConfigMap keeps its data."""
    return validate_config_map(obj) + _immutable(obj, old)


def _immutable(obj: Obj, old: Obj) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    text = "field is immutable when `immutable` is set"
    changed = [key for key in ("data", "binaryData") if obj.get(key) != old.get(key)] + ["immutable"] * (not obj.get("immutable"))
    return [FieldError("Forbidden", key, text) for key in changed]


def _data(obj: Obj) -> list[FieldError]:
    errors, size = [], 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            if not _KEY.fullmatch(key) or len(key) > 253 or key in (".", ".."):
                text = (
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                    " (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                )
                errors.append(FieldError("Invalid", f"{field}[{key}]", text, key))
            size += len(value)
    if size > _LARGEST * 4 // 3:
        errors.append(FieldError("TooLong", "", f"may not be more than {_LARGEST} bytes"))
    return errors


def check_base64(obj: Obj) -> str | None:
    """The first key of `data` whose value is not base64; None when all are."""
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                return f"{field}.{key}"
    return None


def default_service(obj: Obj) -> None:
    """Fills in the defaults of a Service."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port", 0)
    obj.setdefault("status", {"loadBalancer": {}})


def prepare_service(state: State, obj: Obj) -> None:
    """Gives a Service its addresses."""
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        return
    if "clusterIP" not in spec:
        taken = {service["spec"].get("clusterIP") for service in state.store.items("/services")}
        seed = zlib.crc32(f"{obj['metadata'].get('namespace')}/{obj['metadata'].get('name')}".encode())
        candidates = (f"10.96.{(number >> 8) & 255}.{number & 255}" for number in range(seed % 65000 + 20, seed % 65000 + 66000))
        spec["clusterIP"] = next(address for address in candidates if address not in taken)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        used = {port.get("nodePort") for service in state.store.items("/services") for port in service["spec"].get("ports") or ()}
        for port in spec.get("ports") or ():
            port.setdefault("nodePort", next(number for number in range(30000, 32768) if number not in used))
            used.add(port["nodePort"])


def keep_service(obj: Obj, old: Obj) -> None:
    """A changed Service keeps its addresses."""
    if obj["spec"]["type"] != "ExternalName":
        for key in ("clusterIP", "clusterIPs"):
            if key in old["spec"] and not obj["spec"].get(key):
                obj["spec"][key] = old["spec"][key]


def validate_service(obj: Obj) -> list[FieldError]:
    """Checks a Service."""
    spec, errors = obj["spec"], []
    ports = spec.get("ports") or []
    if spec["type"] not in _SERVICE_TYPES:
        errors.append(unsupported("spec.type", spec["type"], _SERVICE_TYPES))
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        errors.append(FieldError("Required", "spec.ports"))
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        errors.append(FieldError("Required", "spec.externalName"))
    names, taken = set(), set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            errors.append(FieldError("Required", f"{at}.name"))
        elif port.get("name"):
            errors += [FieldError("Invalid", f"{at}.name", text, port["name"]) for text in meta.dns_label(port["name"])]
            if port["name"] in names:
                errors.append(FieldError("Duplicate", f"{at}.name", "", port["name"]))
            names.add(port["name"])
        for key in ("port", "targetPort"):
            value = port.get(key, 0)
            if isinstance(value, int) and not 0 < value < 65536:
                errors.append(FieldError("Invalid", f"{at}.{key}", "must be between 1 and 65535, inclusive", value))
        if port["protocol"] not in ("TCP", "UDP", "SCTP"):
            errors.append(unsupported(f"{at}.protocol", port["protocol"], ["SCTP", "TCP", "UDP"]))
        if (port.get("port"), port["protocol"]) in taken:
            errors.append(FieldError("Duplicate", at, "", {"port": port.get("port"), "protocol": port["protocol"]}))
        taken.add((port.get("port"), port["protocol"]))
    return errors + meta.labels(spec.get("selector"), "spec.selector")


def validate_service_update(obj: Obj, old: Obj) -> list[FieldError]:
    """A Service's address does not change."""
    errors = validate_service(obj)
    if old["spec"].get("clusterIP") and obj["spec"]["type"] != "ExternalName" and obj["spec"].get("clusterIP") != old["spec"]["clusterIP"]:
        errors.append(FieldError("Invalid", "spec.clusterIPs[0]", "may not change once set", obj["spec"].get("clusterIP")))
    return errors


def default_event(obj: Obj) -> None:
    """Events always show these fields."""
    obj.setdefault("source", {})
    for key in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(key, None)
    for key in ("reportingComponent", "reportingInstance"):
        obj.setdefault(key, "")


def validate_event(obj: Obj) -> list[FieldError]:
    """Checks an Event."""
    about = (obj.get("involvedObject") or {}).get("namespace", "")
    home = obj["metadata"].get("namespace", "")
    if about != home and not (not about and home == "default"):
        return [FieldError("Invalid", "involvedObject.namespace", "does not match event.namespace", about)]
    return []


def validate_lease(obj: Obj) -> list[FieldError]:
    """Checks a Lease."""
    spec, errors = obj.get("spec") or {}, []
    if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
        errors.append(FieldError("Invalid", "spec.leaseDurationSeconds", "must be greater than 0", spec["leaseDurationSeconds"]))
    if spec.get("leaseTransitions") is not None and spec["leaseTransitions"] < 0:
        errors.append(FieldError("Invalid", "spec.leaseTransitions", "must be greater than or equal to 0", spec["leaseTransitions"]))
    return errors


def default_claim(obj: Obj) -> None:
    """Fills in the defaults of a PersistentVolumeClaim."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def validate_claim(obj: Obj) -> list[FieldError]:
    """Checks a PersistentVolumeClaim."""
    spec, errors = obj["spec"], []
    if not spec.get("accessModes"):
        errors.append(FieldError("Required", "spec.accessModes", "at least 1 access mode is required"))
    errors += [unsupported("spec.accessModes", mode, _ACCESS_MODES) for mode in spec.get("accessModes") or () if mode not in _ACCESS_MODES]
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errors.append(FieldError("Required", "spec.resources[storage]"))
    elif quantity.parse(storage) <= 0:
        errors.append(FieldError("Invalid", "spec.resources[storage]", "must be greater than zero", storage))
    return errors


def validate_claim_update(obj: Obj, old: Obj) -> list[FieldError]:
    """A claim's specification is for good but for its volume once and a growing size."""
    new, was = dict(obj["spec"]), dict(old["spec"])
    if not was.get("volumeName"):
        new.pop("volumeName", None)
    new.pop("resources", None)
    was.pop("resources", None)
    if new != was:
        text = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        return [FieldError("Forbidden", "spec", text)]
    return []


def default_volume(obj: Obj) -> None:
    """Fills in the defaults of a PersistentVolume."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def validate_volume(obj: Obj) -> list[FieldError]:
    """Checks a PersistentVolume."""
    spec, errors = obj["spec"], []
    if not spec.get("accessModes"):
        errors.append(FieldError("Required", "spec.accessModes"))
    if "storage" not in (spec.get("capacity") or {}):
        errors.append(FieldError("Required", "spec.capacity"))
    return errors


def validate_binding(obj: Obj) -> list[FieldError]:
    """Checks a RoleBinding or ClusterRoleBinding."""
    errors = []
    reference = obj.get("roleRef") or {}
    kinds = ["ClusterRole"] if obj["kind"] == "ClusterRoleBinding" else ["Role", "ClusterRole"]
    if reference.get("kind") not in kinds:
        errors.append(unsupported("roleRef.kind", reference.get("kind", ""), kinds))
    if not reference.get("name"):
        errors.append(FieldError("Required", "roleRef.name"))
    for index, subject in enumerate(obj.get("subjects") or ()):
        at = f"subjects[{index}]"
        if not subject.get("name"):
            errors.append(FieldError("Required", f"{at}.name"))
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            errors.append(unsupported(f"{at}.kind", subject.get("kind", ""), ["Group", "ServiceAccount", "User"]))
        elif subject["kind"] == "ServiceAccount" and not subject.get("namespace") and obj["kind"] == "ClusterRoleBinding":
            errors.append(FieldError("Required", f"{at}.namespace"))
    return errors


def validate_binding_update(obj: Obj, old: Obj) -> list[FieldError]:
    """A binding's role is for good."""
    errors = validate_binding(obj)
    if obj.get("roleRef") != old.get("roleRef"):
        errors.append(FieldError("Invalid", "roleRef", "cannot change roleRef", obj.get("roleRef")))
    return errors


def default_binding(obj: Obj) -> None:
    """Fills in the API groups of a binding."""
    obj.setdefault("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def validate_role(obj: Obj) -> list[FieldError]:
    """Checks a Role or ClusterRole."""
    errors = []
    for index, rule in enumerate(obj.get("rules") or ()):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            errors.append(FieldError("Required", f"{at}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            errors.append(FieldError("Required", f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            errors.append(FieldError("Required", f"{at}.resources", "resource rules must supply at least one resource"))
    return errors


def default_policy(obj: Obj) -> None:
    """A NetworkPolicy is about ingress, and about egress if it has such rules."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    spec.setdefault("podSelector", {})
    for key in ("ingress", "egress"):
        for rule in spec.get(key) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")


def validate_budget(obj: Obj) -> list[FieldError]:
    """Checks a PodDisruptionBudget."""
    spec = obj.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        return [FieldError("Invalid", "spec", "minAvailable and maxUnavailable cannot be both set", {})]
    return []


def default_storage_class(obj: Obj) -> None:
    """Fills in the defaults of a StorageClass."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def default_priority_class(obj: Obj) -> None:
    """Fills in the defaults of a PriorityClass."""
    obj.setdefault("value", 0)
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def validate_priority_class(obj: Obj) -> list[FieldError]:
    """Checks a PriorityClass."""
    if obj["value"] > 1_000_000_000 and not obj["metadata"].get("name", "").startswith("system-"):
        text = "maximum allowed value of a user defined priority is 1000000000"
        return [FieldError("Forbidden", "value", text)]
    return []


def validate_priority_class_update(obj: Obj, old: Obj) -> list[FieldError]:
    """A PriorityClass keeps its value."""
    return [
        FieldError("Forbidden", key, "may not be changed in an update.")
        for key in ("value", "preemptionPolicy")
        if obj.get(key) != old.get(key)
    ]


def default_node(obj: Obj) -> None:
    """Nodes without status have one that can be filled."""
    obj.setdefault("spec", {})
    obj["metadata"].setdefault("labels", {}).setdefault("kubernetes.io/hostname", obj["metadata"].get("name", ""))


def default_quota(obj: Obj) -> None:
    """A quota has a specification and a status."""
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


Default = Callable[[Obj], None]
Check = Callable[[Obj], list[FieldError]]
CheckUpdate = Callable[[Obj, Obj], list[FieldError]]

DEFAULTS: dict[str, Default] = {
    "namespaces": default_namespace,
    "secrets": default_secret,
    "services": default_service,
    "events": default_event,
    "persistentvolumeclaims": default_claim,
    "persistentvolumes": default_volume,
    "rolebindings": default_binding,
    "clusterrolebindings": default_binding,
    "networkpolicies": default_policy,
    "storageclasses": default_storage_class,
    "priorityclasses": default_priority_class,
    "resourcequotas": default_quota,
}
CHECKS: dict[str, Check] = {
    "secrets": validate_secret,
    "configmaps": validate_config_map,
    "services": validate_service,
    "events": validate_event,
    "leases": validate_lease,
    "persistentvolumeclaims": validate_claim,
    "persistentvolumes": validate_volume,
    "rolebindings": validate_binding,
    "clusterrolebindings": validate_binding,
    "roles": validate_role,
    "clusterroles": validate_role,
    "poddisruptionbudgets": validate_budget,
    "priorityclasses": validate_priority_class,
}
UPDATE_CHECKS: dict[str, CheckUpdate] = {
    "secrets": validate_secret_update,
    "configmaps": validate_config_map_update,
    "services": validate_service_update,
    "persistentvolumeclaims": validate_claim_update,
    "rolebindings": validate_binding_update,
    "clusterrolebindings": validate_binding_update,
    "priorityclasses": validate_priority_class_update,
}
