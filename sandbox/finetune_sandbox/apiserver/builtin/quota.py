"""ResourceQuota: what is used, and the refusal of what would exceed it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from finetune_sandbox import quantity
from finetune_sandbox.apiserver.errors import forbidden
from finetune_sandbox.apiserver.resources import Resource

if TYPE_CHECKING:
    from finetune_sandbox.apiserver.state import State
    from finetune_sandbox.apiserver.store import Event

Obj = dict[str, Any]
Usage = dict[str, Decimal]

_QUOTAS = "/resourcequotas"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = [
    "pods",
    "services",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
]


def usage(resource: Resource, obj: Obj) -> Usage:
    """What one object uses, by the names that quotas use."""
    count = f"count/{resource.plural}" + (f".{resource.group}" if resource.group else "")
    found: Usage = {count: Decimal(1)}
    if not resource.group and resource.plural in _COUNTED:
        found[resource.plural] = Decimal(1)
    if resource.storage == "/pods":
        found |= _pod(obj)
    elif resource.storage == "/persistentvolumeclaims":
        storage = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")
        found["requests.storage"] = quantity.parse(storage)
    elif resource.storage == "/services" and obj["spec"].get("type") in ("NodePort", "LoadBalancer"):
        found["services.nodeports"] = Decimal(len(obj["spec"].get("ports") or ()))
        if obj["spec"]["type"] == "LoadBalancer":
            found["services.loadbalancers"] = Decimal(1)
    return found


def _pod(pod: Obj) -> Usage:
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return {"pods": Decimal(0)}
    found: Usage = {}
    for kind in ("requests", "limits"):
        main = _total(
            (container.get("resources") or {}).get(kind) or {} for container in pod["spec"].get("containers") or ()
        )
        for container in pod["spec"].get("initContainers") or ():
            for name, value in ((container.get("resources") or {}).get(kind) or {}).items():
                main[name] = max(main.get(name, Decimal(0)), quantity.parse(value))
        for name, amount in main.items():
            found[f"{kind}.{name}"] = amount
            if kind == "requests" and name in _COMPUTE:
                found[name] = amount
    return found


def _total(amounts: Iterable[Obj]) -> Usage:
    found: Usage = {}
    for item in amounts:
        for name, value in item.items():
            found[name] = found.get(name, Decimal(0)) + quantity.parse(value)
    return found


def matches(quota: Obj, resource: Resource, obj: Obj) -> bool:
    """Whether an object is in the scopes of a quota."""
    spec = quota["spec"]
    scopes = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    scopes += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if not scopes:
        return True
    if resource.storage != "/pods":
        return False
    pod = obj["spec"]
    for scope in scopes:
        name, operator, values = scope["scopeName"], scope["operator"], scope.get("values") or ()
        if name == "PriorityClass":
            found = pod.get("priorityClassName", "")
            holds = {
                "In": found in values,
                "NotIn": found not in values,
                "Exists": bool(found),
                "DoesNotExist": not found,
            }[operator]
        elif name in ("BestEffort", "NotBestEffort"):
            holds = ((obj.get("status") or {}).get("qosClass") == "BestEffort") is (name == "BestEffort")
        elif name in ("Terminating", "NotTerminating"):
            holds = (pod.get("activeDeadlineSeconds") is not None) is (name == "Terminating")
        else:
            holds = False
        if not holds:
            return False
    return True


def used(state: State, quota: Obj) -> dict[str, str]:
    """What the namespace of a quota uses of each thing that the quota limits."""
    hard = quota["spec"].get("hard") or {}
    total: Usage = dict.fromkeys(hard, Decimal(0))
    for resource in _limited(state, hard):
        for obj in state.store.items(resource.storage, quota["metadata"]["namespace"]):
            if matches(quota, resource, obj):
                for name, amount in usage(resource, obj).items():
                    if name in total:
                        total[name] += amount
    return {name: quantity.render(amount, str(hard[name])) for name, amount in total.items()}


def _limited(state: State, hard: Iterable[str]) -> list[Resource]:
    found: dict[str, Resource] = {}
    for name in hard:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
        elif name.startswith("services"):
            plural, group = "services", ""
        elif name == "requests.storage":
            plural, group = "persistentvolumeclaims", ""
        else:
            plural, group = (name if name in _COUNTED else "pods"), ""
        if (resource := state.registry.find(group, plural)) is not None:
            found[resource.storage] = resource
    return list(found.values())


def admit(state: State, resource: Resource, obj: Obj) -> None:
    """Refuses a new object that would exceed a quota of its namespace.

    Raises:
        ApiError: 403 in the words of the real admission plugin.
    """
    namespace = obj["metadata"].get("namespace")
    if not namespace:
        return
    name = obj["metadata"].get("name", "")
    wanted: Usage | None = None
    for quota in state.store.items(_QUOTAS, namespace):
        hard = quota["spec"].get("hard") or {}
        if not hard or not matches(quota, resource, obj):
            continue
        wanted = usage(resource, obj) if wanted is None else wanted
        title = quota["metadata"]["name"]
        if resource.storage == "/pods":
            missing = _unspecified(obj, hard)
            if missing:
                raise forbidden("", "pods", name, f"failed quota: {title}: must specify {missing}")
        touched = [key for key in sorted(hard) if wanted.get(key)]
        if not touched:
            continue
        before = {key: quantity.parse(value) for key, value in used(state, quota).items()}
        over = [key for key in touched if before[key] + wanted[key] > quantity.parse(hard[key])]
        if over:
            limits = {key: str(hard[key]) for key in over}
            limited = ",".join(f"{key}={value}" for key, value in limits.items())
            asked, taken = _shown(wanted, limits), _shown(before, limits)
            why = f"exceeded quota: {title}, requested: {asked}, used: {taken}, limited: {limited}"
            raise forbidden(resource.group, resource.plural, name, why)


def _shown(amounts: Usage, like: dict[str, str]) -> str:
    return ",".join(f"{key}={quantity.render(amounts[key], limit)}" for key, limit in like.items())


def _unspecified(pod: Obj, hard: Iterable[str]) -> str:
    """The compute resources that a quota limits and a container does not state."""
    found: dict[str, list[str]] = {}
    for container in pod["spec"].get("containers") or ():
        resources = container.get("resources") or {}
        for key in sorted(hard):
            kind, name = key.split(".", 1) if "." in key else ("requests", key)
            if kind in ("requests", "limits") and name in _COMPUTE and name not in (resources.get(kind) or {}):
                found.setdefault(container["name"], []).append(key)
    return "; ".join(f"{','.join(keys)} for: {name}" for name, keys in found.items())


class QuotaStatus:
    """Keeps `status` of quotas in step with what is there."""

    def __init__(self, state: State) -> None:
        self.state = state
        state.store.listeners.append(self.follow)

    def follow(self, event: Event) -> None:
        """Counts anew in the namespace of a change."""
        namespace = event.key[0]
        if event.storage == "/events" or not namespace:
            return
        for quota in list(self.state.store.items(_QUOTAS, namespace)):
            hard = quota["spec"].get("hard") or {}
            if event.storage != _QUOTAS and not any(
                item.storage == event.storage for item in _limited(self.state, hard)
            ):
                continue
            status = {"hard": hard, "used": used(self.state, quota)}
            if quota.get("status") != status:
                self.state.store.put(_QUOTAS, {**quota, "status": status})
