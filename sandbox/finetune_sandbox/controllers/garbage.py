"""The garbage collector: deletes what has lost its owners, and carries out Foreground and Orphan deletion.

It watches every type that can be deleted and knows, for each uid, who depends on it. Before anything is deleted the
server is asked whether the owner is really gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from finetune_sandbox.client import CRDS, MERGE, ApiError, Resource
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.discovery import served
from finetune_sandbox.objects import Key, Object, is_deleting, key_of, uid_of

log = logging.getLogger(__name__)

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_IGNORED = {("", "events"), ("events.k8s.io", "events"), ("coordination.k8s.io", "leases")}


class GarbageCollector(Controller):
    """Looks at objects by uid; keys of its queue are ("", uid)."""

    name = "garbage-collector-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._places: dict[str, tuple[Resource, Key]] = {}
        self._dependents: dict[str, set[str]] = {}
        self._watched: set[Resource] = set()
        self._discover = asyncio.Event()
        crds = self.informers[CRDS]
        crds.on_change(lambda _new, _old: self._discover.set())
        crds.on_delete(lambda _old: self._discover.set())

    async def run(self) -> None:
        """Follows the server's types while it works."""
        await self._watch_all()
        following = asyncio.create_task(self._follow())
        try:
            await super().run()
        finally:
            following.cancel()

    async def _follow(self) -> None:
        while True:
            await self._discover.wait()
            self._discover.clear()
            for _ in range(3):  # a new type is served a moment after its definition was accepted
                await asyncio.sleep(0.2)
                try:
                    await self._watch_all()
                except Exception as error:  # whatever it was, the next look may succeed
                    log.debug("discovery failed: %s", error)

    async def _watch_all(self) -> None:
        found = {
            r for r in await served(self.client, {"list", "watch", "delete"}) if (r.group, r.plural) not in _IGNORED
        }
        for resource in found - self._watched:
            informer = self.informers[resource]
            informer.on_change(self._seen(resource))
            informer.on_delete(self._gone)
            for obj in list(informer.items.values()):
                self._seen(resource)(obj, None)
        for resource in self._watched - found:
            self.informers.drop(resource)
        self._watched = found

    def _seen(self, resource: Resource) -> Callable[[Object, Object | None], None]:
        def seen(obj: Object, old: Object | None) -> None:
            uid, owners = uid_of(obj), obj["metadata"].get("ownerReferences") or []
            before = (old["metadata"].get("ownerReferences") or []) if old else []
            self._places[uid] = resource, key_of(obj)
            for owner in before:
                self._dependents.get(owner["uid"], set()).discard(uid)
            for owner in owners:
                self._dependents.setdefault(owner["uid"], set()).add(uid)
            held = {FOREGROUND, ORPHAN} & set(obj["metadata"].get("finalizers") or ())
            if (owners and (old is None or owners != before)) or (is_deleting(obj) and held):
                self.queue.add(("", uid))
            if is_deleting(obj) or owners != before:  # an owner may be waiting for this one
                for owner in before:
                    self.queue.add(("", owner["uid"]))

        return seen

    def _known(self, uid: str) -> tuple[Resource, Object] | None:
        """The type and the latest state of an object; None when there is no such object any more."""
        place = self._places.get(uid)
        if place is None or place[0] not in self._watched:
            return None
        obj = self.informers[place[0]].items.get(place[1])
        return (place[0], obj) if obj and uid_of(obj) == uid else None

    def _gone(self, obj: Object) -> None:
        uid = uid_of(obj)
        self._places.pop(uid, None)
        for owner in obj["metadata"].get("ownerReferences") or ():
            dependents = self._dependents.get(owner["uid"], set())
            dependents.discard(uid)
            if not dependents:
                self._dependents.pop(owner["uid"], None)
            self.queue.add(("", owner["uid"]))
        for dependent in self._dependents.get(uid, ()):
            self.queue.add(("", dependent))

    async def sync(self, key: Key) -> None:
        """Looks at one object: as an owner that is being deleted, and as a dependent that may have lost its owners."""
        entry = self._known(key[1])
        if entry is None:
            return
        resource, obj = entry
        finalizers = obj["metadata"].get("finalizers") or []
        if is_deleting(obj):
            if ORPHAN in finalizers:
                await self._orphan(resource, obj)
            elif FOREGROUND in finalizers:
                await self._foreground(resource, obj)
            return
        if owners := obj["metadata"].get("ownerReferences"):
            await self._attempt_to_delete(resource, obj, owners)

    async def _attempt_to_delete(self, resource: Resource, obj: Object, owners: list[Object]) -> None:
        """Deletes an object without living owners; drops references to dead ones while others live."""
        alive, waiting, dead = [], [], []
        for reference in owners:
            owner = await self._find(reference, obj["metadata"].get("namespace", ""))
            if owner is None:
                dead.append(reference)
            elif is_deleting(owner) and FOREGROUND in (owner["metadata"].get("finalizers") or ()):
                waiting.append(reference)
            else:
                alive.append(reference)
        namespace, name = key_of(obj)
        if alive:
            if dead or waiting:
                body = {"metadata": {"uid": uid_of(obj), "ownerReferences": alive}}
                await self.client.patch(resource, namespace, name, body, kind=MERGE)
            return
        held = obj["metadata"].get("finalizers") or ()
        policy = "Foreground" if waiting and self._dependents.get(uid_of(obj)) else "Background"
        await self.client.delete(
            resource, namespace, name, uid=uid_of(obj), propagation="Orphan" if ORPHAN in held else policy
        )

    async def _find(self, reference: Object, namespace: str) -> Object | None:
        """The owner, from the cache or else from the server; None when no object has that uid."""
        if entry := self._known(reference["uid"]):
            return entry[1]
        kind = next(
            (r for r in self._watched if r.kind == reference["kind"] and r.api_version == reference["apiVersion"]), None
        )
        if kind is None:
            group = reference["apiVersion"].rpartition("/")[0]
            kind = next((r for r in self._watched if r.kind == reference["kind"] and r.group == group), None)
        if kind is None:
            self._discover.set()
            raise ApiError(404, {"message": f"owner of unknown type {reference['apiVersion']} {reference['kind']}"})
        found = await self.client.find(kind, namespace if kind.namespaced else "", reference["name"])
        return found if found and uid_of(found) == reference["uid"] else None

    async def _orphan(self, resource: Resource, obj: Object) -> None:
        """Frees the dependents, then the object."""
        uid = uid_of(obj)
        for dependent in list(self._dependents.get(uid, ())):
            if not (entry := self._known(dependent)):
                continue
            kept = [ref for ref in entry[1]["metadata"].get("ownerReferences") or () if ref["uid"] != uid]
            body = {"metadata": {"uid": dependent, "ownerReferences": kept}}
            await self._patch(entry[0], entry[1], body)
        await self._release(resource, obj, ORPHAN)

    async def _foreground(self, resource: Resource, obj: Object) -> None:
        """Deletes the dependents; lets the object go when none is left that blocks it."""
        uid, blocking = uid_of(obj), False
        for dependent in list(self._dependents.get(uid, ())):
            if not (entry := self._known(dependent)):
                continue
            references = entry[1]["metadata"].get("ownerReferences") or ()
            blocking = blocking or any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in references)
            if not is_deleting(entry[1]):
                self.queue.add(("", dependent))
        if not blocking:
            await self._release(resource, obj, FOREGROUND)

    async def _release(self, resource: Resource, obj: Object, finalizer: str) -> None:
        rest = [name for name in obj["metadata"].get("finalizers") or () if name != finalizer]
        version = obj["metadata"]["resourceVersion"]
        await self._patch(
            resource, obj, {"metadata": {"uid": uid_of(obj), "resourceVersion": version, "finalizers": rest}}
        )

    async def _patch(self, resource: Resource, obj: Object, body: Object) -> None:
        try:
            await self.client.patch(resource, *key_of(obj), body, kind=MERGE)
        except ApiError as error:
            if error.code != 404:
                raise
