"""The file stream: how a run's history, summary, system metrics and console lines arrive.

Every line has an offset, so writing is idempotent and a retry after a lost answer changes nothing. A 4xx here would
silence the run for good ("Fatal error while uploading data"), so whatever is odd in a line is stored as it is or left
out, never refused.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from dataclasses import dataclass, field
from typing import Any

from finetune_tracker.errors import BadRequest, Forbidden, NotFound, TooLarge
from finetune_tracker.history import dump
from finetune_tracker.lifecycle import ENDED, RunState, state_at_exit

_STREAMS = {"wandb-history.jsonl": "history", "wandb-events.jsonl": "events", "output.log": "logs"}
_COUNTERS = {"history": "history_lines", "events": "events_lines", "logs": "log_lines"}
_MAX_OFFSET = 2**40
_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "map", type(None): "nil"}


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of one stream from `offset` on; of `history` with the step of each line."""

    table: str
    offset: int
    lines: list[str]
    steps: list[int | None] = field(default_factory=list)
    keys: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Post:
    """One parsed request.

    Attributes:
        summary: The whole summary as JSON, None if unchanged.
        system: The newest system metrics as JSON, None if there are none.
        exitcode: Set by the last post of a run.
    """

    chunks: list[Chunk]
    summary: str | None = None
    system: str | None = None
    preempting: bool = False
    exitcode: int | None = None


def decompress(body: bytes, encoding: str | None, limit: int) -> bytes:
    """The body, gunzipped if `encoding` says so.

    Raises:
        TooLarge: More than `limit` bytes.
        BadRequest: Not gzip.
    """
    if encoding == "gzip":
        try:
            unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            body = unpacker.decompress(body, limit + 1)
        except zlib.error as e:
            raise BadRequest("the body is not gzip") from e
    if len(body) > limit:
        raise TooLarge(f"the body exceeds {limit} bytes")
    return body


def parse_post(body: bytes) -> Post:
    """Parse a request, leniently line by line.

    Raises:
        BadRequest: The body as a whole is not a JSON object.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise BadRequest("the body must be JSON") from e
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object")
    files = data.get("files")
    chunks: list[Chunk] = []
    summary = system = None
    for name, part in files.items() if isinstance(files, dict) else ():
        content = part.get("content") if isinstance(part, dict) else None
        lines = [_encodable(line) for line in content if isinstance(line, str)] if isinstance(content, list) else []
        if not lines:
            continue
        if name == "wandb-summary.json":
            summary = _object(lines[-1])
        elif name in _STREAMS:
            chunks.append(_chunk(_STREAMS[name], part.get("offset"), lines))
            system = chunks[-1].lines[-1] if name == "wandb-events.jsonl" else system
    exitcode = None
    if data.get("complete"):
        given = data.get("exitcode")
        exitcode = given if isinstance(given, int) and abs(given) < 2**31 else 1
    return Post(chunks, summary, system, bool(data.get("preempting")), exitcode)


def find_run(db: sqlite3.Connection, entity: str, project: str, run: str, entities: dict[str, int]) -> int:
    """The number of a run.

    Raises:
        Forbidden: The entity is not the caller's.
        NotFound: No such run: it was deleted, and its process may stop uploading.
    """
    owner = entities.get(entity)
    if owner is None:
        raise Forbidden(f"permission denied: entity {entity!r}")
    row = db.execute(
        "SELECT r.id FROM runs r JOIN projects p ON p.id = r.project_id "
        "WHERE p.entity_id = ? AND p.name = ? AND r.name = ?",
        (owner, project, run),
    ).fetchone()
    if row is None:
        raise NotFound(f"run {entity}/{project}/{run} not found")
    return int(row["id"])


def apply(db: sqlite3.Connection, run_id: int, post: Post, now: float) -> bool:
    """Store a post; returns whether the run should stop."""
    row = db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
    changes: dict[str, Any] = {"heartbeat_at": now, "updated_at": now, "left_at": None, "started": 1}
    for chunk in post.chunks:
        _store(db, row, chunk, changes)
    if post.summary is not None:
        changes["summary"] = post.summary
    if post.system is not None:
        changes["system"] = post.system
    preempting = bool(post.preempting or row["preempting"])
    if post.exitcode is not None:
        state = state_at_exit(post.exitcode, stopped=bool(row["stopped"]), preempting=preempting)
        changes |= {"state": state, "exitcode": post.exitcode}
    elif row["exitcode"] is None or row["state"] not in ENDED:
        # Also a run that was taken for crashed comes back to life with its next post.
        changes |= {"state": RunState.PREEMPTING if preempting else RunState.RUNNING, "preempting": int(preempting)}
    assignments = ", ".join(f"{column} = ?" for column in changes)
    db.execute(f"UPDATE runs SET {assignments} WHERE id = ?", (*changes.values(), run_id))
    return bool(row["stopped"])


def _encodable(line: str) -> str:
    """The line without lone surrogates, which no encoding can store."""
    return line if line.isascii() else line.encode("utf-8", "replace").decode()


def _chunk(table: str, offset: object, lines: list[str]) -> Chunk:
    start = offset if isinstance(offset, int) and 0 <= offset < _MAX_OFFSET else 0
    if table == "logs":
        return Chunk(table, start, lines)
    kept, steps, keys = [], [], []
    for line in lines:
        value = _parse_line(line)
        step = value.get("_step")
        steps.append(step if isinstance(step, int) and 0 <= step < 2**62 else None)
        keys.append({k: _TYPES.get(type(v), "other") for k, v in value.items()} if table == "history" else {})
        # NaN and Infinity are no JSON: SQLite's functions and Go's parser would refuse the line.
        kept.append(dump(value) if "_raw" in value or "NaN" in line or "Infinity" in line else line)
    return Chunk(table, start, kept, steps, keys)


def _parse_line(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = {"_raw": line}
    return value if isinstance(value, dict) else {"_raw": line}


def _object(text: str) -> str | None:
    value = _parse_line(text)
    return None if "_raw" in value else dump(value)


def _store(db: sqlite3.Connection, row: sqlite3.Row, chunk: Chunk, changes: dict[str, Any]) -> None:
    counter = _COUNTERS[chunk.table]
    known, end = row[counter], chunk.offset + len(chunk.lines)
    if chunk.table == "history":
        fresh = bool(row["restarted"] and chunk.offset and chunk.steps[0] == 0)
        if fresh:
            # The same run id started over without resume. The SDK goes on at the offset it was told, but its steps
            # begin anew: what the former attempt logged is replaced.
            db.execute("DELETE FROM history WHERE run_id = ? AND offset < ?", (row["id"], chunk.offset))
            changes |= {"restarted": 0, "history_start": chunk.offset}
        _count_keys(row, chunk, known, fresh, changes)
        steps = [chunk.offset + i if step is None else step for i, step in enumerate(chunk.steps)]
        db.executemany(
            "INSERT OR REPLACE INTO history (run_id, offset, step, line) VALUES (?, ?, ?, ?)",
            (
                (row["id"], chunk.offset + i, s, line)
                for i, (s, line) in enumerate(zip(steps, chunk.lines, strict=True))
            ),
        )
        changes["last_step"] = steps[-1] if fresh else max(steps[-1], row["last_step"])
    else:
        db.executemany(
            f"INSERT OR REPLACE INTO {chunk.table} (run_id, offset, line) VALUES (?, ?, ?)",
            ((row["id"], chunk.offset + i, line) for i, line in enumerate(chunk.lines)),
        )
    changes[counter] = max(end, known)


def _count_keys(row: sqlite3.Row, chunk: Chunk, known: int, fresh: bool, changes: dict[str, Any]) -> None:
    counts: dict[str, dict[str, int]] = {} if fresh else json.loads(row["history_keys"])
    for keys in chunk.keys[max(0, known - chunk.offset) :]:
        for key, kind in keys.items():
            types = counts.setdefault(key, {})
            types[kind] = types.get(kind, 0) + 1
    changes["history_keys"] = dump(counts)
