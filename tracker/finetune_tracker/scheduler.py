"""Sweeps at work: what agents are told at each heartbeat, early termination, and what silence means.

Hand-outs of one sweep happen one after the other (an asyncio lock), so `run_cap` is exact whatever the number of
agents; the engine's computing happens between two short transactions and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from finetune_tracker.auth import Viewer
from finetune_tracker.database import Database
from finetune_tracker.engine import Engine
from finetune_tracker.errors import NotFound, TrackerError
from finetune_tracker.history import dump, metric_values
from finetune_tracker.ids import global_id, random_name, readable_name
from finetune_tracker.lifecycle import (
    MOST_ISSUES,
    RunState,
    SweepState,
    Timeouts,
    Turn,
    state_after_silence,
    state_when_agent_drops,
    turn,
)
from finetune_tracker.settings import Settings

_log = logging.getLogger(__name__)
_FLYING = "runs.state IN ('pending', 'running', 'preempting')"

Command = dict[str, Any]
_EXIT: list[Command] = [{"type": "exit"}]


@dataclass(frozen=True)
class Beat:
    """What one heartbeat's bookkeeping found.

    Attributes:
        commands: The answer, or None if the agent is idle and asks for work.
    """

    sweep_id: int
    spec: dict[str, Any]
    commands: list[Command] | None


class Scheduler:
    """Serves the agents of all sweeps."""

    def __init__(self, database: Database, engine: Engine, settings: Settings) -> None:
        self._database = database
        self._engine = engine
        self._settings = settings
        self._limits = Timeouts(settings.run_timeout, settings.run_grace, settings.agent_timeout)
        self._booted_at = time.time()
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        # sweep -> run -> (offset its history starts at, next offset to read, values of the sweep's metric so far)
        self._metrics: defaultdict[int, dict[int, tuple[int, int, list[float]]]] = defaultdict(dict)
        self._stopping: dict[int, asyncio.Task[None]] = {}
        self._stopped_at: dict[int, float] = {}

    async def heartbeat(self, viewer: Viewer, agent_id: int, live: frozenset[str]) -> list[Command]:
        """One heartbeat of an agent; returns its commands.

        Args:
            viewer: Owner of the API key.
            agent_id: The agent's number.
            live: Names of the runs whose processes the agent sees alive.

        Raises:
            NotFound: The agent or its sweep was deleted: the SDK's agent ends.
        """
        beat = await self._database.write(lambda db: _beat(db, viewer, agent_id, live, time.time()))
        if "early_terminate" in beat.spec:
            self._terminate_early(beat.sweep_id, beat.spec)
        if beat.commands is not None:
            return beat.commands
        async with self._locks[beat.sweep_id]:
            return await self._hand_out(beat.sweep_id, agent_id)

    async def watch(self) -> None:
        """Look for silent runs and agents, until cancelled."""
        interval = max(0.1, min(5.0, min(self._limits.run, self._limits.grace, self._limits.agent) / 4))
        while True:
            await asyncio.sleep(interval)
            try:
                await self._database.write(lambda db: reap(db, self._booted_at, time.time(), self._limits))
            except Exception:
                _log.exception("looking for silent runs failed; it will be tried again")

    async def close(self) -> None:
        """Cancel what is still computing."""
        for task in self._stopping.values():
            task.cancel()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)

    async def _hand_out(self, sweep_id: int, agent_id: int) -> list[Command]:
        while True:
            found = await self._database.write(lambda db: _take_turn(db, sweep_id, agent_id, time.time()))
            if isinstance(found, list):
                if found == _EXIT:
                    self._metrics.pop(sweep_id, None)
                return found
            config = await self._engine.suggest(found, await self._runs(sweep_id, found, extremes=True))
            if config is None:
                await self._database.write(lambda db: _exhaust(db, sweep_id))
                continue
            return await self._database.write(
                lambda db, config=config: _create_run(db, sweep_id, agent_id, config, time.time())  # type: ignore[misc]
            )

    def _terminate_early(self, sweep_id: int, spec: dict[str, Any]) -> None:
        """Start a decision in the background; its stops are delivered with later heartbeats."""
        now = time.monotonic()
        task = self._stopping.get(sweep_id)
        if (task is None or task.done()) and now - self._stopped_at.get(sweep_id, 0.0) >= self._settings.stop_interval:
            self._stopped_at[sweep_id] = now
            self._stopping[sweep_id] = asyncio.create_task(self._decide_stops(sweep_id, spec))

    async def _decide_stops(self, sweep_id: int, spec: dict[str, Any]) -> None:
        try:
            names = await self._engine.stop(spec, await self._runs(sweep_id, spec, extremes=False))
            if names:
                await self._database.write(lambda db: _stop_runs(db, sweep_id, names, time.time()))
        except TrackerError as e:
            _log.warning("no early-termination decision for sweep %d: %s", sweep_id, e)

    async def _runs(self, sweep_id: int, spec: dict[str, Any], *, extremes: bool) -> list[dict[str, Any]]:
        """The sweep's runs as the engine wants them: with all values of its metric, or the least and the largest."""
        method, metric = spec.get("method"), (spec.get("metric") or {}).get("name")
        if extremes and method == "random":
            return []  # what was drawn before does not matter
        named = isinstance(metric, str) and '"' not in metric
        wanted = metric if named and (not extremes or method == "bayes") else None
        return await self._database.read(lambda db: self._read_runs(db, sweep_id, wanted, extremes))

    def _read_runs(
        self, db: sqlite3.Connection, sweep_id: int, metric: str | None, extremes: bool
    ) -> list[dict[str, Any]]:
        """Histories are read incrementally: only what was logged since the last time."""
        out = []
        # The parameters are those that were given out: user code may change its run's config.
        rows = db.execute(
            "SELECT id, name, state, coalesce(params, config) AS config, history_lines, history_start, "
            "json_extract(summary, ?) AS value FROM runs WHERE sweep_id = ? "
            "OR id IN (SELECT run_id FROM sweep_priors WHERE sweep_id = ?) ORDER BY id",
            (f'$."{metric}"', sweep_id, sweep_id),
        ).fetchall()
        known = self._metrics[sweep_id]
        for row in rows:
            values: list[float] = []
            if metric is not None:
                start, offset, values = known.get(row["id"], (0, 0, []))
                if start != row["history_start"] or offset > row["history_lines"]:  # it started over, or was rewound
                    offset, values = 0, []
                if offset < row["history_lines"]:
                    values = values + metric_values(db, row["id"], metric, offset)
                known[row["id"]] = (row["history_start"], row["history_lines"], values)
            picked = [min(values), max(values)] if extremes and values else values
            out.append(
                {
                    "name": row["name"],
                    "state": row["state"],
                    "config": json.loads(row["config"]),
                    "summaryMetrics": {} if row["value"] is None else {metric: row["value"]},
                    "history": [{metric: value} for value in picked],
                }
            )
        return out


def reap(db: sqlite3.Connection, booted_at: float, now: float, limits: Timeouts) -> None:
    """Give silent runs, agents and finished sweeps their states."""
    for run in db.execute(f"SELECT * FROM runs WHERE {_FLYING}").fetchall():
        state = state_after_silence(
            RunState(run["state"]), stopped=bool(run["stopped"]), last_seen=run["heartbeat_at"],
            left_at=run["left_at"], booted_at=booted_at, now=now, limits=limits,
        )  # fmt: skip
        if state is not None:
            db.execute("UPDATE runs SET state = ?, updated_at = ? WHERE id = ?", (state, now, run["id"]))
    if now - booted_at > limits.agent:
        db.execute(
            "UPDATE agents SET state = 'LOST' WHERE state = 'RUNNING' AND heartbeat_at < ?", (now - limits.agent,)
        )
    _take_back(db, now)
    # Only sweeps that have handed out their last run and wait for nobody; the index on runs makes this cheap.
    ending = (
        "SELECT * FROM sweeps WHERE state = 'RUNNING' AND (exhausted OR run_cap IS NOT NULL) AND NOT EXISTS "
        f"(SELECT 1 FROM runs WHERE sweep_id = sweeps.id AND ({_FLYING} OR runs.state = 'preempted'))"
    )
    for sweep in db.execute(ending).fetchall():
        if _turn(db, sweep, agent_id=-1) is Turn.EXIT:
            _finish(db, sweep["id"], now)


def _beat(db: sqlite3.Connection, viewer: Viewer, agent_id: int, live: frozenset[str], now: float) -> Beat:
    row = db.execute(
        "SELECT a.*, s.state AS sweep_state, s.spec, p.entity_id FROM agents a JOIN sweeps s ON s.id = a.sweep_id "
        "JOIN projects p ON p.id = s.project_id WHERE a.id = ?",
        (agent_id,),
    ).fetchone()
    if row is None or row["entity_id"] not in viewer.entities.values():
        raise NotFound("this agent's sweep does not exist any more")
    sweep_id, canceled = row["sweep_id"], row["sweep_state"] == SweepState.CANCELED
    db.execute("UPDATE agents SET heartbeat_at = ?, state = 'RUNNING' WHERE id = ?", (now, agent_id))
    db.execute("UPDATE sweeps SET heartbeat_at = ? WHERE id = ?", (now, sweep_id))
    stops: list[Command] = []
    for run in db.execute(f"SELECT * FROM runs WHERE agent_id = ? AND {_FLYING}", (agent_id,)).fetchall():
        if run["name"] in live and not canceled:
            db.execute("UPDATE runs SET seen = 1, left_at = NULL WHERE id = ?", (run["id"],))
            if run["stopped"]:
                stops.append({"type": "stop", "run_id": run["name"]})
        elif run["seen"] or canceled:
            state = state_when_agent_drops(RunState(run["state"]), stopped=bool(run["stopped"]))
            db.execute(
                "UPDATE runs SET state = coalesce(?, state), left_at = coalesce(left_at, ?), updated_at = ? "
                "WHERE id = ?",
                (_at_cancel(run) if canceled else state, now, now, run["id"]),
            )
    if canceled:
        return Beat(sweep_id, {}, _exit(db, agent_id))
    return Beat(sweep_id, json.loads(row["spec"]), stops if live else None)


def _at_cancel(run: sqlite3.Row) -> RunState | None:
    """A trial that never started is over at once; one that runs gets time for its last words."""
    return RunState.KILLED if run["state"] == RunState.PENDING else None


def _take_turn(db: sqlite3.Connection, sweep_id: int, agent_id: int, now: float) -> list[Command] | dict[str, Any]:
    """The agent's commands, or the sweep's configuration if the engine is to be asked for the next trial."""
    sweep = db.execute("SELECT * FROM sweeps WHERE id = ?", (sweep_id,)).fetchone()
    if sweep is None:
        raise NotFound("this agent's sweep does not exist any more")
    db.execute(
        "UPDATE runs SET state = 'failed', updated_at = ? "
        "WHERE agent_id = ? AND state = 'pending' AND NOT seen AND issued >= ?",
        (now, agent_id, MOST_ISSUES),
    )
    decision = _turn(db, sweep, agent_id)
    if decision is Turn.EXIT:
        _finish(db, sweep_id, now)
        return _exit(db, agent_id)
    if decision is Turn.WAIT:
        return []
    spec: dict[str, Any] = json.loads(sweep["spec"])
    if decision is Turn.SEARCH:
        return spec
    if decision is Turn.REISSUE:
        run = db.execute(
            "SELECT * FROM runs WHERE agent_id = ? AND state = 'pending' AND seen = 0 ORDER BY id", (agent_id,)
        ).fetchone()
        db.execute("UPDATE runs SET issued = issued + 1 WHERE id = ?", (run["id"],))
    else:
        run = db.execute(
            "SELECT * FROM runs WHERE sweep_id = ? AND state = 'preempted' ORDER BY id", (sweep_id,)
        ).fetchone()
        db.execute(
            "UPDATE runs SET state = 'pending', agent_id = ?, issued = 1, seen = 0, left_at = NULL, preempting = 0, "
            "exitcode = NULL, stopped = 0, updated_at = ?, heartbeat_at = ? WHERE id = ?",
            (agent_id, now, now, run["id"]),
        )
    kind = "resume" if run["started"] else "run"
    return [_command(kind, run["name"], json.loads(run["params"] or "{}"), spec)]


def _turn(db: sqlite3.Connection, sweep: sqlite3.Row, agent_id: int) -> Turn:
    counts = db.execute(
        "SELECT count(*) FILTER (WHERE NOT prior) AS counted, "
        f"count(*) FILTER (WHERE {_FLYING}) AS in_flight, "
        "count(*) FILTER (WHERE state = 'preempted') AS preempted, "
        "count(*) FILTER (WHERE state = 'pending' AND agent_id = ? AND NOT seen) AS mine FROM runs WHERE sweep_id = ?",
        (agent_id, sweep["id"]),
    ).fetchone()
    return turn(
        SweepState(sweep["state"]), has_pending=bool(counts["mine"]), preempted=counts["preempted"],
        counted=counts["counted"], in_flight=counts["in_flight"], run_cap=sweep["run_cap"],
        exhausted=bool(sweep["exhausted"]),
    )  # fmt: skip


def _create_run(
    db: sqlite3.Connection, sweep_id: int, agent_id: int, config: dict[str, Any], now: float
) -> list[Command]:
    sweep = db.execute("SELECT * FROM sweeps WHERE id = ?", (sweep_id,)).fetchone()
    if sweep is None or sweep["state"] != SweepState.RUNNING:  # paused or stopped while the engine was computing
        return []
    number = db.execute("SELECT count(*) FROM runs WHERE sweep_id = ?", (sweep_id,)).fetchone()[0] + 1
    name = random_name()
    db.execute(
        "INSERT INTO runs (project_id, name, display_name, state, config, params, sweep_id, agent_id, user_id, "
        "created_at, updated_at, heartbeat_at) VALUES (?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?)",
        (sweep["project_id"], name, readable_name(f"sweep-{number}"), dump(config), dump(config), sweep_id, agent_id,
         sweep["user_id"], now, now, now),
    )  # fmt: skip
    return [_command("run", name, config, json.loads(sweep["spec"]))]


def _exhaust(db: sqlite3.Connection, sweep_id: int) -> None:
    db.execute("UPDATE sweeps SET exhausted = 1 WHERE id = ?", (sweep_id,))


def _stop_runs(db: sqlite3.Connection, sweep_id: int, names: list[str], now: float) -> None:
    db.executemany(
        "UPDATE runs SET stopped = 1, updated_at = ? WHERE sweep_id = ? AND name = ? AND state = 'running'",
        [(now, sweep_id, name) for name in names],
    )


def _take_back(db: sqlite3.Connection, now: float) -> None:
    """Runs that a lost agent never started: their parameters go back to the search, preempted ones wait again."""
    lost = db.execute(
        "SELECT r.id, r.sweep_id, r.started FROM runs r JOIN agents a ON a.id = r.agent_id "
        "WHERE r.state = 'pending' AND a.state = 'LOST'"
    ).fetchall()
    for run in lost:
        if run["started"]:
            db.execute("UPDATE runs SET state = 'preempted', updated_at = ? WHERE id = ?", (now, run["id"]))
        else:
            db.execute("DELETE FROM runs WHERE id = ?", (run["id"],))
            db.execute("UPDATE sweeps SET exhausted = 0 WHERE id = ?", (run["sweep_id"],))


def _finish(db: sqlite3.Connection, sweep_id: int, now: float) -> None:
    db.execute(
        "UPDATE sweeps SET state = 'FINISHED', updated_at = ? WHERE id = ? AND state = 'RUNNING'", (now, sweep_id)
    )


def _exit(db: sqlite3.Connection, agent_id: int) -> list[Command]:
    db.execute("UPDATE agents SET state = 'FINISHED' WHERE id = ?", (agent_id,))
    return _EXIT


def _command(kind: str, run: str, params: dict[str, Any], spec: dict[str, Any]) -> Command:
    return {"type": kind, "run_id": run, "args": params, "program": spec.get("program")}


def agent_answer(agent_id: int, commands: list[Command]) -> dict[str, Any]:
    """The payload of `agentHeartbeat`: commands are a JSON string."""
    return {"agent": {"id": global_id("Agent", agent_id)}, "commands": dump(commands)}
