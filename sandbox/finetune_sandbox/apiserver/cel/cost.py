"""The cost that a real server estimates for a rule before it accepts it: the worst case that a schema allows."""

from __future__ import annotations

import math

from .syntax import Expr
from .types import Type

RULE_LIMIT = 10_000_000
SCHEMA_LIMIT = 100_000_000
UNBOUNDED = 1 << 60
"""Stands for a size that nothing bounds."""

_PER_BYTE = 0.1
_BOTH = frozenset(["_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"])
_TRAVERSES = frozenset(
    [
        "lowerAscii",
        "upperAscii",
        "replace",
        "split",
        "substring",
        "trim",
        "join",
        "sum",
        "min",
        "max",
        "isSorted",
        "distinct",
        "reverse",
        "charAt",
        "indexOf",
        "lastIndexOf",
        "url",
        "isURL",
        "quantity",
        "isQuantity",
        "ip",
        "isIP",
        "cidr",
        "isCIDR",
        "containsIP",
        "containsCIDR",
        "semver",
        "isSemver",
        "validate",
        "find",
        "findAll",
        "bytes",
        "string",
        "encode",
        "decode",
    ]
)
_PAIRS = frozenset({"sets.contains", "sets.intersects", "sets.equivalent"})


def size_of(kind: Type | None) -> int:
    """The largest size of a value; `UNBOUNDED` where nothing is known."""
    if kind is None:
        return UNBOUNDED
    if kind.size is not None:
        return kind.size
    return UNBOUNDED if kind.name in ("string", "bytes", "list", "map", "dyn") else 1


def cost(expr: Expr) -> int:
    """The estimated cost of a checked expression."""
    if expr.kind == "literal":
        return 0
    if expr.kind == "ident":
        return 1
    if expr.kind in ("select", "test"):
        assert expr.target is not None
        return cost(expr.target) + 1
    if expr.kind in ("list", "map"):
        return sum(map(cost, expr.args)) + (10 if expr.kind == "list" else 30)
    return _capped(_macro(expr) if expr.kind == "macro" else _call(expr))


def _capped(value: float) -> int:
    return UNBOUNDED if value >= UNBOUNDED else math.ceil(value)


def _macro(expr: Expr) -> int:
    inside = sum(map(cost, expr.args))
    if expr.target is None or expr.name.startswith("opt"):
        return inside + 10 + (cost(expr.target) if expr.target is not None else 0)
    each = {"all": 2, "exists": 3, "exists_one": 4, "filter": 14, "map": 12}[expr.name]
    return cost(expr.target) + _capped(float(size_of(expr.target.type)) * (inside + each)) + 2


def _call(expr: Expr) -> float:
    parts = ([expr.target] if expr.target is not None else []) + expr.args
    own = [cost(part) for part in parts]
    if expr.name == "_?_:_":
        return own[0] + max(own[1:]) + 1
    sizes = [float(size_of(part.type)) for part in parts]
    total = float(sum(own))
    if expr.name in ("startsWith", "endsWith"):
        return total + max(1, sizes[1] * _PER_BYTE)
    if expr.name == "contains":
        return total + max(1, sizes[0] * _PER_BYTE) * max(1, sizes[1] * _PER_BYTE)
    if expr.name == "matches":
        return total + max(1, (sizes[0] + 1) * _PER_BYTE) * max(1, sizes[1] * 0.25)
    if expr.name in ("find", "findAll"):
        return total + max(1, sizes[0] * _PER_BYTE) * max(1, sizes[1] * 0.25)
    if expr.name in _BOTH and len(sizes) == 2:
        kinds = {part.type.name for part in parts if part.type is not None}
        return total + (
            max(1, min(sizes) * _PER_BYTE) if kinds & {"string", "bytes", "list", "map", "object", "dyn"} else 1
        )
    if expr.name == "@in":
        return total + (sizes[1] if parts[1].type is not None and parts[1].type.name != "map" else 1)
    if expr.name == "_+_" and expr.type is not None and expr.type.name in ("string", "bytes", "list"):
        return total + sum(sizes) * (_PER_BYTE if expr.type.name != "list" else 1)
    if expr.name in _PAIRS:
        return total + sizes[0] * sizes[1]
    if expr.name in _TRAVERSES and parts:
        first = parts[0].type
        return total + max(1, sizes[0] * (1 if first is not None and first.name == "list" else _PER_BYTE))
    return total + 1


def excess(value: float, limit: int) -> str:
    """How a cost that is too high is put."""
    factor = value / limit
    return "more than 100x" if factor > 100 else f"{factor:.1f}x"
