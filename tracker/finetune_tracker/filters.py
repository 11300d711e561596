"""W&B's Mongo-like filters and order keys, compiled to SQL.

`{"$and": [{"state": "running"}, {"config.lr": {"$lt": 0.1}}]}` becomes a WHERE clause with parameters. Run configs and
summaries are JSON columns, so SQLite evaluates the conditions without a row ever reaching Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from finetune_tracker.errors import BadRequest
from finetune_tracker.graphql import snake_case
from finetune_tracker.ids import parse_timestamp

Sql = tuple[str, list[Any]]

_COMPARISONS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_MAX_DEPTH = 20


@dataclass(frozen=True)
class Table:
    """What may be filtered and sorted by.

    Attributes:
        columns: Key -> SQL expression.
        times: Keys whose values are times.
        documents: Key prefix -> (JSON column, whether values are wrapped as `{"value": ...}`).
        lists: Key -> JSON list column; a comparison holds if it holds for any element.
    """

    columns: dict[str, str]
    times: frozenset[str] = frozenset()
    documents: dict[str, tuple[str, bool]] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)


RUNS = Table(
    columns={
        "name": "runs.name",
        "display_name": "runs.display_name",
        "state": "runs.state",
        "sweep": "(SELECT s.name FROM sweeps s WHERE s.id = runs.sweep_id)",
        "group": "runs.group_name",
        "group_name": "runs.group_name",
        "job_type": "runs.job_type",
        "description": "runs.description",
        "notes": "runs.notes",
        "host": "runs.host",
        "commit": "runs.commit_hash",
        "username": "(SELECT u.name FROM users u WHERE u.id = runs.user_id)",
        "created_at": "runs.created_at",
        "updated_at": "runs.updated_at",
        "heartbeat_at": "runs.heartbeat_at",
        "duration": "(runs.heartbeat_at - runs.created_at)",
        "history_line_count": "runs.history_lines",
        "exitcode": "runs.exitcode",
    },
    times=frozenset({"created_at", "updated_at", "heartbeat_at"}),
    documents={
        "config": ("runs.config", True),
        "summary_metrics": ("runs.summary", False),
        "summary": ("runs.summary", False),
    },
    lists={"tags": "runs.tags"},
)
SWEEPS = Table(
    columns={
        "name": "sweeps.name",
        "display_name": "sweeps.display_name",
        "state": "sweeps.state",
        "method": "sweeps.method",
        "description": "sweeps.description",
        "created_at": "sweeps.created_at",
        "updated_at": "sweeps.updated_at",
    },
    times=frozenset({"created_at", "updated_at"}),
)
COLLECTIONS = Table(
    columns={
        "name": "collections.name",
        "description": "collections.description",
        "created_at": "collections.created_at",
        "updated_at": "collections.updated_at",
        "type": "(SELECT t.name FROM artifact_types t WHERE t.id = collections.type_id)",
    },
    times=frozenset({"created_at", "updated_at"}),
    lists={
        "tag": "(SELECT json_group_array(g.name) FROM collection_tags g WHERE g.collection_id = collections.id)",
        "tags": "(SELECT json_group_array(g.name) FROM collection_tags g WHERE g.collection_id = collections.id)",
    },
)
MEMBERSHIPS = Table(
    columns={
        "version_index": "memberships.version",
        "version": "('v' || memberships.version)",
        "digest": "artifacts.digest",
        "state": "artifacts.state",
        "description": "artifacts.description",
        "created_at": "memberships.created_at",
        "updated_at": "artifacts.updated_at",
    },
    times=frozenset({"created_at", "updated_at"}),
    documents={"metadata": ("coalesce(artifacts.metadata, '{}')", False)},
    lists={
        "tag": "(SELECT json_group_array(g.name) FROM artifact_tags g WHERE g.artifact_id = artifacts.id)",
        "alias": "(SELECT json_group_array(a.alias) FROM aliases a WHERE a.membership_id = memberships.id)",
    },
)
PROJECTS = Table(
    columns={
        "name": "projects.name",
        "description": "projects.description",
        "created_at": "projects.created_at",
        "updated_at": "projects.updated_at",
    },
    times=frozenset({"created_at", "updated_at"}),
)


def parse_filters(text: object) -> dict[str, Any]:
    """The filter object in a JSONString argument.

    Raises:
        BadRequest: Not a JSON object.
    """
    if text in (None, ""):
        return {}
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError as e:
        raise BadRequest("filters must be JSON") from e
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest("filters must be a JSON object")
    return value


def where(filters: dict[str, Any], table: Table) -> Sql:
    """The condition for a WHERE clause.

    Raises:
        BadRequest: An unknown key or operator; the message names it.
    """
    return _all(filters, table, 0)


def order_by(order: object, table: Table, default: str) -> Sql:
    """The terms of an ORDER BY clause for `+key` or `-key`.

    Rows without a number at the key come last in both directions: otherwise `best_run()` returns a run that failed
    before it logged the metric.

    Raises:
        BadRequest: An unknown key.
    """
    if not isinstance(order, str) or not order.strip("+- "):
        return default, []
    direction = "DESC" if order.startswith("-") else "ASC"
    key = order.lstrip("+-")
    expression, params = _expression(key, table)
    if _document(key, table) is None:
        return f"{expression} IS NULL, {expression} {direction}, {default}", params * 2
    return (
        f"(typeof({expression}) NOT IN ('integer', 'real')), {expression} {direction}, {default}",
        params * 2,
    )


def _all(filters: dict[str, Any], table: Table, depth: int) -> Sql:
    parts = [_clause(key, value, table, depth) for key, value in filters.items()]
    return _join(parts, " AND ", "1")


def _clause(key: str, value: Any, table: Table, depth: int) -> Sql:
    if depth > _MAX_DEPTH:
        raise BadRequest(f"filters are nested deeper than {_MAX_DEPTH} levels")
    if key in ("$and", "$or", "$nor"):
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise BadRequest(f"{key} needs a list of objects")
        empty = "1" if key == "$and" else "0"
        sql, params = _join([_all(v, table, depth + 1) for v in value], " AND " if key == "$and" else " OR ", empty)
        return (f"NOT ({sql})", params) if key == "$nor" else (sql, params)
    if key == "$not":
        if not isinstance(value, dict):
            raise BadRequest("$not needs an object")
        sql, params = _all(value, table, depth + 1)
        return f"NOT coalesce({sql}, 0)", params
    conditions = value if isinstance(value, dict) and any(k.startswith("$") for k in value) else {"$eq": value}
    return _join([_compare(key, op, operand, table, depth) for op, operand in conditions.items()], " AND ", "1")


def _compare(key: str, op: str, operand: Any, table: Table, depth: int) -> Sql:
    name = snake_case(key)
    if op == "$not":
        sql, params = _clause(key, operand, table, depth + 1)
        return f"NOT coalesce({sql}, 0)", params
    if name in table.lists:
        return _list_compare(table.lists[name], op, operand)
    expression, params = _expression(key, table)
    convert: Callable[[Any], Any] = _time if name in table.times else _scalar
    return _test(expression, params, op, operand, convert)


def _test(expression: str, params: list[Any], op: str, operand: Any, convert: Callable[[Any], Any]) -> Sql:
    if op == "$exists":
        return f"{expression} IS {'NOT ' if operand else ''}NULL", params
    if op in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise BadRequest(f"{op} needs a list")
        values = [convert(v) for v in operand]
        sql = f"coalesce({expression} IN ({', '.join('?' * len(values))}), 0)"
        return ("NOT " if op == "$nin" else "") + sql, params + values
    if op == "$regex":
        return f"regexp(?, {expression})", [str(operand), *params]
    if op == "$ne":
        return f"{expression} IS NOT ?", [*params, convert(operand)]
    if op not in _COMPARISONS:
        raise BadRequest(f"unknown filter operator {op!r}")
    if operand is None and op == "$eq":
        return f"{expression} IS NULL", params
    return f"{expression} {_COMPARISONS[op]} ?", [*params, convert(operand)]


def _list_compare(column: str, op: str, operand: Any) -> Sql:
    if op in ("$ne", "$nin"):
        sql, params = _list_compare(column, "$eq" if op == "$ne" else "$in", operand)
        return f"NOT {sql}", params
    if op == "$exists":
        return f"(json_array_length({column}) > 0) = ?", [bool(operand)]
    if op == "$all" and isinstance(operand, list):
        return _join([_list_compare(column, "$eq", v) for v in operand], " AND ", "1")
    sql, params = _test("item.value", [], op, operand, _scalar)
    return f"EXISTS (SELECT 1 FROM json_each({column}) item WHERE {sql})", params


def _expression(key: str, table: Table) -> Sql:
    if (found := _document(key, table)) is not None:
        column, path = found
        return f"json_extract({column}, ?)", [path]
    expression = table.columns.get(snake_case(key))
    if expression is None:
        known = sorted([*table.columns, *table.lists, *(f"{d}.<key>" for d in table.documents)])
        raise BadRequest(f"unknown filter or order key {key!r}; known are {', '.join(known)}")
    return expression, []


def _document(key: str, table: Table) -> tuple[str, str] | None:
    """(JSON column, path): `config.lr` and `config.lr.value` are the same, as in W&B."""
    prefix, _, rest = key.partition(".")
    document = table.documents.get(snake_case(prefix))
    if document is None or not rest:
        return None
    column, wrapped = document
    if '"' in rest:
        raise BadRequest(f'order and filter keys must not contain ": {key!r}')
    if not wrapped:
        return column, f'$."{rest}"'
    name, _, tail = rest.partition(".")
    tail = tail.removeprefix("value").lstrip(".")
    inner = "".join(f'."{part}"' for part in tail.split(".")) if tail else ""
    return column, f'$."{name}".value{inner}'


def _join(parts: list[Sql], by: str, empty: str) -> Sql:
    if not parts:
        return empty, []
    return "(" + by.join(sql for sql, _ in parts) + ")", [p for _, params in parts for p in params]


def _scalar(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def _time(value: Any) -> Any:
    return parse_timestamp(value) if isinstance(value, str) else _scalar(value)
