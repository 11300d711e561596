"""CustomResourceDefinitions at work: their resources come and go with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from . import clock
from .resources import Resource
from .schema.node import Node
from .state import State
from .store import Event, Obj

STORAGE = "apiextensions.k8s.io/customresourcedefinitions"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


class CustomResources:
    """Follows the CRDs of a server and serves what they define."""

    def __init__(self, state: State) -> None:
        self.state = state
        state.store.listeners.append(self.follow)

    def follow(self, event: Event) -> None:
        """Reacts to a change: of a CRD, or of the last object of one that is being deleted."""
        if event.storage == STORAGE:
            asyncio.get_running_loop().call_soon(self._reconcile, event.key[1])
        elif (
            event.kind == "DELETED"
            and (crd := self._definition(event.storage))
            and crd["metadata"].get("deletionTimestamp")
        ):
            asyncio.get_running_loop().call_soon(self._reconcile, crd["metadata"]["name"])

    def _definition(self, storage: str) -> Obj | None:
        group, _, plural = storage.partition("/")
        return self.state.store.get(STORAGE, None, f"{plural}.{group}")

    def _reconcile(self, name: str) -> None:
        crd = self.state.store.get(STORAGE, None, name)
        plural, _, group = name.partition(".")
        registry, store = self.state.registry, self.state.store
        if crd is None:
            registry.drop(group, plural)
            store.close_watches(f"{group}/{plural}")
        elif crd["metadata"].get("deletionTimestamp"):
            self._clean_up(crd)
        else:
            serve(self.state, crd)
            self._establish(crd)

    def _establish(self, crd: Obj) -> None:
        status = crd.get("status") or {}
        spec = crd["spec"]
        accepted = {**spec["names"]}
        accepted.setdefault("singular", accepted["kind"].lower())
        accepted.setdefault("listKind", accepted["kind"] + "List")
        found = {condition["type"]: condition for condition in status.get("conditions") or ()}
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ):
            if found.get(kind, {}).get("status") != "True":
                found[kind] = _condition(kind, "True", reason, message)
        storage = next(version["name"] for version in spec["versions"] if version["storage"])
        stored = list(status.get("storedVersions") or ())
        new = {
            "conditions": list(found.values()),
            "acceptedNames": accepted,
            "storedVersions": stored + [storage] * (storage not in stored),
        }
        if new != status or CLEANUP not in (crd["metadata"].get("finalizers") or ()):
            finalizers = [*(name for name in crd["metadata"].get("finalizers") or () if name != CLEANUP), CLEANUP]
            self.state.store.put(
                STORAGE, {**crd, "metadata": {**crd["metadata"], "finalizers": finalizers}, "status": new}
            )

    def _clean_up(self, crd: Obj) -> None:
        """Deletes the objects of a CRD that goes, then lets it go."""
        spec = crd["spec"]
        storage = f"{spec['group']}/{spec['names']['plural']}"
        store = self.state.store
        for obj in list(store.items(storage)):
            meta = obj["metadata"]
            if not meta.get("finalizers"):
                store.remove(storage, obj)
            elif not meta.get("deletionTimestamp"):
                gone = {"deletionTimestamp": clock.now(), "deletionGracePeriodSeconds": 0}
                store.put(storage, {**obj, "metadata": {**meta, **gone}})
        current = store.get(STORAGE, None, crd["metadata"]["name"])
        if current is None:
            return
        finalizers = [name for name in current["metadata"].get("finalizers") or () if name != CLEANUP]
        if not store.count(storage) and finalizers != (current["metadata"].get("finalizers") or []):
            if finalizers:
                store.put(STORAGE, {**current, "metadata": {**current["metadata"], "finalizers": finalizers}})
            else:
                store.remove(STORAGE, current)
                return
        conditions = list((current.get("status") or {}).get("conditions") or ())
        if not any(condition["type"] == "Terminating" and condition["status"] == "True" for condition in conditions):
            conditions.append(
                _condition(
                    "Terminating", "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
                )
            )
            latest = store.get(STORAGE, None, crd["metadata"]["name"])
            if latest is not None:
                store.put(STORAGE, {**latest, "status": {**latest.get("status", {}), "conditions": conditions}})


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": clock.now(), "reason": reason, "message": message}


def serve(state: State, crd: Obj) -> None:
    """Puts the resources of a CRD into the registry."""
    spec = crd["spec"]
    names = spec["names"]
    state.registry.drop(spec["group"], names["plural"])
    for version in spec["versions"]:
        if version.get("served"):
            state.registry.add(resource_of(spec, version))


def resource_of(spec: Mapping[str, Any], version: Mapping[str, Any]) -> Resource:
    """The resource that one version of a CRD defines."""
    names = spec["names"]
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {"x-kubernetes-preserve-unknown-fields": True}
    if spec.get("preserveUnknownFields"):
        schema = {**schema, "x-kubernetes-preserve-unknown-fields": True}
    selectable = {
        field["jsonPath"].lstrip("."): field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()
    }
    paths = ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
    return Resource(
        spec["group"], version["name"], names["kind"], names["plural"], spec["scope"] == "Namespaced", Node(schema),
        singular=names.get("singular", ""), list_kind=names.get("listKind", ""),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()), subresources=frozenset(subresources), custom=spec,
        selectable=selectable,
        scale=tuple((scale.get(path) or "").lstrip(".") for path in paths) if scale is not None else None,  # type: ignore[arg-type]
        columns=version.get("additionalPrinterColumns") or [{"name": "Age", "type": "date",
        "jsonPath": ".metadata.creationTimestamp"}],
    )  # fmt: skip
