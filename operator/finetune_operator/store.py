"""The indexes: what the watches have told, trimmed to what plans need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from finetune_operator import names
from finetune_operator.facts import JobFacts, PodFacts

FactsT = TypeVar("FactsT", JobFacts, PodFacts)


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
    """Children of one kind, by the uid of the resource they belong to."""

    def __init__(self, parse: Callable[[dict[str, Any]], FactsT]) -> None:
        self._parse: Callable[[dict[str, Any]], FactsT] = parse
        self._by_owner: dict[str, dict[str, tuple[int, FactsT]]] = {}

    def update(self, body: dict[str, Any]) -> str | None:
        """Takes in an object; an older version than the known one is ignored. Returns the uid of its owner."""
        owner = body["metadata"].get("labels", {}).get(names.UID_LABEL)
        if owner is None:
            return None
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
        if not siblings:
            self._by_owner.pop(owner, None)
        return str(owner) if owner else None

    def replace(self, owner: str, bodies: Iterable[dict[str, Any]]) -> None:
        """Takes in the whole list of an owner's children, freshly read."""
        self._by_owner.pop(owner, None)
        for body in bodies:
            self.update(body)

    def forget(self, owner: str) -> None:
        """Forgets all children of an owner."""
        self._by_owner.pop(owner, None)

    def of(self, owner: str) -> tuple[FactsT, ...]:
        """Children of an owner, by name."""
        siblings = self._by_owner.get(owner, {})
        return tuple(facts for _, (_, facts) in sorted(siblings.items()))


class Store:
    """All that the operator knows of the cluster."""

    def __init__(self) -> None:
        self.jobs = Children(JobFacts.from_object)
        self.pods = Children(PodFacts.from_object)
        self._resources: dict[Key, dict[str, Any]] = {}
        self._keys: dict[str, Key] = {}

    def update(self, key: Key, body: dict[str, Any]) -> None:
        """Takes in a custom resource; an older version than the known one is ignored."""
        known = self._resources.get(key)
        same = known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]
        if known is not None and same and _version(known) > _version(body):
            return
        metadata = {field: value for field, value in body["metadata"].items() if field != "managedFields"}
        self._resources[key] = {**body, "metadata": metadata}
        self._keys[metadata["uid"]] = key

    def remove(self, key: Key, uid: str) -> bool:
        """Forgets a custom resource and its children; False if the name belongs to a newer one already."""
        self._keys.pop(uid, None)
        self.jobs.forget(uid)
        self.pods.forget(uid)
        known = self._resources.get(key)
        if known is None or known["metadata"]["uid"] != uid:
            return known is None
        del self._resources[key]
        return True

    def get(self, key: Key) -> dict[str, Any] | None:
        """The latest body of a custom resource."""
        return self._resources.get(key)

    def owner(self, uid: str) -> Key | None:
        """The resource with a uid."""
        return self._keys.get(uid)

    def resources(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """All custom resources."""
        return iter(list(self._resources.items()))

    def dependants(self, key: Key) -> list[Key]:
        """FinetuneJobs that take their hyperparameters from a SweepRun."""
        found = []
        for other, body in self._resources.items():
            if other.kind != "FinetuneJob" or other.namespace != key.namespace:
                continue
            source = (body.get("spec") or {}).get("hyperparametersFrom") or {}
            if isinstance(source, dict) and (source.get("sweepRunRef") or {}).get("name") == key.name:
                found.append(other)
        return found
