"""Mutations of sweeps and agents."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

import yaml

from finetune_tracker import filters
from finetune_tracker.context import Context
from finetune_tracker.errors import BadRequest, NotFound
from finetune_tracker.ids import global_id, parse_global_id, random_name
from finetune_tracker.lifecycle import SweepState
from finetune_tracker.mutations.projects import ensure_project
from finetune_tracker.views.sweep import Sweep, find_sweep


@dataclass(frozen=True)
class Spec:
    """A sweep configuration that the engine has checked.

    Attributes:
        text: The YAML as the client sent it.
        values: The same, parsed.
        warnings: What the engine's schema objects to.
        grid_size: Points of a finite grid, else None.
    """

    text: str
    values: dict[str, Any]
    warnings: list[str]
    grid_size: int | None

    @property
    def run_cap(self) -> int | None:
        """The most trials to hand out."""
        cap = self.values.get("run_cap")
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
            raise BadRequest(f"run_cap must be a whole number of at least 1, not {cap!r}")
        return cap


def parse_spec(text: object) -> dict[str, Any]:
    """The sweep configuration in a YAML text.

    Raises:
        BadRequest: Not YAML, or not a configuration with method and parameters.
    """
    try:
        value = yaml.safe_load(str(text))
    except (yaml.YAMLError, RecursionError) as e:
        raise BadRequest(f"the sweep configuration is not YAML: {e}") from e
    if not isinstance(value, dict) or not isinstance(value.get("parameters"), dict):
        raise BadRequest("the sweep configuration needs `method` and `parameters`")
    for key in ("metric", "early_terminate"):
        if not isinstance(value.get(key, {}), dict):
            raise BadRequest(f"the sweep configuration's `{key}` must be an object")
    plain: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return plain


def upsert_sweep(ctx: Context, given: dict[str, Any], spec: Spec | None) -> dict[str, Any]:
    """Create a sweep from `spec`, or change the configuration, name or state of the one with `id`."""
    if given.get("id"):
        row = _change(ctx, given, spec)
    elif spec is None:
        raise BadRequest("a new sweep needs a config")
    else:
        row = _create(ctx, given, spec)
    return {"sweep": Sweep(ctx, row), "configValidationWarnings": spec.warnings if spec else []}


def create_agent(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Register an agent of a sweep."""
    project = ctx.require_project(given.get("entity_name"), given.get("project_name"))
    sweep = find_sweep(ctx, project["id"], given.get("sweep"))
    if sweep is None:
        raise NotFound(f"sweep {given.get('sweep')!r} not found in project {project['name']!r}")
    host = str(given.get("host") or "unknown")[:253]
    cursor = ctx.db.execute(
        "INSERT INTO agents (sweep_id, name, host, state, created_at, heartbeat_at) VALUES (?, ?, ?, 'RUNNING', ?, ?)",
        (sweep["id"], f"{host}-{random_name(6)}", host, ctx.now, ctx.now),
    )
    return {"agent": {"id": global_id("Agent", cursor.lastrowid or 0)}}


def _create(ctx: Context, given: dict[str, Any], spec: Spec) -> sqlite3.Row:
    project = ensure_project(ctx, given.get("entity_name"), given.get("project_name"))
    values = spec.values
    cursor = ctx.db.execute(
        "INSERT INTO sweeps (project_id, name, display_name, description, state, config, spec, method, run_cap, "
        "grid_size, controller, scheduler, user_id, created_at, updated_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (project["id"], random_name(), given.get("display_name") or values.get("name"),
         given.get("description") or values.get("description"), _state(given.get("state") or "RUNNING"), spec.text,
         json.dumps(values), str(values.get("method")), spec.run_cap, spec.grid_size, given.get("controller"),
         given.get("scheduler") or given.get("launch_scheduler"), ctx.viewer.id, ctx.now, ctx.now),
    )  # fmt: skip
    if given.get("prior_runs_filters"):
        condition, params = filters.where(filters.parse_filters(given["prior_runs_filters"]), filters.RUNS)
        # A run of another sweep stays with it, and is an observation for this one's search all the same.
        ctx.db.execute(
            "INSERT INTO sweep_priors (sweep_id, run_id) SELECT ?, id FROM runs "
            f"WHERE project_id = ? AND sweep_id IS NOT NULL AND {condition}",
            (cursor.lastrowid, project["id"], *params),
        )
        ctx.db.execute(
            "UPDATE runs SET sweep_id = ?, prior = 1, updated_at = ? "
            f"WHERE project_id = ? AND sweep_id IS NULL AND {condition}",
            (cursor.lastrowid, ctx.now, project["id"], *params),
        )
    return _row(ctx, cursor.lastrowid)


def _change(ctx: Context, given: dict[str, Any], spec: Spec | None) -> sqlite3.Row:
    row = _writable(ctx, given)
    changes: dict[str, Any] = {"updated_at": ctx.now}
    changes |= {k: given[k] for k in ("display_name", "description") if given.get(k) is not None}
    if spec is not None:
        changes |= {"config": spec.text, "spec": json.dumps(spec.values), "method": str(spec.values.get("method"))}
        changes |= {"run_cap": spec.run_cap, "grid_size": spec.grid_size, "exhausted": 0}
    if given.get("state"):
        changes["state"] = state = _state(given["state"])
        if state == SweepState.CANCELED:
            ctx.db.execute(
                "UPDATE runs SET stopped = 1, updated_at = ? WHERE sweep_id = ? "
                "AND state IN ('pending', 'running', 'preempting')",
                (ctx.now, row["id"]),
            )
    assignments = ", ".join(f"{column} = ?" for column in changes)
    ctx.db.execute(f"UPDATE sweeps SET {assignments} WHERE id = ?", (*changes.values(), row["id"]))
    return _row(ctx, row["id"])


def _writable(ctx: Context, given: dict[str, Any]) -> sqlite3.Row:
    """The sweep by its global id, or by its short name within the given project."""
    try:
        row = ctx.one("SELECT * FROM sweeps WHERE id = ?", parse_global_id("Sweep", given["id"]))
    except BadRequest:
        project = ctx.require_project(given.get("entity_name"), given.get("project_name"))
        row = ctx.one("SELECT * FROM sweeps WHERE project_id = ? AND name = ?", project["id"], given["id"])
    if row is None or not ctx.owns_project(row["project_id"]):
        raise NotFound("no such sweep")
    return row


def _state(text: object) -> SweepState:
    wanted = str(text).upper()
    if wanted == "PENDING":
        return SweepState.RUNNING  # a sweep here runs from the start: the CLI cannot pause a pending one
    try:
        return SweepState(wanted)
    except ValueError as e:
        raise BadRequest(f"sweep state must be one of {', '.join(SweepState)}, not {text!r}") from e


def _row(ctx: Context, number: int | None) -> sqlite3.Row:
    row = ctx.one("SELECT * FROM sweeps WHERE id = ?", number)
    assert row is not None
    return row
