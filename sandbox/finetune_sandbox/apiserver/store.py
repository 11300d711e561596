"""Objects in memory, a log of what happened to them, and the watchers of that log.

Objects are kept as the JSON that watches send (see `packed`): what is read must not be changed, a write puts a new
object.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from finetune_sandbox.packed import decode, encode

Obj = dict[str, Any]

HISTORY_EVENTS, HISTORY_BYTES = 4000, 4 << 20
"""What is kept for watches that resume; an older resourceVersion is answered with 410."""


def key_of(obj: Obj) -> tuple[str, str]:
    """Namespace and name, which objects are ordered by."""
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


class Event:
    """One change of one object.

    Attributes:
        kind: ADDED, MODIFIED or DELETED.
        storage: Resource the object belongs to, as `group/plural`.
        rv: Version of the store after the change.
        key: Namespace and name of the object.
        data: The object after the change, as JSON; for DELETED its last state with the new resourceVersion.
        before: The object before the change.
    """

    __slots__ = ("before", "data", "key", "kind", "rv", "storage")

    def __init__(
        self, kind: str, storage: str, rv: int, key: tuple[str, str], data: bytes, before: bytes | None
    ) -> None:
        self.kind, self.storage, self.rv, self.key, self.data, self.before = kind, storage, rv, key, data, before

    @property
    def obj(self) -> Obj:
        """The object after the change."""
        return decode(self.data)

    @property
    def prev(self) -> Obj | None:
        """The object before the change."""
        return None if self.before is None else decode(self.before)


class Watcher:
    """A subscription to one resource; events queue up until they are taken."""

    def __init__(self, storage: str, namespace: str | None) -> None:
        self.storage, self.namespace = storage, namespace
        self.events: deque[Event] = deque()
        self.wakeup = asyncio.Event()
        self.closed = False

    def offer(self, event: Event) -> None:
        """Queues an event of the watched namespace."""
        if self.namespace is None or event.key[0] == self.namespace:
            self.events.append(event)
            self.wakeup.set()

    def close(self) -> None:
        """Ends the watch after what is queued."""
        self.closed = True
        self.wakeup.set()


class Store:
    """All objects of the server."""

    def __init__(self) -> None:
        self.rv = 1
        self.floor = 1
        self._objects: dict[str, dict[str, dict[str, bytes]]] = {}
        self._history: deque[Event] = deque()
        self._history_bytes = 0
        self._watchers: dict[str, set[Watcher]] = {}
        self.listeners: list[Callable[[Event], None]] = []

    def get(self, storage: str, namespace: str | None, name: str) -> Obj | None:
        """One object; `namespace` is None for cluster-scoped resources."""
        found = self._objects.get(storage, {}).get(namespace or "", {}).get(name)
        return None if found is None else decode(found)

    def items(self, storage: str, namespace: str | None = None) -> Iterator[Obj]:
        """The objects of a resource in the order of their keys, of one namespace or of all."""
        return map(decode, self.texts(storage, namespace))

    def texts(self, storage: str, namespace: str | None = None) -> Iterator[bytes]:
        """The same objects as JSON, each beginning with its `apiVersion` and `kind`."""
        spaces = self._objects.get(storage, {})
        for space in sorted(spaces) if namespace is None else [namespace]:
            found = spaces.get(space, {})
            for name in sorted(found):
                yield found[name]

    def items_at(self, storage: str, namespace: str | None, rv: int) -> list[Obj]:
        """The objects as they were at an earlier version, by undoing the log.

        Raises:
            LookupError: The log does not reach back that far.
        """
        if rv < self.floor:
            raise LookupError(rv)
        state = {key_of(obj): obj for obj in self.items(storage, namespace)}
        for event in reversed(self._history):
            if event.rv <= rv:
                break
            if event.storage != storage or (namespace is not None and event.key[0] != namespace):
                continue
            if event.prev is None:
                state.pop(event.key, None)
            else:
                state[event.key] = event.prev
        return [state[at] for at in sorted(state)]

    def count(self, storage: str) -> int:
        """How many objects of a resource there are."""
        return sum(len(space) for space in self._objects.get(storage, {}).values())

    def put(self, storage: str, obj: Obj) -> Obj:
        """Stores a new state and returns it with its resourceVersion."""
        key = key_of(obj)
        self.rv += 1
        meta = {**obj["metadata"], "resourceVersion": str(self.rv)}
        stored = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **obj, "metadata": meta}
        space = self._objects.setdefault(storage, {}).setdefault(key[0], {})
        before, space[key[1]] = space.get(key[1]), encode(stored)
        self._emit(Event("ADDED" if before is None else "MODIFIED", storage, self.rv, key, space[key[1]], before))
        return stored

    def remove(self, storage: str, obj: Obj) -> Obj:
        """Takes an object out and returns its last state with the resourceVersion of the removal."""
        key = key_of(obj)
        before = self._objects[storage][key[0]].pop(key[1])
        self.rv += 1
        prev = decode(before)
        last = {**prev, "metadata": {**prev["metadata"], "resourceVersion": str(self.rv)}}
        self._emit(Event("DELETED", storage, self.rv, key, encode(last), before))
        return last

    def watch(self, storage: str, namespace: str | None, since: int | None) -> Watcher:
        """Subscribes, with the events after `since` already queued.

        Raises:
            LookupError: `since` is older than the log.
        """
        watcher = Watcher(storage, namespace)
        if since is not None:
            if since < self.floor:
                raise LookupError(since)
            for event in self._after(storage, since):
                watcher.offer(event)
        self._watchers.setdefault(storage, set()).add(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Ends a subscription."""
        self._watchers.get(watcher.storage, set()).discard(watcher)

    def close_watches(self, storage: str | None = None) -> None:
        """Ends the watches of one resource, or all."""
        for name, watchers in self._watchers.items():
            if storage in (None, name):
                for watcher in list(watchers):
                    watcher.close()

    def forget_history(self) -> None:
        """Drops the log: every watch that resumes is then answered with 410, as after a compaction."""
        self._history.clear()
        self._history_bytes = 0
        self.rv += 1
        self.floor = self.rv

    def _after(self, storage: str, since: int) -> list[Event]:
        found = []
        for event in reversed(self._history):
            if event.rv <= since:
                break
            if event.storage == storage:
                found.append(event)
        return found[::-1]

    def _emit(self, event: Event) -> None:
        self._history.append(event)
        self._history_bytes += len(event.data)
        while len(self._history) > HISTORY_EVENTS or self._history_bytes > HISTORY_BYTES:
            oldest = self._history.popleft()
            self.floor = oldest.rv
            self._history_bytes -= len(oldest.data)
        for watcher in self._watchers.get(event.storage, ()):
            watcher.offer(event)
        for listener in self.listeners:
            listener(event)
