"""Mutations of runs."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any
from urllib.parse import quote

from finetune_tracker.blobs import check_file_name
from finetune_tracker.context import Context
from finetune_tracker.errors import BadRequest, NotFound
from finetune_tracker.history import dump, parse_object
from finetune_tracker.ids import global_id, parse_global_id, random_name, readable_name
from finetune_tracker.lifecycle import IN_FLIGHT, RunState, SweepState
from finetune_tracker.mutations.projects import ensure_project
from finetune_tracker.views.run import Run
from finetune_tracker.views.sweep import find_sweep

_NAME = re.compile(r"[^/\\#?%:\x00-\x1f]{1,128}")
# input field -> column, for what is stored as it comes
_TEXTS = {
    "display_name": "display_name",
    "description": "description",
    "notes": "notes",
    "group_name": "group_name",
    "job_type": "job_type",
    "commit": "commit_hash",
    "job_repo": "repo",
    "host": "host",
    "job_program": "program",
}
_RESTART = {"state": RunState.RUNNING, "exitcode": None, "stopped": 0, "preempting": 0, "left_at": None, "restarted": 1}


def upsert_run(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Create, restart or change a run (W&B's UpsertBucket).

    Without an `id` this is a process that starts or continues the run, so an ended run is running again.
    """
    changes = _changes(given)
    if given.get("id"):
        row, inserted = _writable_run(ctx, given["id"]), False
    else:
        project = ensure_project(ctx, given.get("entity_name"), given.get("model_name"))
        row, inserted = _ensure_run(ctx, project, given)
        changes = _at_start(ctx, row, given) | changes
    changes |= {"updated_at": ctx.now}
    assignments = ", ".join(f"{column} = ?" for column in changes)
    ctx.db.execute(f"UPDATE runs SET {assignments} WHERE id = ?", (*changes.values(), row["id"]))
    return {"bucket": Run(ctx, _row(ctx, row["id"])), "inserted": inserted}


def create_run_files(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Links to upload files to."""
    row = _named_run(ctx, given)
    names = [check_file_name(name) for name in given.get("files") or ()]
    files = [
        {"name": n, "uploadUrl": ctx.link(f"/upload/run/{row['id']}/{quote(n, safe='/')}", f"put-run:{row['id']}:{n}")}
        for n in names
    ]
    return {"runID": global_id("Run", row["id"]), "uploadHeaders": [], "files": files}


def mark_run_files_uploaded(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Nothing to do: an upload is complete once its PUT was answered."""
    _named_run(ctx, given)
    return {"success": True}


def delete_files(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Delete files of runs."""
    for number in [parse_global_id("File", i) for i in given.get("files") or ()]:
        row = ctx.one("SELECT r.project_id FROM run_files f JOIN runs r ON r.id = f.run_id WHERE f.id = ?", number)
        if row is None or not ctx.owns_project(row["project_id"]):
            raise NotFound("no such file")
        ctx.db.execute("DELETE FROM run_files WHERE id = ?", (number,))
    return {"success": True}


def delete_run(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Delete a run, on request with the artifacts it logged."""
    row = _writable_run(ctx, given.get("id"))
    if given.get("delete_artifacts"):
        ctx.db.execute("DELETE FROM artifacts WHERE run_id = ?", (row["id"],))
    ctx.db.execute("DELETE FROM runs WHERE id = ?", (row["id"],))
    return {"success": True, "clientMutationId": given.get("client_mutation_id")}


def stop_run(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Ask a run to stop: it learns with its next file-stream post, its agent with the next heartbeat."""
    row = _writable_run(ctx, given.get("id"))
    if row["state"] in IN_FLIGHT:
        ctx.db.execute("UPDATE runs SET stopped = 1, updated_at = ? WHERE id = ?", (ctx.now, row["id"]))
    return {"success": True, "clientMutationId": given.get("client_mutation_id")}


def update_run_state(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Requeue or fail a run by hand; runs of sweeps belong to their sweep."""
    row = _writable_run(ctx, given.get("id"))
    allowed = {
        "pending": {RunState.RUNNING, RunState.FAILED, RunState.CRASHED, RunState.PREEMPTED},
        "failed": {RunState.PENDING, RunState.RUNNING},
    }
    wanted = given.get("state")
    if wanted not in allowed or row["state"] not in allowed[wanted] or row["sweep_id"] is not None:
        raise BadRequest(f"a run in state {row['state']} cannot be set to {wanted!r}")
    ctx.db.execute("UPDATE runs SET state = ?, updated_at = ? WHERE id = ?", (wanted, ctx.now, row["id"]))
    return {"success": True}


def rewind_run(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Drop the history after a step, so that a run can continue from there."""
    row = _named_run(ctx, given)
    if given.get("metric_name") != "_step":
        raise BadRequest("runs can be rewound by _step only")
    step = int(given.get("metric_value") or 0)
    ctx.db.execute("DELETE FROM history WHERE run_id = ? AND step > ?", (row["id"], step))
    left = ctx.one("SELECT max(offset) + 1 AS lines, max(step) AS step FROM history WHERE run_id = ?", row["id"])
    assert left is not None
    ctx.db.execute(
        "UPDATE runs SET history_lines = ?, last_step = ?, updated_at = ? WHERE id = ?",
        (left["lines"] or 0, -1 if left["step"] is None else left["step"], ctx.now, row["id"]),
    )
    return {"rewoundRun": Run(ctx, _row(ctx, row["id"]))}


def alert(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Keep an alert with its run."""
    row = _named_run(ctx, given)
    ctx.db.execute(
        "INSERT INTO alerts (run_id, title, text, severity, created_at) VALUES (?, ?, ?, ?, ?)",
        (row["id"], str(given.get("title"))[:1000], str(given.get("text"))[:10_000],
         str(given.get("severity") or "INFO")[:20], ctx.now),
    )  # fmt: skip
    return {"success": True}


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {c: str(given[k]) for k, c in _TEXTS.items() if given.get(k) is not None}
    if given.get("tags") is not None:
        changes["tags"] = json.dumps(list(dict.fromkeys(str(t) for t in given["tags"])))
    for key, column in (("config", "config"), ("summary_metrics", "summary")):
        if given.get(key) is not None:
            changes[column] = dump(parse_object(given[key], key))
    return changes


def _ensure_run(ctx: Context, project: sqlite3.Row, given: dict[str, Any]) -> tuple[sqlite3.Row, bool]:
    name = given.get("name") or random_name()
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest(f"run id {str(name)[:80]!r} needs 1 to 128 characters without / \\ # ? % :")
    row = ctx.one("SELECT * FROM runs WHERE project_id = ? AND name = ?", project["id"], name)
    if row is not None:
        return row, False
    number = ctx.count("SELECT count(*) FROM runs WHERE project_id = ?", project["id"]) + 1
    cursor = ctx.db.execute(
        "INSERT INTO runs (project_id, name, display_name, state, user_id, created_at, updated_at, heartbeat_at) "
        "VALUES (?, ?, ?, 'running', ?, ?, ?, ?)",
        (project["id"], name, readable_name(str(number)), ctx.viewer.id, ctx.now, ctx.now, ctx.now),
    )
    return _row(ctx, cursor.lastrowid), True


def _at_start(ctx: Context, row: sqlite3.Row, given: dict[str, Any]) -> dict[str, Any]:
    """What a starting process changes about its run."""
    changes: dict[str, Any] = {"heartbeat_at": ctx.now}
    if given.get("state") in [s.value for s in RunState]:
        changes["state"] = given["state"]
    elif row["state"] in IN_FLIGHT:
        # Still in flight: a first start, a late change of the config, or a restart after a crash not yet noticed.
        changes |= {"restarted": 1} | ({"state": RunState.RUNNING} if row["state"] == RunState.PENDING else {})
    else:
        changes |= _RESTART
    if given.get("sweep"):
        changes |= _join_sweep(ctx, row, str(given["sweep"]))
    return changes


def _join_sweep(ctx: Context, row: sqlite3.Row, name: str) -> dict[str, Any]:
    sweep = find_sweep(ctx, row["project_id"], name)
    if sweep is None:
        return {}
    if row["sweep_id"] == sweep["id"]:
        return {"stopped": 1} if sweep["state"] == SweepState.CANCELED else {}
    # Not handed out here, or taken back in the meantime because its agent was silent. It may join while there is room.
    used = ctx.count("SELECT count(*) FROM runs WHERE sweep_id = ? AND NOT prior", sweep["id"])
    full = sweep["run_cap"] is not None and used >= sweep["run_cap"]
    return {"sweep_id": sweep["id"], "stopped": int(full or sweep["state"] == SweepState.CANCELED)}


def _writable_run(ctx: Context, text: object) -> sqlite3.Row:
    row = ctx.one("SELECT * FROM runs WHERE id = ?", parse_global_id("Run", text))
    if row is None or not ctx.owns_project(row["project_id"]):
        raise NotFound("no such run")
    return row


def _named_run(ctx: Context, given: dict[str, Any]) -> sqlite3.Row:
    project = ctx.require_project(given.get("entity_name"), given.get("project_name"))
    row = ctx.one("SELECT * FROM runs WHERE project_id = ? AND name = ?", project["id"], given.get("run_name"))
    if row is None:
        raise NotFound(f"run {given.get('run_name')!r} not found in project {project['name']!r}")
    return row


def _row(ctx: Context, number: int | None) -> sqlite3.Row:
    row = ctx.one("SELECT * FROM runs WHERE id = ?", number)
    assert row is not None
    return row
