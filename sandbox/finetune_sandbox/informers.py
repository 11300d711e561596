"""Local copies of what the API holds, kept by watches and shared by all controllers, and the queues they feed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

import aiohttp

from finetune_sandbox.client import ApiClient, ApiError, Resource, WatchExpiredError
from finetune_sandbox.objects import Key, Object, controller_of, key_of, uid_of
from finetune_sandbox.packed import PackedObjects

log = logging.getLogger(__name__)

Handler = Callable[[Object, Object | None], None]
K = TypeVar("K", bound=Hashable)


class Informer:
    """A cache of all objects of one type.

    What a controller writes itself it may `observe` at once, so that its next decision never rests on a copy older
    than its own writes; that replaces the expectations of Kubernetes' own controllers.
    """

    def __init__(self, client: ApiClient, resource: Resource) -> None:
        self.resource = resource
        self.items = PackedObjects()
        self.synced = asyncio.Event()
        self._client = client
        self._owned: dict[str, dict[Key, None]] = {}
        self._changed: list[Handler] = []
        self._deleted: list[Callable[[Object], None]] = []
        self._gone: OrderedDict[str, None] = OrderedDict()

    def on_change(self, handler: Handler) -> None:
        """Calls `handler(new, old)` for every object that appears (old is None) or changes."""
        self._changed.append(handler)

    def on_delete(self, handler: Callable[[Object], None]) -> None:
        """Calls `handler(last)` for every object that disappears."""
        self._deleted.append(handler)

    def owned_by(self, uid: str) -> list[Object]:
        """The objects whose controller reference has that uid."""
        return [self.items[key] for key in self._owned.get(uid, ())]

    def in_namespace(self, namespace: str) -> list[Object]:
        """The objects of one namespace."""
        return [self.items[key] for key in self.items if key[0] == namespace]

    def observe(self, obj: Object) -> None:
        """Takes in an object that a write returned, unless the watch brought something newer."""
        old = self.items.get(key_of(obj))
        if uid_of(obj) in self._gone or (old and _version(old) >= _version(obj)):
            return
        meta = obj["metadata"]
        if (
            meta.get("deletionTimestamp")
            and not meta.get("finalizers")
            and meta.get("deletionGracePeriodSeconds", 0) == 0
        ):
            self._remove(obj)  # the answer to the request that removed it
        else:
            self._store(obj)

    async def run(self) -> None:
        """Lists and watches until cancelled, through disconnects, server restarts and expired versions."""
        version, pause = "", 0.05
        while True:
            try:
                if not version:
                    items, version = await self._client.list(self.resource)
                    self._replace(items)
                    self.synced.set()
                async for kind, obj in self._client.watch(self.resource, version, timeoutSeconds="300"):
                    version, pause = obj["metadata"]["resourceVersion"], 0.05
                    if kind == "DELETED":
                        self._remove(obj)
                    elif kind != "BOOKMARK":
                        self._take(obj)
                continue
            except WatchExpiredError:
                version = ""
            except ApiError as error:
                if error.code == 404:  # the type was removed; its informer is about to be stopped
                    self._replace([])
                    pause = 2.0
                version = ""
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                log.debug("watch of %s broke off: %s", self.resource.plural, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _take(self, obj: Object) -> None:
        old = self.items.get(key_of(obj))
        if old and uid_of(old) == uid_of(obj) and _version(old) >= _version(obj):
            return
        self._store(obj)

    def _store(self, obj: Object) -> None:
        key, old = key_of(obj), self.items.get(key_of(obj))
        obj["metadata"].pop("managedFields", None)  # half of many an object, and nobody here reads it
        if old and uid_of(old) != uid_of(obj):
            self._remove(old)
            old = None
        if old:
            self._unindex(old)
        self.items[key] = obj
        if owner := controller_of(obj):
            self._owned.setdefault(owner["uid"], {})[key] = None
        for handler in self._changed:
            _call(handler, obj, old)

    def _remove(self, obj: Object) -> None:
        key = key_of(obj)
        self._gone[uid_of(obj)] = None
        while len(self._gone) > 1000:
            self._gone.popitem(last=False)
        old = self.items.get(key)
        if old is None or uid_of(old) != uid_of(obj):
            return
        del self.items[key]
        self._unindex(old)
        for handler in self._deleted:
            _call(handler, obj)

    def _unindex(self, obj: Object) -> None:
        if owner := controller_of(obj):
            owned = self._owned.get(owner["uid"], {})
            owned.pop(key_of(obj), None)
            if not owned:
                self._owned.pop(owner["uid"], None)

    def _replace(self, items: Iterable[Object]) -> None:
        listed = {key_of(item): item for item in items}
        for key in [key for key in self.items if key not in listed]:
            self._remove(self.items[key])
        for item in listed.values():
            self._take(item)


def _call(handler: Callable[..., None], *args: Object | None) -> None:
    """Calls a handler; one that fails over an odd object must not end the watch for everybody."""
    try:
        handler(*args)
    except Exception:
        log.exception("handler %s failed", handler)


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


class Informers:
    """One informer per type, shared."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        self._informers: dict[Resource, tuple[Informer, asyncio.Task[None]]] = {}

    def __getitem__(self, resource: Resource) -> Informer:
        """The informer of a type, started on first use."""
        if resource not in self._informers:
            informer = Informer(self.client, resource)
            self._informers[resource] = (
                informer,
                asyncio.create_task(informer.run(), name=f"informer {resource.plural}"),
            )
        return self._informers[resource][0]

    async def wait_synced(self) -> None:
        """Waits until every started informer has its first list."""
        await asyncio.gather(*(informer.synced.wait() for informer, _ in self._informers.values()))

    def drop(self, resource: Resource) -> None:
        """Stops the informer of a type that is no longer served."""
        if entry := self._informers.pop(resource, None):
            entry[1].cancel()

    async def stop(self) -> None:
        """Stops them all."""
        tasks = [task for _, task in self._informers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class WorkQueue(Generic[K]):
    """Keys to look at: each at most once in the queue, never with two workers at a time, failures ever later."""

    def __init__(self, base_delay: float = 0.05, max_delay: float = 30.0) -> None:
        self._queue: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._available = asyncio.Semaphore(0)
        self._base, self._max = base_delay, max_delay

    def add(self, key: K) -> None:
        """Asks for a look at this key; while it is being worked on, for one more afterwards."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Asks for a look later; of several pending times the earliest counts."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(seconds, 0)
        pending = self._timers.get(key)
        if pending and pending.when() <= when:
            return
        if pending:
            pending.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def retry(self, key: K) -> None:
        """Asks for another look after a failure, each time twice as late."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(self._base * 2**failures, self._max))

    def forget(self, key: K) -> None:
        """Ends the series of failures of a key."""
        self._failures.pop(key, None)

    async def take(self) -> K:
        """The next key; call `done` when finished with it."""
        await self._available.acquire()
        key = self._queue.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """Gives a key back."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def close(self) -> None:
        """Cancels what is due later."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _push(self, key: K) -> None:
        self._queue.append(key)
        self._available.release()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)


async def work(queue: WorkQueue[K], sync: Callable[[K], Awaitable[None]], workers: int, name: str) -> None:
    """Feeds a queue to `sync` with so many workers until cancelled; what raises is tried again."""

    async def worker() -> None:
        while True:
            key = await queue.take()
            try:
                await sync(key)
                queue.forget(key)
            except ApiError as error:
                (log.debug if error.code in (403, 404, 409, 422, 429) else log.warning)("%s %s: %s", name, key, error)
                queue.retry(key)
            except (aiohttp.ClientError, TimeoutError) as error:
                log.debug("%s %s: %s", name, key, error)
                queue.retry(key)
            except Exception:
                log.exception("%s %s failed", name, key)
                queue.retry(key)
            finally:
                queue.done(key)

    tasks = [asyncio.create_task(worker(), name=f"{name} {number}") for number in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        queue.close()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
