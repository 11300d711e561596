"""A work queue of keys: deduplicating, delaying, rate limiting, never handing out a key twice at a time."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class WorkQueue(Generic[KeyT]):
    """Keys that need a look.

    A key added while it waits is one key; added while it is worked on, it comes again after that. A failure brings it
    back after a pause that doubles with each failure in a row; so does a key that is added again and again.

    Args:
        base: First pause after a failure, in seconds.
        limit: Longest pause after a failure, in seconds.
        spacing: Least time between two looks at one key, in seconds: what comes in between is one look.
    """

    def __init__(self, base: float = 0.5, limit: float = 60.0, spacing: float = 0.2) -> None:
        self._base = base
        self._limit = limit
        self._spacing = spacing
        self._due: dict[KeyT, float] = {}
        self._heap: list[tuple[float, int, KeyT]] = []
        self._sequence = 0
        self._working: dict[KeyT, float] = {}
        self._again: dict[KeyT, float] = {}
        self._failures: dict[KeyT, int] = {}
        self._last: dict[KeyT, float] = {}
        self._wake = asyncio.Event()

    def add(self, key: KeyT, delay: float = 0.0) -> None:
        """Asks for a look at `key` after `delay` seconds, or sooner if that was asked for already."""
        now = time.monotonic()
        due = max(now + delay, self._last.get(key, float("-inf")) + self._spacing)
        if key in self._working:
            self._again[key] = min(due, self._again.get(key, due))
            return
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        self._wake.set()

    async def get(self) -> KeyT:
        """Waits for the next key that is due; `done` must follow."""
        while True:
            while self._heap:
                due, _, key = self._heap[0]
                if self._due.get(key) != due:
                    heapq.heappop(self._heap)
                    continue
                if due > time.monotonic():
                    break
                heapq.heappop(self._heap)
                del self._due[key]
                self._working[key] = self._last[key] = time.monotonic()
                if self._heap:
                    self._wake.set()  # another worker may take the next
                return key
            self._wake.clear()
            pause = self._heap[0][0] - time.monotonic() if self._heap else None
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: KeyT, failed: bool = False) -> None:
        """Ends the work on `key`."""
        del self._working[key]
        again = self._again.pop(key, None)
        if failed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self.add(key, min(self._base * 2 ** (failures - 1), self._limit))
            return
        self._failures.pop(key, None)
        if again is not None:
            self.add(key, max(0.0, again - time.monotonic()))

    def forget(self, key: KeyT) -> None:
        """Drops what is remembered of a key that is gone."""
        for memory in (self._due, self._again, self._failures, self._last):
            memory.pop(key, None)

    def depth(self) -> int:
        """Keys that are due now and wait for a worker; may be called from another thread."""
        now = time.monotonic()
        return sum(due <= now for due in list(self._due.values()))

    def lag(self) -> float:
        """Seconds of the longest wait or work in progress; may be called from another thread."""
        now = time.monotonic()
        waits = (now - moment for moment in [*self._due.values(), *self._working.values()])
        return max([0.0, *waits])
