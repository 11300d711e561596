"""The smaller built-in kinds: defaults and checks."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, unsupported

from . import services, storage

Obj = dict[str, Any]

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LARGEST = 1024 * 1024
_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


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
    account = (obj["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name")
    if obj["type"] == "kubernetes.io/service-account-token" and not account:
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
    changed = [key for key in ("data", "binaryData") if obj.get(key) != old.get(key)] + ["immutable"] * (
        not obj.get("immutable")
    )
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
        errors.append(
            FieldError("Invalid", "spec.leaseDurationSeconds", "must be greater than 0", spec["leaseDurationSeconds"])
        )
    if spec.get("leaseTransitions") is not None and spec["leaseTransitions"] < 0:
        errors.append(
            FieldError(
                "Invalid", "spec.leaseTransitions", "must be greater than or equal to 0", spec["leaseTransitions"]
            )
        )
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
        elif (
            subject["kind"] == "ServiceAccount" and not subject.get("namespace") and obj["kind"] == "ClusterRoleBinding"
        ):
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
            errors.append(
                FieldError("Required", f"{at}.apiGroups", "resource rules must supply at least one api group")
            )
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
    "services": services.default_service,
    "events": default_event,
    "persistentvolumeclaims": storage.default_claim,
    "persistentvolumes": storage.default_volume,
    "rolebindings": default_binding,
    "clusterrolebindings": default_binding,
    "networkpolicies": default_policy,
    "storageclasses": storage.default_storage_class,
    "priorityclasses": default_priority_class,
    "resourcequotas": default_quota,
}
CHECKS: dict[str, Check] = {
    "secrets": validate_secret,
    "configmaps": validate_config_map,
    "services": services.validate_service,
    "events": validate_event,
    "leases": validate_lease,
    "persistentvolumeclaims": storage.validate_claim,
    "persistentvolumes": storage.validate_volume,
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
    "services": services.validate_service_update,
    "persistentvolumeclaims": storage.validate_claim_update,
    "rolebindings": validate_binding_update,
    "clusterrolebindings": validate_binding_update,
    "priorityclasses": validate_priority_class_update,
}
