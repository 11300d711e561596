"""Tells of transitions: one Event each, and the metrics that follow a status."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime
from typing import Any

from finetune_operator import conditions as c
from finetune_operator.api import API_VERSION, FinetuneJobStatus, SweepRunStatus
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError
from finetune_operator.metrics import Metrics
from finetune_operator.store import Key

logger = logging.getLogger(__name__)

AnyStatus = SweepRunStatus | FinetuneJobStatus


def transitions(old: AnyStatus, new: AnyStatus) -> list[tuple[str, str, str]]:
    """Events (type, reason, message) that lead from one status to the next: a new reason of Ready, a promotion."""
    events = []
    before, after = c.find(old.conditions, c.READY), c.find(new.conditions, c.READY)
    if after and (before is None or (before.reason, before.status) != (after.reason, after.status)):
        bad = c.is_true(new.conditions, c.STALLED) or after.reason in _WARNINGS
        events.append(("Warning" if bad else "Normal", after.reason, after.message))
    was, now = old.promotion, new.promotion
    if now is None or now.state == "Pending" or (events and events[0][1] == now.state):
        return events
    if was is None or (was.state, was.run, was.version) != (now.state, now.run, now.version):
        events.append(("Normal", now.state, now.reason))
    return events


_WARNINGS = frozenset(
    {
        "SecretMissing",
        "TrackerUnreachable",
        "TrackerUnauthorized",
        "TrackerThrottled",
        "Unschedulable",
        "QuotaExceeded",
        "PodCreationFailed",
        "ImagePullFailed",
        "ContainerCreateFailed",
        "BudgetExhausted",
        "AdaptationFailed",
        "SweepRunNotFound",
        "SweepRunFailed",
        "NameTaken",
        "Forbidden",
        "OutOfMemory",
        "Error",
    }
)


_BACKLOG = 10_000
"""Events that wait to be written; when there are more, the newest are lost."""


class Recorder:
    """Writes Events and metrics after a status has been written; no reconcile waits for an Event."""

    def __init__(self, cluster: Cluster, metrics: Metrics) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._backlog: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BACKLOG)

    async def run(self) -> None:
        """Writes Events until cancelled. One that cannot be written is lost, and only that."""
        while True:
            event = await self._backlog.get()
            try:
                await self._cluster.create("events", event)
            except ClusterError as error:
                logger.warning("an Event could not be written: %s", error)
            finally:
                self._backlog.task_done()

    async def flush(self) -> None:
        """Waits until all Events are written."""
        await self._backlog.join()

    def record(self, key: Key, body: dict[str, Any], old: AnyStatus, new: AnyStatus) -> None:
        """Tells of what has changed."""
        self._measure(key, old, new)
        metadata = body["metadata"]
        for kind, reason, message in transitions(old, new):
            logger.info(
                "%s: %s",
                reason,
                message,
                extra={
                    "resource": f"{key.kind}/{key.namespace}/{key.name}",
                    "generation": metadata.get("generation"),
                },
            )
            now = datetime.now(UTC)
            event = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": f"{key.name[:200]}.", "namespace": key.namespace},
                "involvedObject": {
                    "apiVersion": API_VERSION,
                    "kind": key.kind,
                    "namespace": key.namespace,
                    "name": key.name,
                    "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"],
                },
                "type": kind,
                "reason": reason,
                "message": message[:1024] or reason,
                "source": {"component": "finetune-operator"},
                "reportingComponent": "finetune-operator",
                "reportingInstance": os.environ.get("HOSTNAME", "finetune-operator"),
                "firstTimestamp": c.timestamp(now),
                "lastTimestamp": c.timestamp(now),
                "count": 1,
            }
            try:
                self._backlog.put_nowait(event)
            except asyncio.QueueFull:
                logger.warning("an Event is lost: the API server is too slow")

    def forget(self, key: Key) -> None:
        """Drops the metrics of a resource that is gone."""
        for state in ("running", "succeeded", "failed", "stopped", "preempted"):
            try:
                self._metrics.trials.remove(key.namespace, key.name, state)
            except KeyError:
                continue
        try:
            self._metrics.gpu_hours.remove(key.kind, key.namespace, key.name)
        except KeyError:
            return

    def _measure(self, key: Key, old: AnyStatus, new: AnyStatus) -> None:
        if isinstance(new, SweepRunStatus) and new.trials:
            for state in ("running", "succeeded", "failed", "stopped", "preempted"):
                self._metrics.trials.labels(key.namespace, key.name, state).set(getattr(new.trials, state))
        if new.usage:
            self._metrics.gpu_hours.labels(key.kind, key.namespace, key.name).set(float(new.usage.gpu_hours))
        was, now = old.promotion, new.promotion
        if now and now.state != "Pending" and (was is None or (was.state, was.run) != (now.state, now.run)):
            self._metrics.promotions.labels(key.kind, now.state).inc()
