"""Reads the sweeps of a project: their states and live runs each time, an ended run once.

A run that has ended changes no more, and a project's sweeps may have thousands of them: to read them all at each look
would cost the tracker and the operator more with every trial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from finetune_operator.facts import RunFacts, RunState, SweepFacts
from finetune_operator.wandb import SweepNode, WandbClient, app_url

_LIVE = sorted(RunState.LIVE | RunState.PREEMPTED)
_READ_ALL_EVERY = 600.0
"""Seconds after which a sweep's runs are all read again: what somebody has changed by hand is seen at last."""


class SweepReader:
    """What is known of a project's sweeps.

    Args:
        client: Where they are read.
    """

    def __init__(self, client: WandbClient) -> None:
        self._client = client
        self._runs: dict[str, dict[str, RunFacts]] = {}
        self._read_all_at: dict[str, float] = {}

    def forget(self, sweep: str) -> None:
        """A sweep is no longer of interest."""
        self._runs.pop(sweep, None)
        self._read_all_at.pop(sweep, None)

    async def read(self, entity: str, project: str, sweeps: Sequence[str]) -> dict[str, SweepFacts | None]:
        """State and runs of several sweeps; None for one that does not exist.

        One request when no run has ended since the last look, two when some have.

        Raises:
            TrackerError: The tracker refused, or could not be reached; nothing of this look is kept.
        """
        read_at, now = datetime.now(UTC), asyncio.get_running_loop().time()
        filters = {"$and": [_any("sweep", sweeps), {"state": {"$in": _LIVE}}]}
        nodes, live = await self._client.read_sweeps(entity, project, sweeps, filters)
        present = {name: node for name, node in nodes.items() if node is not None}
        found = {name: dict(self._runs.get(name, {})) for name in present}
        ended = _ended(found, live)
        whole = {name for name in present if now - self._read_all_at.get(name, float("-inf")) >= _READ_ALL_EVERY}
        for name, runs in live.items():
            if name in found:
                found[name].update((run.id, _known(found[name].get(run.id), run)) for run in runs)
        whole |= {name for name, node in present.items() if node.run_count != len(found[name])}
        missing = [run for name, runs in ended.items() if name not in whole for run in runs]
        clauses = [{"sweep": name} for name in sorted(whole)] + [{"name": run} for run in missing]
        if clauses:
            read = await self._client.read_runs(entity, project, clauses[0] if len(clauses) == 1 else {"$or": clauses})
            for name in whole:
                found[name] = {}
                self._read_all_at[name] = now
            for name, runs in read.items():
                if name in found:
                    found[name].update((run.id, run) for run in runs)
        self._runs = {**{name: runs for name, runs in self._runs.items() if name not in nodes}, **found}
        page = f"{app_url(self._client.base_url)}/{entity}/{project}/sweeps"
        return {name: _facts(name, node, found.get(name, {}), page, read_at) for name, node in nodes.items()}


def _any(key: str, values: Sequence[str]) -> dict[str, Any]:
    return {"$or": [{key: value} for value in values]}


def _ended(known: dict[str, dict[str, RunFacts]], live: dict[str, list[RunFacts]]) -> dict[str, list[str]]:
    """Runs that were live at the last look and are no longer, by sweep."""
    alive = {run.id for runs in live.values() for run in runs}
    return {
        name: [run.id for run in runs.values() if run.state in _LIVE and run.id not in alive]
        for name, runs in known.items()
    }


def _known(old: RunFacts | None, new: RunFacts) -> RunFacts:
    """The older of two equal ones: what has not changed compares fast."""
    return old if old == new else new


def _facts(name: str, node: SweepNode | None, runs: dict[str, RunFacts], page: str, at: datetime) -> SweepFacts | None:
    if node is None:
        return None
    ordered = sorted(runs.values(), key=lambda run: (run.created_at, run.id))
    return SweepFacts(name, node.state, f"{page}/{name}", tuple(ordered), at)
