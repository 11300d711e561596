"""The trackers in use: one shared poller per project and API key, with back-off that all its sweeps share."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import replace

import aiohttp

from finetune_operator.actions import Problem
from finetune_operator.errors import EdgeError, ThrottledError, UnauthorizedError
from finetune_operator.facts import SweepFacts
from finetune_operator.metrics import Metrics
from finetune_operator.observed import TrackerView
from finetune_operator.store import Key
from finetune_operator.sweep_reader import SweepReader
from finetune_operator.trial import TrackerAddress
from finetune_operator.wandb import WandbClient

logger = logging.getLogger(__name__)

_PROBE_EVERY = 60.0
_RETRY = 3.0
_LONGEST_RETRY = 10.0
"""Longest pause after a failed look, so that a reason is gone soon after its cause; a 429 may ask for more."""


def problem_of(error: EdgeError) -> Problem:
    """A tracker's failure as the reason that status shows."""
    if isinstance(error, UnauthorizedError):
        return Problem("TrackerUnauthorized", str(error))
    if isinstance(error, ThrottledError):
        return Problem("TrackerThrottled", str(error))
    return Problem("TrackerUnreachable", str(error))


class ProjectPoller:
    """One project of one tracker, seen with one API key."""

    def __init__(
        self, client: WandbClient, address: TrackerAddress, notify: Callable[[Key], None], interval: float
    ) -> None:
        self.client = client
        self._reader = SweepReader(client)
        self.address = address
        self._notify = notify
        self._interval = interval
        self._watchers: dict[str, set[Key]] = {}
        self._sweeps: dict[str, SweepFacts | None] = {}
        self._problem: Problem | None = None
        self._failures = 0
        self._quiet_until = 0.0
        self._probed_at = float("-inf")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._probing = asyncio.Lock()

    async def view(self, sweep_id: str | None, key: Key) -> TrackerView:
        """The tracker as a resource sees it; watching its sweep from now on.

        Makes a request only when nothing is known for a minute, or after a failure whose back-off has passed.
        """
        if sweep_id is not None and key not in self._watchers.setdefault(sweep_id, set()):
            self._watchers[sweep_id].add(key)
            self.poke()
        await self._probe()
        if sweep_id is None or sweep_id not in self._sweeps:
            return TrackerView(self.address, self._problem)
        sweep = self._sweeps[sweep_id]
        return TrackerView(self.address, self._problem, sweep, missing=sweep is None)

    def unwatch(self, key: Key, keep: str | None = None) -> None:
        """A resource is no longer interested in sweeps other than `keep`."""
        for sweep_id in [name for name, keys in self._watchers.items() if key in keys and name != keep]:
            self._watchers[sweep_id].discard(key)
            if not self._watchers[sweep_id]:
                del self._watchers[sweep_id]
                self._sweeps.pop(sweep_id, None)
                self._reader.forget(sweep_id)

    def poke(self) -> None:
        """Looks at once: something has happened that the tracker may know more about."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll(), name=f"poll {self.address.project}")
        self._wake.set()

    def failed(self, error: EdgeError) -> Problem:
        """Takes note of a failure: everybody who shares this tracker waits."""
        self._failures += 1
        self._problem = problem_of(error)
        pause = min(_RETRY * 2 ** (self._failures - 1), _LONGEST_RETRY) * random.uniform(0.8, 1.2)
        if isinstance(error, ThrottledError):
            pause = max(pause, error.retry_after)
        self._quiet_until = asyncio.get_running_loop().time() + pause
        return self._problem

    def succeeded(self) -> None:
        """Takes note that the tracker answers."""
        self._failures, self._problem, self._quiet_until = 0, None, 0.0
        self._probed_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Ends the polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _probe(self) -> None:
        async with self._probing:
            now = asyncio.get_running_loop().time()
            if now < self._quiet_until or (self._problem is None and now - self._probed_at < _PROBE_EVERY):
                return
            try:
                entity = await self.client.default_entity()
            except EdgeError as error:
                self.failed(error)
                return
            if self.address.entity is None:
                self.address = replace(self.address, entity=entity)
            self.succeeded()

    async def _poll(self) -> None:
        """Looks at all watched sweeps in turn with the interval, until none is watched."""
        loop = asyncio.get_running_loop()
        while self._watchers:
            self._wake.clear()
            await self._probe()
            if loop.time() >= self._quiet_until and self.address.entity is not None:
                await self._look()
            pause = max(self._interval * random.uniform(0.8, 1.2), self._quiet_until - loop.time())
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
                await asyncio.sleep(min(1.0, self._interval))  # pokes that come together are one look
            except TimeoutError:
                continue

    async def _look(self) -> None:
        wanted = list(self._watchers)
        had_problem = self._problem
        assert self.address.entity is not None
        try:
            found = await self._reader.read(self.address.entity, self.address.project, wanted)
        except EdgeError as error:
            problem = self.failed(error)
            if problem != had_problem:
                logger.warning("The tracker cannot be read: %s", problem.message)
                self._tell(wanted)
            return
        self.succeeded()
        changed = [name for name in wanted if _differs(self._sweeps.get(name), found[name]) or name not in self._sweeps]
        self._sweeps.update({name: found[name] for name in wanted if name in self._watchers})
        self._tell(wanted if had_problem else changed)

    def _tell(self, sweeps: list[str]) -> None:
        for name in sweeps:
            for key in self._watchers.get(name, ()):
                self._notify(key)


def _differs(old: SweepFacts | None, new: SweepFacts | None) -> bool:
    if old is None or new is None:
        return old is not new
    return (old.state, old.runs) != (new.state, new.runs)


class TrackerHub:
    """Finds the poller of a resource's project."""

    def __init__(
        self, session: aiohttp.ClientSession, metrics: Metrics, notify: Callable[[Key], None], interval: float
    ) -> None:
        self._session = session
        self._metrics = metrics
        self._notify = notify
        self._interval = interval
        self._pollers: dict[tuple[TrackerAddress, bytes], ProjectPoller] = {}
        self._of: dict[Key, ProjectPoller] = {}

    def project(self, key: Key, address: TrackerAddress, api_key: str) -> ProjectPoller:
        """The poller that serves a resource; resources with the same project and API key share it."""
        identity = (address, hashlib.sha256(api_key.encode()).digest())
        if identity not in self._pollers:
            client = WandbClient(self._session, address.base_url, api_key, self._observe)
            self._pollers[identity] = ProjectPoller(client, address, self._notify, self._interval)
        poller = self._pollers[identity]
        if (old := self._of.get(key)) is not None and old is not poller:
            old.unwatch(key)
        self._of[key] = poller
        return poller

    def known(self, key: Key) -> ProjectPoller | None:
        """The poller that a resource used last."""
        return self._of.get(key)

    def forget(self, key: Key) -> None:
        """A resource needs the tracker no longer."""
        if (poller := self._of.pop(key, None)) is not None:
            poller.unwatch(key)

    async def close(self) -> None:
        """Ends all polling."""
        await asyncio.gather(*(poller.close() for poller in self._pollers.values()))

    def _observe(self, operation: str, outcome: str) -> None:
        self._metrics.tracker_requests.labels(operation, outcome).inc()
