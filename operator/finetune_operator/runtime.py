"""The running operator: clients, indexes, queue and workers, put together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf
from prometheus_client import start_http_server

from finetune_operator.cluster import Cluster
from finetune_operator.errors import ConflictError, EdgeError
from finetune_operator.execute import Executor
from finetune_operator.facts import JobFacts, PodFacts
from finetune_operator.hub import TrackerHub
from finetune_operator.lease import Election
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Observer
from finetune_operator.queue import WorkQueue
from finetune_operator.reconcile import Reconciler
from finetune_operator.recorder import Recorder
from finetune_operator.secrets import ApiKeys
from finetune_operator.settings import Settings
from finetune_operator.store import Children, Key, Store
from finetune_operator.watch import Reflector

logger = logging.getLogger(__name__)

STUCK_AFTER = 300.0
"""Seconds of queue lag after which liveness fails."""
_SETTLE = 1.0
"""Pause after start, in which the first lists come in, so that a thousand objects are one wave of work."""

_FLUSH = 2.0
"""Longest wait at the end for Events to be written."""


class Runtime:
    """One operator process."""

    def __init__(self, settings: Settings, login: Callable[[], kopf.ConnectionInfo]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.store = Store()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.cluster = Cluster(login)
        self._session = aiohttp.ClientSession(trust_env=True)
        self.hub = TrackerHub(self._session, self.metrics, self.queue.add, settings.poll_seconds)
        self._reflectors = [
            reflector
            for namespace in settings.namespaces or (None,)
            for reflector in (
                self._reflector("jobs", namespace, self.store.jobs),
                self._reflector("pods", namespace, self.store.pods),
            )
        ]
        self._observer = Observer(
            self.store, self.cluster, self.hub, ApiKeys(self.cluster), settings.defaults, self._reflectors
        )
        executor = Executor(self.store, self.cluster, self._observer)
        self._recorder = Recorder(self.cluster, self.metrics)
        self._reconciler = Reconciler(
            self.store,
            self.cluster,
            self._observer,
            executor,
            self._recorder,
            self.metrics,
            spacing=settings.poll_seconds,
        )
        self._election: Election | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Starts the workers; with a Lease they wait until it is held."""
        if self.settings.lease:
            me = f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
            where = (self.settings.lease_namespace, self.settings.lease)
            self._election = Election(self.cluster, *where, me, _abdicate)
            self._tasks.append(asyncio.create_task(self._election.run(), name="election"))
        self._tasks.append(asyncio.create_task(self._recorder.run(), name="recorder"))
        self._tasks += [asyncio.create_task(reflector.run(), name="reflector") for reflector in self._reflectors]
        self._tasks += [
            asyncio.create_task(self._work(), name=f"worker-{number}") for number in range(self.settings.workers)
        ]
        self.metrics.queue_depth.set_function(self.queue.depth)
        self.metrics.queue_lag.set_function(self.queue.lag)
        self.metrics.is_leader.set_function(self._leads)
        if self.settings.metrics_port is not None:
            start_http_server(self.settings.metrics_port, self.settings.host, self.metrics.registry)

    async def stop(self) -> None:
        """Stops the workers and gives everything back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH):
                await self._recorder.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hub.close()
        if self._election is not None:
            await self._election.release()
        await self._session.close()
        await self.cluster.close()

    # -- what the watches tell -----------------------------------------------------------------------------------------

    def resource_event(self, kind: str, event: str | None, body: dict[str, Any]) -> None:
        """A custom resource was seen, changed or deleted."""
        metadata = body["metadata"]
        key = Key(kind, metadata["namespace"], metadata["name"])
        if event == "DELETED":
            if self.store.remove(key, metadata["uid"]):
                self.hub.forget(key)
                self.queue.forget(key)
                self._recorder.forget(key)
                self._reconciler.forget(key)
            self._observer.forget(metadata["uid"])
        elif self.store.update(key, body):
            self.queue.add(key)
        if kind == "SweepRun":
            for dependant in self.store.dependants(key):
                self.queue.add(dependant)

    def _reflector(
        self, plural: str, namespace: str | None, children: Children[JobFacts] | Children[PodFacts]
    ) -> Reflector:
        """Keeps an index of children whole, and marks the resources that they belong to."""

        def mark(owner: str | None) -> None:
            if owner is not None and (key := self.store.owner(owner)) is not None:
                self.queue.add(key)

        def listed(bodies: Sequence[dict[str, Any]]) -> None:
            for owner in children.replace(bodies, namespace):
                mark(owner)

        def seen(event: str, body: dict[str, Any]) -> None:
            if event != "DELETED":
                mark(children.update(body))
                return
            owner = children.remove(body)
            if plural == "pods" and owner is not None:
                self.store.departed.add(owner, body, datetime.now(UTC))
            mark(owner)

        return Reflector(self.cluster, plural, namespace, listed, seen)

    # -- work ----------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        if self._election is not None:
            await self._election.leading.wait()
        for reflector in self._reflectors:
            await reflector.tried.wait()
        await asyncio.sleep(_SETTLE)
        self._observer.take_over()
        while True:
            key = await self.queue.get()
            failed = False
            try:
                outcome, failed = await self._one(key)
                self.metrics.reconciles.labels(key.kind, outcome).inc()
            finally:
                with suppress(KeyError):
                    self.queue.done(key, failed)

    async def _one(self, key: Key) -> tuple[str, bool]:
        """One reconcile: its outcome, and whether it is to be tried again after a pause."""
        where = {"resource": f"{key.kind}/{key.namespace}/{key.name}"}
        try:
            again = await self._reconciler.reconcile(key)
        except ConflictError as error:
            logger.debug("%s", error, extra=where)
            return "conflict", True
        except EdgeError as error:
            logger.warning("%s", error, extra=where)
            return "error", True
        except Exception:
            logger.exception("reconcile failed", extra=where)
            return "exception", True
        if again is not None:
            self.queue.add(key, again)
        return "ok", False

    def _leads(self) -> bool:
        return self._election is None or self._election.leading.is_set()

    def alive(self) -> bool:
        """Whether work gets done; a replica that waits for the Lease is alive."""
        if not self._leads():
            return True
        return self.queue.lag() < STUCK_AFTER and all(not task.done() for task in self._tasks)


def _abdicate() -> None:
    """Another replica leads now: end at once, before anything more is written."""
    logger.error("the Lease is lost")
    os.kill(os.getpid(), signal.SIGTERM)
