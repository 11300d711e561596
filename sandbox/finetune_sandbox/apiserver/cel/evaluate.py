"""Evaluation: a checked tree becomes a Python function of its variables."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from finetune_sandbox.apiserver.schema.node import Node

from .functions import Overload
from .syntax import Expr
from .types import Type, escape
from .values import NOTHING, CelError, Optional, Quantity, to_duration, to_timestamp

Env = dict[str, Any]
Run = Callable[[Env], Any]

_TYPES: dict[type, str] = {
    bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes", list: "list", dict: "map",
    type(None): "null_type",
    datetime: "timestamp", timedelta: "duration", Quantity: "quantity", Optional: "optional_type",
}  # fmt: skip


def compile_expr(expr: Expr) -> Run:
    """A function that evaluates a checked expression.

    The function raises `CelError` where the expression fails.
    """
    return _COMPILERS[expr.kind](expr)


def _literal(expr: Expr) -> Run:
    value = expr.value
    return lambda env: value


def _ident(expr: Expr) -> Run:
    name = expr.name
    if expr.type is not None and expr.type.name == "type":
        return lambda env: env[name] if name in env else expr.type.params[0]
    return lambda env: env[name]


def _look(owner: Any, key: Any) -> Any:
    if isinstance(owner, dict):
        return owner.get(key, NOTHING) if isinstance(key, (str, int, bool)) else NOTHING
    if isinstance(owner, list):
        return owner[key] if isinstance(key, int) and 0 <= key < len(owner) else NOTHING
    raise CelError("no such overload")


def _access(owner: Any, key: Any, optional: bool) -> Any:
    if isinstance(owner, Optional):
        return Optional(_look(owner.value, key)) if owner.present else owner
    found = _look(owner, key)
    if optional:
        return Optional(found)
    if found is NOTHING:
        raise CelError(f"index out of bounds: {key}" if isinstance(owner, list) else f"no such key: {key}")
    return found


def _select(expr: Expr) -> Run:
    assert expr.target is not None
    target, name, optional = compile_expr(expr.target), expr.name, expr.optional
    return lambda env: _access(target(env), name, optional)


def _test(expr: Expr) -> Run:
    assert expr.target is not None
    target, name = compile_expr(expr.target), expr.name

    def run(env: Env) -> bool:
        owner = target(env)
        if isinstance(owner, Optional):
            owner = owner.value if owner.present else {}
        return isinstance(owner, dict) and name in owner

    return run


def _list(expr: Expr) -> Run:
    items = [
        (compile_expr(item), item.optional and item.type is not None and item.type.name == "optional_type")
        for item in expr.args
    ]

    def run(env: Env) -> list[Any]:
        out = []
        for item, optional in items:
            value = item(env)
            if not optional:
                out.append(value)
            elif value.present:
                out.append(value.value)
        return out

    return run


def _map(expr: Expr) -> Run:
    parts = [compile_expr(item) for item in expr.args]
    return lambda env: {key(env): value(env) for key, value in zip(parts[::2], parts[1::2], strict=True)}


def _and(left: Run, right: Run, stop: bool) -> Run:
    """`&&` (stops at false) and `||` (stops at true): the other side can make up for a failure."""

    def run(env: Env) -> bool:
        try:
            if bool(left(env)) is stop:
                return stop
        except CelError:
            if bool(right(env)) is stop:
                return stop
            raise
        return bool(right(env))

    return run


def _call(expr: Expr) -> Run:
    name = expr.name
    parts = [compile_expr(item) for item in ([expr.target] if expr.target is not None else []) + expr.args]
    if name == "_&&_":
        return _and(parts[0], parts[1], False)
    if name == "_||_":
        return _and(parts[0], parts[1], True)
    if name == "_?_:_":
        return lambda env: parts[1](env) if parts[0](env) else parts[2](env)
    if name == "_[_]":
        return lambda env: _access(parts[0](env), parts[1](env), expr.optional)
    if name == "type":
        return lambda env: Type(_TYPES.get(type(parts[0](env)), "object"))
    overloads: list[Overload] = expr.value
    if len(overloads) == 1:
        return _apply(overloads[0].call, parts)
    return lambda env: _dispatch(name, overloads, [part(env) for part in parts])


def _apply(function: Callable[..., Any], parts: list[Run]) -> Run:
    def run(env: Env) -> Any:
        try:
            return function(*(part(env) for part in parts))
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise CelError(f"no such overload: {error}") from error

    return run


def _dispatch(name: str, overloads: list[Overload], values: list[Any]) -> Any:
    """Calls the overload that fits the values, for operands whose type is known only now."""
    for overload in overloads:
        if all(_is(value, kind) for value, kind in zip(values, overload.args, strict=True)):
            try:
                return overload.call(*values)
            except (TypeError, ValueError, ArithmeticError) as error:
                raise CelError(f"no such overload: {error}") from error
    raise CelError("no such overload")


def _is(value: Any, kind: Type) -> bool:
    if len(kind.name) == 1 or kind.name == "dyn":
        return True
    found = _TYPES.get(type(value), "")
    return (
        found == kind.name
        or (found == "int" and kind.name == "uint")
        or (not found and kind.name not in _TYPES.values())
    )


def _macro(expr: Expr) -> Run:
    name, variable = expr.name, expr.variable
    body = [compile_expr(item) for item in expr.args]
    if name == "bind":
        return lambda env: body[1]({**env, variable: body[0](env)})
    assert expr.target is not None
    over = compile_expr(expr.target)
    if name in ("optMap", "optFlatMap"):
        return lambda env: _optional_map(over(env), variable, body[0], env, name == "optFlatMap")
    return lambda env: _COMPREHENSIONS[name]([{**env, variable: item} for item in over(env)], variable, body)


def _optional_map(optional: Optional, variable: str, body: Run, env: Env, flat: bool) -> Optional:
    if not optional.present:
        return optional
    found = body({**env, variable: optional.value})
    return found if flat else Optional(found)


def _settle(inner: list[Env], body: Run, stop: bool) -> bool:
    """`all` (stops at false) and `exists` (stops at true); a failure counts only if no element decides."""
    failure: CelError | None = None
    for env in inner:
        try:
            if bool(body(env)) is stop:
                return stop
        except CelError as error:
            failure = error
    if failure is not None:
        raise failure
    return not stop


def _mapped(inner: Iterable[Env], variable: str, body: list[Run]) -> list[Any]:
    if len(body) == 2:
        return [body[1](env) for env in inner if body[0](env)]
    return [body[0](env) for env in inner]


_COMPREHENSIONS: dict[str, Callable[[list[Env], str, list[Run]], Any]] = {
    "all": lambda inner, variable, body: _settle(inner, body[0], False),
    "exists": lambda inner, variable, body: _settle(inner, body[0], True),
    "exists_one": lambda inner, variable, body: sum(bool(body[0](env)) for env in inner) == 1,
    "filter": lambda inner, variable, body: [env[variable] for env in inner if body[0](env)],
    "map": _mapped,
}
_COMPILERS: dict[str, Callable[[Expr], Run]] = {
    "literal": _literal,
    "ident": _ident,
    "select": _select,
    "test": _test,
    "list": _list,
    "map": _map,
    "call": _call,
    "macro": _macro,
}


def to_cel(value: Any, node: Node) -> Any:
    """A JSON value as CEL sees it: typed by its schema, fields under their CEL names."""
    if isinstance(value, dict):
        if node.additional is not None:
            return {key: to_cel(item, node.additional) for key, item in value.items()}
        out = {}
        for key, item in value.items():
            child = node.properties.get(key)
            name = escape(key)
            if name is not None:
                out[name] = to_cel(item, child) if child is not None else item
        return out
    if isinstance(value, list):
        return [to_cel(item, node.items) for item in value] if node.items is not None else value
    if isinstance(value, str) and node.type == "string" and "format" in node.raw:
        return _formatted(value, node.raw["format"])
    if node.type == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _formatted(value: str, form: str) -> Any:
    if form == "byte":
        return base64.b64decode(value)
    if form == "duration":
        return to_duration(value)
    return to_timestamp(value) if form in ("date", "date-time") else value
