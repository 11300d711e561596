"""Watches: what is there first if asked for, then every change, as lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from finetune_sandbox.packed import encode

from .errors import ApiError, banned, expired, invalid
from .read import Selection, selection
from .resources import Resource
from .store import Event, Obj, Watcher
from .write import show

if TYPE_CHECKING:
    from .state import State

BOOKMARK_SECONDS = 20.0
LONGEST_SECONDS = 1800.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}

Render = Callable[[Obj], Any]


class Watch:
    """One open watch.

    Args:
        state: The server's state.
        resource: What is watched.
        namespace: None for all.
        query: The request's query.
        name: Watches a single object.
        render: Shows an object in another form, such as a Table; None for the object itself.
    """

    def __init__(
        self,
        state: State,
        resource: Resource,
        namespace: str | None,
        query: Mapping[str, str],
        name: str,
        render: Render | None,
    ) -> None:
        self.state, self.resource, self.render = state, resource, render
        self.chosen: Selection = selection(resource, query, name)
        self.bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        self.timeout = float(query.get("timeoutSeconds") or 0) or LONGEST_SECONDS * random.uniform(1, 2)
        wanted = query.get("resourceVersion", "")
        if wanted and not wanted.isdigit():
            raise ApiError(
                400, "BadRequest", f'Invalid value: "{wanted}": strconv.ParseUint: parsing "{wanted}": invalid syntax'
            )
        self.streams_list = query.get("sendInitialEvents") in ("true", "1")
        if self.streams_list and query.get("resourceVersionMatch") != "NotOlderThan":
            error = banned(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
            raise invalid("meta.k8s.io", "ListOptions", "", [error])
        self.error: ApiError | None = None
        self.initial: list[Obj] = []
        since = int(wanted) if wanted not in ("", "0") else None
        from_now = self.streams_list or since is None
        store = state.store
        try:
            self.watcher: Watcher = store.watch(resource.storage, namespace, None if from_now else since)
        except LookupError:
            self.error = expired(f"too old resource version: {wanted} ({store.floor})")
            self.watcher = store.watch(resource.storage, namespace, None)
        if from_now and query.get("sendInitialEvents") not in ("false", "0"):
            self.initial = [obj for obj in store.items(resource.storage, namespace) if self.chosen(obj)]
        self.rv = store.rv

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of the answer until the time is over."""
        try:
            async for line in self._lines():
                yield line
        finally:
            self.state.store.unwatch(self.watcher)

    async def _lines(self) -> AsyncIterator[bytes]:
        if self.error is not None:
            yield _line("ERROR", self.error.status())
            return
        if self.initial:
            yield b"".join(_line("ADDED", self._shown(obj)) for obj in self.initial)
            self.initial = []
        if self.streams_list and self.bookmarks:
            yield self._bookmark(_INITIAL_END)
        loop = asyncio.get_running_loop()
        end = loop.time() + self.timeout
        watcher = self.watcher
        while not (watcher.closed and not watcher.events):
            while watcher.events:
                batch = bytearray()
                while watcher.events and len(batch) < 65536:
                    if line := self._event(watcher.events.popleft()):
                        batch += line
                if batch:
                    yield bytes(batch)
            if watcher.closed or (left := end - loop.time()) <= 0:
                return
            watcher.wakeup.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watcher.wakeup.wait(), min(left, BOOKMARK_SECONDS) if self.bookmarks else left)
                continue
            if self.bookmarks and end > loop.time():
                self.rv = max(self.rv, self.state.store.rv)
                yield self._bookmark(None)

    def _event(self, event: Event) -> bytes | None:
        """The line for a change; an object that leaves the selection is DELETED in its last matching state."""
        self.rv = event.rv
        kind, obj = event.kind, None
        if not self.chosen.all:
            before = event.prev is not None and self.chosen(event.prev)
            after = kind != "DELETED" and self.chosen(event.obj)
            if not before and not after:
                return None
            if before and not after and event.prev is not None and kind != "DELETED":
                obj = {**event.prev, "metadata": {**event.prev["metadata"], "resourceVersion": str(event.rv)}}
            kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
        if obj is None and self.render is None and self.resource.custom is None:  # stored as it is served
            return b'{"type":"%b","object":%b}\n' % (kind.encode(), event.data)
        return _line(kind, self._shown(event.obj if obj is None else obj))

    def _shown(self, obj: Obj) -> Any:
        shown = show(self.resource, obj)
        return shown if self.render is None else self.render(shown)

    def _bookmark(self, annotations: dict[str, str] | None) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(self.rv), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        obj = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": meta}
        return _line("BOOKMARK", obj if self.render is None else self.render(obj))


def _line(kind: str, obj: Any) -> bytes:
    return encode({"type": kind, "object": obj}) + b"\n"
