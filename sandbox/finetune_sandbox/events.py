"""Events about objects, as `kubectl describe` shows them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable

from finetune_sandbox.client import EVENTS, TRANSIENT, ApiClient, ApiError
from finetune_sandbox.objects import Object, key_of, text_time, uid_of

log = logging.getLogger(__name__)


class Recorder:
    """Posts Events about objects, in order, in the background; a repeated one raises the count of the first."""

    def __init__(self, client: ApiClient, component: str, now: Callable[[], float]) -> None:
        self._client, self._component, self._now = client, component, now
        self._queue: asyncio.Queue[tuple[Object, str, str, str, str]] = asyncio.Queue()
        self._seen: OrderedDict[tuple[str, str, str], tuple[str, int]] = OrderedDict()
        self._numbers = itertools.count()

    def event(self, obj: Object, kind: str, reason: str, message: str, field_path: str = "") -> None:
        """Queues an event of kind Normal or Warning about an object."""
        self._queue.put_nowait((obj, kind, reason, message[:1024], field_path))

    async def run(self) -> None:
        """Posts until cancelled. Events are best effort: one that cannot be posted is dropped."""
        while True:
            event = await self._queue.get()
            for pause in (0.1, 1.0, 0.0):
                try:
                    await self._post(*event)
                    break
                except TRANSIENT as error:
                    log.debug("event %s was not posted: %s", event[2], error)
                    if isinstance(error, ApiError) and error.code in (403, 404, 422):
                        break  # its namespace is going or gone
                    await asyncio.sleep(pause)

    async def _post(self, obj: Object, kind: str, reason: str, message: str, field_path: str) -> None:
        namespace, name = key_of(obj)
        namespace, when = namespace or "default", text_time(self._now())
        identity = (uid_of(obj), reason, message)
        if identity in self._seen:
            posted, count = self._seen[identity]
            self._seen[identity] = posted, count + 1
            with contextlib.suppress(ApiError):
                await self._client.patch(EVENTS, namespace, posted, {"count": count + 1, "lastTimestamp": when})
                return
        reference = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": name,
            "uid": uid_of(obj),
            "resourceVersion": obj["metadata"]["resourceVersion"],
            **({"namespace": obj["metadata"]["namespace"]} if obj["metadata"].get("namespace") else {}),
            **({"fieldPath": field_path} if field_path else {}),
        }
        event = {
            "metadata": {"name": f"{name}.{int(self._now() * 1e6):x}{next(self._numbers):x}", "namespace": namespace},
            "involvedObject": reference,
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
        }
        posted_event = await self._client.create(EVENTS, event)
        self._seen[identity] = posted_event["metadata"]["name"], 1
        while len(self._seen) > 1000:
            self._seen.popitem(last=False)
