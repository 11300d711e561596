"""Reading a run's history, system metrics and console lines."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from finetune_tracker.errors import BadRequest

LARGEST_SAMPLE = 100_000


def samples(db: sqlite3.Connection, run: int, table: str, lines: int, wanted: int) -> list[str]:
    """At most `wanted` JSON lines of `history` or `events`, evenly spaced; the newest is always among them."""
    stride = max(1, -(-lines // max(1, wanted)))
    rows = db.execute(
        f"SELECT line FROM {table} WHERE run_id = ? AND (? - 1 - offset) % ? = 0 ORDER BY offset",
        (run, lines, stride),
    )
    return [row["line"] for row in rows]


def steps(db: sqlite3.Connection, run: int, low: int, high: int, limit: int) -> list[str]:
    """JSON lines with low <= step < high."""
    rows = db.execute(
        "SELECT line FROM history WHERE run_id = ? AND step >= ? AND step < ? ORDER BY step, offset LIMIT ?",
        (run, low, high, min(limit, LARGEST_SAMPLE)),
    )
    return [row["line"] for row in rows]


def sampled_keys(db: sqlite3.Connection, run: int, spec: str) -> list[dict[str, Any]]:
    """Rows that have all keys of a sampling spec `{keys, minStep, maxStep, samples}` (maxStep inclusive).

    Raises:
        BadRequest: The spec is malformed.
    """
    wish = parse_object(spec, "specs")
    keys = wish.get("keys") or []
    if not isinstance(keys, list) or len(keys) > 200 or any('"' in str(k) for k in keys):
        raise BadRequest("specs: keys must be a list of at most 200 names")
    wanted = max(1, min(int(wish.get("samples") or 500), LARGEST_SAMPLE))
    low, high = (int(wish[k]) if wish.get(k) is not None else d for k, d in (("minStep", -1), ("maxStep", 2**62)))
    condition = "run_id = ? AND step >= ? AND step <= ?"
    params: list[Any] = [run, max(low, -(2**62)), min(high, 2**62)]
    for key in keys:
        condition += " AND json_extract(line, ?) IS NOT NULL"
        params.append(f'$."{key}"')
    found = db.execute(f"SELECT offset FROM history WHERE {condition} ORDER BY step, offset", params).fetchall()
    stride = max(1, -(-len(found) // wanted))
    picked = []
    for row in found[(len(found) - 1) % stride :: stride] if found else []:
        (line,) = db.execute(
            "SELECT line FROM history WHERE run_id = ? AND offset = ?", (run, row["offset"])
        ).fetchone()
        picked.append(json.loads(line))
    return [{k: row[k] for k in (*keys, "_step") if k in row} for row in picked] if keys else picked


def tail(db: sqlite3.Connection, run: int, table: str, count: int = 1) -> str:
    """The newest lines as the JSON list of JSON strings that a resuming SDK reads."""
    rows = db.execute(
        f"SELECT line FROM {table} WHERE run_id = ? ORDER BY offset DESC LIMIT ?",
        (run, count),
    )
    return json.dumps([row["line"] for row in rows][::-1])


def metric_values(db: sqlite3.Connection, run: int, metric: str, start: int) -> list[float]:
    """Numbers logged under `metric` from offset `start` on."""
    rows = db.execute(
        "SELECT json_extract(line, ?) AS value FROM history WHERE run_id = ? AND offset >= ? ORDER BY offset",
        (f'$."{metric}"', run, start),
    )
    return [float(row["value"]) for row in rows if isinstance(row["value"], int | float)]


def parse_object(text: object, name: str) -> dict[str, Any]:
    """The object in a JSONString argument.

    Raises:
        BadRequest: It is something else; the message names the argument.
    """
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as e:
        raise BadRequest(f"{name} must be JSON") from e
    if not isinstance(value, dict):
        raise BadRequest(f"{name} must be a JSON object")
    return value


def finite(value: Any) -> Any:
    """The value with NaN and infinities as strings: the SDK's JSON parsers refuse the bare tokens."""
    if isinstance(value, float) and not abs(value) < float("inf"):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return value


def dump(value: Any) -> str:
    """Compact JSON without bare NaN or infinities."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), separators=(",", ":"))
