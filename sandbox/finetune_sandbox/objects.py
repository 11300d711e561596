"""Reading Kubernetes objects: names, owners, conditions, times and quantities, as pure functions over JSON."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from finetune_sandbox.quantity import parse

Object = dict[str, Any]
Key = tuple[str, str]  # namespace ("" for cluster-scoped), name


def key_of(obj: Object) -> Key:
    """Namespace and name of an object."""
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def uid_of(obj: Object) -> str:
    """The unique id that the server gave the object."""
    return str(obj["metadata"]["uid"])


def is_deleting(obj: Object) -> bool:
    """Whether deletion was asked for and something still holds the object."""
    return obj["metadata"].get("deletionTimestamp") is not None


def controller_of(obj: Object) -> Object | None:
    """The owner reference marked as controller, if any."""
    return next((ref for ref in obj["metadata"].get("ownerReferences") or () if ref.get("controller")), None)


def owner_reference(owner: Object, api_version: str, kind: str) -> Object:
    """A controller reference that blocks foreground deletion of its owner."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition(obj: Object, kind: str) -> Object | None:
    """The status condition of that type, whatever its status."""
    return next((c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == kind), None)


def is_true(obj: Object, kind: str) -> bool:
    """Whether the status condition of that type is True."""
    found = condition(obj, kind)
    return found is not None and found["status"] == "True"


def matches(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions) selects these labels; None selects nothing."""
    if selector is None:
        return False
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(expression_matches(rule, labels) for rule in selector.get("matchExpressions") or ())


def expression_matches(rule: Object, labels: Mapping[str, str]) -> bool:
    """One requirement of a label or node selector: In, NotIn, Exists, DoesNotExist, Gt, Lt."""
    value, values = labels.get(rule["key"]), rule.get("values") or []
    match rule["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            if value is None:
                return False
            return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
        case _:
            return False


def text_time(seconds: float) -> str:
    """RFC 3339 in whole seconds, the form of every metav1.Time."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time."""
    return dt.datetime.fromisoformat(text).timestamp()


def pod_requests(spec: Object) -> dict[str, Decimal]:
    """What a pod asks of a node: per resource the sum over its containers, or its largest init container if more."""

    def asked(container: Object) -> dict[str, Decimal]:
        resources = container.get("resources") or {}
        merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        return {name: parse(value) for name, value in merged.items()}

    total = add_up(asked(container) for container in spec["containers"])
    for container in spec.get("initContainers") or ():
        for name, value in asked(container).items():
            total[name] = max(total.get(name, Decimal(0)), value)
    return total


def add_up(amounts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    """The sum of resource lists."""
    total: dict[str, Decimal] = {}
    for one in amounts:
        for name, value in one.items():
            total[name] = total.get(name, Decimal(0)) + value
    return total


def without_nulls(status: Object) -> Object:
    """A copy without the fields that Go omits when empty: zero, None and empty text or list (not False, not {})."""
    return {
        name: copy.deepcopy(value)
        for name, value in status.items()
        if not (value is None or value == "" or value == [] or (value == 0 and not isinstance(value, bool)))
    }
