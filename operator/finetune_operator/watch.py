"""Lists and watches the children, so that the indexes are whole: what is gone is known to be gone.

kopf hands on what a list or a watch shows, one object at a time; it does not tell which objects a list no longer has
after a watch broke. An operator that decides by what is not there would have to read it again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from finetune_operator import names
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError, ExpiredError, ForbiddenError

logger = logging.getLogger(__name__)

_PAUSE = 0.2
_LONGEST_PAUSE = 5.0

Listed = Callable[[Sequence[dict[str, Any]]], None]
Seen = Callable[[str, dict[str, Any]], None]


class Reflector:
    """Keeps a caller informed of all children of one kind.

    Args:
        namespace: Where to look; None means everywhere.
        listed: Called with all objects, at the start and whenever the watch could not be continued.
        seen: Called with each event of the watch: ADDED, MODIFIED or DELETED, and the object.
    """

    def __init__(self, cluster: Cluster, plural: str, namespace: str | None, listed: Listed, seen: Seen) -> None:
        self._cluster = cluster
        self._plural = plural
        self._namespace = namespace
        self._listed = listed
        self._seen = seen
        self.tried = asyncio.Event()
        """Set once the first list has been handed on, or refused."""
        self.refusal: ForbiddenError | None = None
        """The right that is lacking, for as long as it is."""

    def covers(self, namespace: str) -> bool:
        """Whether it sees what is in a namespace."""
        return self._namespace in (None, namespace)

    async def run(self) -> None:
        """Lists and watches until cancelled; a watch that ends goes on from where it was."""
        version, pause = "", _PAUSE
        while True:
            try:
                if not version:
                    version = await self._list()
                async for kind, body in self._cluster.watch(
                    self._plural, self._namespace, version, names.CHILD_SELECTOR
                ):
                    version, pause, self.refusal = body["metadata"]["resourceVersion"], _PAUSE, None
                    if kind != "BOOKMARK":
                        self._seen(kind, body)
                continue
            except ExpiredError:
                version = ""
                continue
            except ClusterError as error:
                logger.warning("%s cannot be watched: %s", self._plural, error)
                self.refusal = error if isinstance(error, ForbiddenError) else self.refusal
                self.tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _list(self) -> str:
        items, version = await self._cluster.snapshot(self._plural, self._namespace, names.CHILD_SELECTOR)
        self._listed(items)
        self.refusal = None
        self.tried.set()
        return version
