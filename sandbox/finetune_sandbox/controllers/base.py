"""What every controller is made of: shared informers, a queue of keys, one `sync` per key, a recorder of events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from finetune_sandbox.client import ApiClient
from finetune_sandbox.clock import Clock
from finetune_sandbox.events import Recorder
from finetune_sandbox.informers import Informers, WorkQueue, work
from finetune_sandbox.objects import Key, Object, controller_of, key_of


@dataclass(frozen=True)
class Context:
    """What controllers share.

    Attributes:
        clock: The time; tests may set it forward.
        data_dir: Where volumes and pod files are kept.
    """

    client: ApiClient
    informers: Informers
    clock: Clock
    data_dir: Path


class OwnerHandler(Protocol):
    """Serves as handler of changes and of deletions."""

    def __call__(self, obj: Object, old: Object | None = None, /) -> None:
        """Looks at the object's owner."""


class Controller:
    """Brings one type of object to its desired state, key by key.

    Subclasses register informer handlers in their constructor and implement `sync`, which must rest on the present
    state alone: it may be called at any time, any number of times.
    """

    name = "controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self.client, self.informers, self.now = context.client, context.informers, context.clock.now
        self.context = context
        self.queue: WorkQueue[Key] = WorkQueue()
        self.recorder = Recorder(context.client, self.name, context.clock.now)

    async def sync(self, key: Key) -> None:
        """Looks at one object and does what is missing."""
        raise AssertionError(f"{type(self).__name__} has no sync")

    def enqueue(self, obj: Object, _old: Object | None = None) -> None:
        """An informer handler: look at this object."""
        self.queue.add(key_of(obj))

    def enqueue_owner(self, kind: str) -> OwnerHandler:
        """An informer handler: look at the object's controller if it is of that kind."""

        def handler(obj: Object, _old: Object | None = None) -> None:
            owner = controller_of(obj)
            if owner and owner["kind"] == kind:
                self.queue.add((obj["metadata"].get("namespace", ""), owner["name"]))

        return handler

    async def run(self) -> None:
        """Works until cancelled, beginning when the informers have their first lists."""
        await self.informers.wait_synced()
        recording = asyncio.create_task(self.recorder.run(), name=f"{self.name} events")
        try:
            await work(self.queue, self.sync, self.workers, self.name)
        finally:
            recording.cancel()
