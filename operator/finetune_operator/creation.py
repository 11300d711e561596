"""Why a Job has no pods, which the Job controller tells in Events alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from finetune_operator.cluster import Cluster

_SILENT = timedelta(seconds=3)
"""A Job may be without pods this long before its Events are read, and what was read serves as long."""


@dataclass
class _Silence:
    """A Job without pods; the longer it lasts, the more rarely its Events are read."""

    since: datetime
    ask_at: datetime = field(init=False)
    error: str | None = None

    def __post_init__(self) -> None:
        self.ask_at = self.since + _SILENT


@dataclass(frozen=True)
class _Listing:
    """What the Events of a namespace say of its Jobs, by name."""

    at: datetime
    failures: dict[str, str]


class CreationFailures:
    """Reads the Events of Jobs that stay without pods.

    One list serves all such Jobs of a namespace: after a burst of a thousand, a list for each would be a thousand times
    a look at all Events there are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._silent: dict[str, _Silence] = {}
        self._listings: dict[str, _Listing] = {}
        self._listing = asyncio.Lock()

    def forget(self, owner: str) -> None:
        """A resource is gone, or its Job has pods."""
        self._silent.pop(owner, None)

    async def of(self, owner: str, namespace: str, job: str, now: datetime) -> str | None:
        """What the Job controller says of an owner's Job that has no pods; None while nothing is known.

        Raises:
            ClusterError: The Events could not be read.
        """
        silence = self._silent.setdefault(owner, _Silence(now))
        if now >= silence.ask_at:
            silence.error = (await self._listed(namespace, now)).get(job)
            silence.ask_at = now + max(_SILENT, (now - silence.since) / 2)
        return silence.error

    async def _listed(self, namespace: str, now: datetime) -> dict[str, str]:
        async with self._listing:
            known = self._listings.get(namespace)
            if known is None or now - known.at >= _SILENT:
                selector = "involvedObject.kind=Job,reason=FailedCreate"
                events = await self._cluster.list("events", namespace, fieldSelector=selector)
                known = self._listings[namespace] = _Listing(now, _latest(events))
            return known.failures


def _latest(events: Iterable[dict[str, Any]]) -> dict[str, str]:
    def moment(event: dict[str, Any]) -> str:
        return str(event.get("lastTimestamp") or event.get("eventTime") or "")

    return {
        event["involvedObject"]["name"]: str(event.get("message", ""))[:512] for event in sorted(events, key=moment)
    }
