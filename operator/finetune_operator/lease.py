"""Leader election over a coordination.k8s.io Lease.

kopf's peering needs a CRD of its own, gives the lead to the higher priority (so that a rollout pre-empts the working
replica), freezes both replicas at equal priority, and keeps the ghost of a killed one for a minute. A Lease is what
every other controller uses: one holder, the others keep their indexes warm and take over when it stops renewing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError, ConflictError, NotFoundError
from finetune_operator.facts import parse_time

logger = logging.getLogger(__name__)

_DURATION = timedelta(seconds=15)
_RENEW = 5.0
_RETRY = 2.0


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def held_by_other(spec: dict[str, Any], me: str, now: datetime) -> bool:
    """Whether somebody else's claim on the Lease is still good."""
    holder, renewed = spec.get("holderIdentity"), parse_time(spec.get("renewTime"))
    if not holder or holder == me or renewed is None:
        return False
    return now < renewed + timedelta(seconds=spec.get("leaseDurationSeconds", 15))


class Election:
    """Holds, or waits for, a Lease.

    Args:
        lost: Called when the Lease was held and could not be renewed in time: the caller must stop writing at once.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str, me: str, lost: Callable[[], None]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._me = me
        self._lost = lost
        self._lease: dict[str, Any] | None = None
        self.leading = asyncio.Event()

    async def run(self) -> None:
        """Tries for the Lease, then renews it, for ever."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            try:
                if await self._try():
                    renewed = loop.time()
                    if not self.leading.is_set():
                        logger.info("leading as %s", self._me)
                        self.leading.set()
                elif self.leading.is_set():
                    self._lost()
                    return
            except ClusterError as error:
                logger.warning("the Lease could not be renewed: %s", error)
            if self.leading.is_set() and loop.time() - renewed > _DURATION.total_seconds() - _RETRY:
                self._lost()
                return
            await asyncio.sleep(_RENEW if self.leading.is_set() else _RETRY)

    async def release(self) -> None:
        """Gives the Lease back, so that the next replica need not wait for it to expire."""
        if not self.leading.is_set():
            return
        try:
            lease = await self._cluster.get("leases", self._namespace, self._name)
            if lease["spec"].get("holderIdentity") == self._me:
                lease["spec"]["holderIdentity"] = ""
                await self._cluster.replace("leases", lease)
        except ClusterError as error:
            logger.warning("the Lease could not be released: %s", error)

    async def _try(self) -> bool:
        """Takes or renews the Lease; what was written last is renewed without reading it again."""
        try:
            lease = self._lease or await self._cluster.get("leases", self._namespace, self._name)
        except NotFoundError:
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": {
                    "holderIdentity": self._me,
                    "leaseDurationSeconds": int(_DURATION.total_seconds()),
                    "acquireTime": _now(),
                    "renewTime": _now(),
                },
            }
            return await self._write(self._cluster.create("leases", lease))
        spec = lease["spec"]
        if held_by_other(spec, self._me, datetime.now(UTC)):
            return False
        if spec.get("holderIdentity") != self._me:
            spec |= {"acquireTime": _now(), "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
        spec |= {
            "holderIdentity": self._me,
            "renewTime": _now(),
            "leaseDurationSeconds": int(_DURATION.total_seconds()),
        }
        if await self._write(self._cluster.replace("leases", lease)):
            return True
        return self.leading.is_set() and await self._try()  # somebody has touched it: is it still ours?

    async def _write(self, write: Awaitable[dict[str, Any]]) -> bool:
        self._lease = None
        try:
            self._lease = await write
        except (ConflictError, NotFoundError):
            return False
        return True
