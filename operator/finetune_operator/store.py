"""The indexes: what the watches have told, trimmed to what plans need."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from finetune_operator import names
from finetune_operator.facts import JobFacts, PodFacts

FactsT = TypeVar("FactsT", JobFacts, PodFacts)
_TOMBSTONES = 1000
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Key:
    """A custom resource."""

    kind: str
    namespace: str
    name: str

    @property
    def plural(self) -> str:
        """Its plural in URLs."""
        return self.kind.lower() + "s"


def _version(body: dict[str, Any]) -> int:
    version = body["metadata"].get("resourceVersion", "0")
    return int(version) if version.isdigit() else 0


class Children(Generic[FactsT]):
    """Children of one kind, by the uid of the resource they belong to.

    What a write returned is taken in at once, beside what the watch tells; versions and tombstones see to it that
    neither undoes the other.
    """

    def __init__(self, parse: Callable[[dict[str, Any]], FactsT]) -> None:
        self._parse: Callable[[dict[str, Any]], FactsT] = parse
        self._by_owner: dict[str, dict[str, tuple[int, FactsT]]] = {}
        self._namespaces: dict[str, str] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def update(self, body: dict[str, Any]) -> str | None:
        """Takes in an object; an older version than the known one is ignored. Returns the uid of its owner."""
        owner = body["metadata"].get("labels", {}).get(names.UID_LABEL)
        if owner is None or body["metadata"]["uid"] in self._gone:
            return None
        self._namespaces[owner] = body["metadata"]["namespace"]
        siblings = self._by_owner.setdefault(owner, {})
        name, version = body["metadata"]["name"], _version(body)
        known = siblings.get(name)
        if known is None or known[0] <= version:
            siblings[name] = (version, self._parse(body))
        return str(owner)

    def remove(self, body: dict[str, Any]) -> str | None:
        """Forgets an object. Returns the uid of its owner."""
        owner = body["metadata"].get("labels", {}).get(names.UID_LABEL)
        siblings = self._by_owner.get(owner, {})
        known = siblings.get(body["metadata"]["name"])
        if known and known[0] <= _version(body):
            del siblings[body["metadata"]["name"]]
        self._gone[body["metadata"]["uid"]] = None
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        if not siblings and owner:
            self.forget(owner)
        return str(owner) if owner else None

    def replace(self, bodies: Iterable[dict[str, Any]], namespace: str | None = None) -> set[str]:
        """Takes in a whole list, of a namespace or of all; returns the owners that it may have changed."""
        touched = {owner for owner, home in self._namespaces.items() if namespace in (None, home)}
        for owner in touched:
            self._by_owner.pop(owner, None)
        touched |= {owner for owner in map(self.update, bodies) if owner is not None}
        for owner in touched - self._by_owner.keys():
            self.forget(owner)
        return touched

    def forget(self, owner: str) -> None:
        """Forgets all children of an owner."""
        self._by_owner.pop(owner, None)
        self._namespaces.pop(owner, None)

    def of(self, owner: str) -> tuple[FactsT, ...]:
        """Children of an owner, by name."""
        siblings = self._by_owner.get(owner, {})
        return tuple(facts for _, (_, facts) in sorted(siblings.items()))


class Departed:
    """Pods that were deleted while they ran, kept until the time that they have run since is counted."""

    def __init__(self) -> None:
        self._by_owner: dict[str, list[PodFacts]] = {}

    def add(self, owner: str, body: dict[str, Any], now: datetime) -> None:
        """Takes in a pod as its deletion showed it; one that was killed without a last word ended now."""
        pod = PodFacts.from_object(body)
        if pod.started_at is not None:
            self._by_owner.setdefault(owner, []).append(replace(pod, finished_at=pod.finished_at or now))

    def drop(self, owner: str, until: datetime) -> None:
        """Forgets those whose time has been counted up to a moment after their end."""
        if owner in self._by_owner:
            kept = [pod for pod in self._by_owner.pop(owner) if pod.finished_at and pod.finished_at > until]
            if kept:
                self._by_owner[owner] = kept

    def of(self, owner: str) -> tuple[PodFacts, ...]:
        """Those of an owner."""
        return tuple(self._by_owner.get(owner, ()))

    def forget(self, owner: str) -> None:
        """Forgets all of an owner."""
        self._by_owner.pop(owner, None)


@dataclass(frozen=True, slots=True)
class _Known:
    """A custom resource as last seen.

    Attributes:
        source: The SweepRun that it takes its hyperparameters from.
        body: As JSON, which is small: a thousand finished resources lie here and are never looked at.
    """

    uid: str
    version: int
    source: Key | None
    body: bytes


class Store:
    """All that the operator knows of the cluster."""

    def __init__(self) -> None:
        self.jobs = Children(JobFacts.from_object)
        self.pods = Children(PodFacts.from_object)
        self.departed = Departed()
        self._resources: dict[Key, _Known] = {}
        self._keys: dict[str, Key] = {}
        self._dependants: dict[Key, set[Key]] = {}

    def update(self, key: Key, body: dict[str, Any]) -> bool:
        """Takes in a custom resource; False if it is no newer than the known one, such as the echo of our own write."""
        known, uid, version = self._resources.get(key), str(body["metadata"]["uid"]), _version(body)
        if known is not None and known.uid == uid and known.version >= version:
            return False
        if known is not None and known.source is not None:
            self._dependants[known.source].discard(key)
        if (source := _source(key, body)) is not None:
            self._dependants.setdefault(source, set()).add(key)
        self._resources[key] = _Known(uid, version, source, json.dumps(_lean(body), separators=(",", ":")).encode())
        self._keys[uid] = key
        return True

    def remove(self, key: Key, uid: str) -> bool:
        """Forgets a custom resource and its children; False if the name belongs to a newer one already."""
        self._keys.pop(uid, None)
        self.jobs.forget(uid)
        self.pods.forget(uid)
        self.departed.forget(uid)
        known = self._resources.get(key)
        if known is None or known.uid != uid:
            return known is None
        del self._resources[key]
        if known.source is not None:
            self._dependants[known.source].discard(key)
            if not self._dependants[known.source]:
                del self._dependants[known.source]
        return True

    def get(self, key: Key) -> dict[str, Any] | None:
        """The latest body of a custom resource; the caller's own copy."""
        known = self._resources.get(key)
        body: dict[str, Any] | None = json.loads(known.body) if known is not None else None
        return body

    def owner(self, uid: str) -> Key | None:
        """The resource with a uid."""
        return self._keys.get(uid)

    def dependants(self, key: Key) -> list[Key]:
        """FinetuneJobs that take their hyperparameters from a SweepRun."""
        return list(self._dependants.get(key, ()))


def _lean(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what no plan needs, and that is large."""
    metadata = {field: value for field, value in body["metadata"].items() if field != "managedFields"}
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {name: value for name, value in annotations.items() if name != _LAST_APPLIED}
    return {**body, "metadata": metadata}


def _source(key: Key, body: dict[str, Any]) -> Key | None:
    """The SweepRun that a FinetuneJob takes its hyperparameters from."""
    source = (body.get("spec") or {}).get("hyperparametersFrom") or {}
    name = (source.get("sweepRunRef") or {}).get("name") if isinstance(source, dict) else None
    return Key("SweepRun", key.namespace, name) if key.kind == "FinetuneJob" and isinstance(name, str) else None
