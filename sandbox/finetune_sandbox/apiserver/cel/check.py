"""The type check: every expression gets a type, or the rule is refused."""

from __future__ import annotations

from .functions import FUNCTIONS, NAMESPACES, Overload
from .syntax import Expr
from .types import BOOL, DOUBLE, DYN, INT, NULL, UINT, Type, fields, list_of, optional_of

_TYPE_NAMES = {
    name: Type("type", (Type(name),))
    for name in ("int", "uint", "double", "bool", "string", "bytes", "null_type", "list", "map", "type")
}
_NULLABLE = ("object", "optional_type", "timestamp", "duration", "null_type", "dyn")
Scope = dict[str, Type]


class RuleTypeError(Exception):
    """A rule that does not type-check; knows where."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


def check(expr: Expr, scope: Scope) -> Type:
    """The type of an expression, noted in every node.

    Raises:
        RuleTypeError: It has none.
    """
    expr.type = found = _CHECKS[expr.kind](expr, scope)
    return found


def _literal(expr: Expr, scope: Scope) -> Type:
    value = expr.value
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return UINT if expr.name == "uint" else INT
    if isinstance(value, float):
        return DOUBLE
    return Type("bytes" if isinstance(value, bytes) else "string", size=len(value))


def _ident(expr: Expr, scope: Scope) -> Type:
    found = scope.get(expr.name) or _TYPE_NAMES.get(expr.name)
    if found is None:
        raise RuleTypeError(f"undeclared reference to '{expr.name}' (in container '')", expr.at)
    return found


def _select(expr: Expr, scope: Scope) -> Type:
    assert expr.target is not None
    owner = check(expr.target, scope)
    wrapped = owner.name == "optional_type"
    inner = owner.params[0] if wrapped else owner
    if inner.name == "object":
        known = fields(inner)
        if expr.name not in known:
            raise RuleTypeError(f"undefined field '{expr.name}'", expr.at)
        found = known[expr.name]
    elif inner.name == "map":
        found = inner.params[1]
    elif inner.name == "dyn":
        found = DYN
    else:
        raise RuleTypeError(f"type '{inner}' does not support field selection", expr.at)
    return optional_of(found) if (expr.optional or wrapped) and found.name != "optional_type" else found


def _test(expr: Expr, scope: Scope) -> Type:
    _select(expr, scope)
    return BOOL


def _list(expr: Expr, scope: Scope) -> Type:
    kinds = [check(item, scope) for item in expr.args]
    return list_of(_join(kinds), len(kinds))


def _map(expr: Expr, scope: Scope) -> Type:
    kinds = [check(item, scope) for item in expr.args]
    return Type("map", (_join(kinds[::2]), _join(kinds[1::2])), size=len(kinds) // 2)


def _join(kinds: list[Type]) -> Type:
    if not kinds:
        return DYN
    first = max(kinds, key=lambda kind: kind.size or 0)
    return first if all(kind == kinds[0] for kind in kinds) else DYN


def _macro(expr: Expr, scope: Scope) -> Type:
    if expr.name == "bind":
        bound = check(expr.args[0], scope)
        return check(expr.args[1], {**scope, expr.variable: bound})
    assert expr.target is not None
    over = check(expr.target, scope)
    if expr.name in ("optMap", "optFlatMap"):
        inner = over.params[0] if over.name == "optional_type" else DYN
        result = check(expr.args[0], {**scope, expr.variable: inner})
        return result if expr.name == "optFlatMap" else optional_of(result)
    if over.name not in ("list", "map", "dyn"):
        raise RuleTypeError(
            f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)",
            expr.target.at,
        )
    element = DYN if over.name == "dyn" else over.params[0]
    inside = {**scope, expr.variable: element}
    results = [check(item, inside) for item in expr.args]
    if expr.name == "map":
        if len(results) == 2:
            _boolean(results[0], expr.args[0])
        return list_of(results[-1], over.size)
    _boolean(results[0], expr.args[0])
    return list_of(element, over.size) if expr.name == "filter" else BOOL


def _boolean(kind: Type, expr: Expr) -> None:
    if kind.name not in ("bool", "dyn"):
        raise RuleTypeError(f"expected type 'bool' but found '{kind}'", expr.at)


def _call(expr: Expr, scope: Scope) -> Type:
    name, target = expr.name, expr.target
    if target is not None and target.kind == "ident" and target.name in NAMESPACES and target.name not in scope:
        expr.name, expr.target = f"{target.name}.{name}", None
        name, target = expr.name, None
    if name in ("_&&_", "_||_"):
        for side in expr.args:
            kind = check(side, scope)
            if kind.name not in ("bool", "dyn"):
                raise _no_overload(name, False, [item.type or check(item, scope) for item in expr.args], expr.at)
        return BOOL
    if name == "_?_:_":
        condition, yes, no = (check(item, scope) for item in expr.args)
        _boolean(condition, expr.args[0])
        if not _fits(yes, no, {}):
            raise _no_overload(name, False, [condition, yes, no], expr.at)
        return no if yes.name in ("null_type", "dyn") or (no.size or 0) > (yes.size or 0) else yes
    kinds = ([check(target, scope)] if target is not None else []) + [check(item, scope) for item in expr.args]
    if name == "_[_]":
        return _index(expr, *kinds)
    overloads = FUNCTIONS.get(name)
    if overloads is None:
        raise RuleTypeError(f"undeclared reference to '{name}' (in container '')", expr.at)
    expr.value = fitting = [
        found for found in overloads if found.member == (target is not None) and _matches(found, kinds)
    ]
    if not fitting:
        raise _no_overload(name, target is not None, kinds, expr.at)
    if len(fitting) > 1 and len({found.result for found in fitting}) > 1:
        return DYN
    bound: dict[str, Type] = {}
    for wanted, kind in zip(fitting[0].args, kinds, strict=True):
        _fits(wanted, kind, bound)
    return _sized(expr, _resolve(fitting[0].result, bound), kinds)


def _index(expr: Expr, owner: Type, key: Type) -> Type:
    wrapped = owner.name == "optional_type"
    inner = owner.params[0] if wrapped else owner
    if inner.name == "list" and key.name in ("int", "dyn"):
        found = inner.params[0]
    elif inner.name == "map" and _fits(inner.params[0], key, {}):
        found = inner.params[1]
    elif inner.name == "dyn":
        found = DYN
    else:
        raise _no_overload("_[_]", False, [owner, key], expr.at)
    return optional_of(found) if expr.optional or wrapped else found


def _matches(overload: Overload, kinds: list[Type]) -> bool:
    bound: dict[str, Type] = {}
    return len(overload.args) == len(kinds) and all(
        _fits(wanted, kind, bound) for wanted, kind in zip(overload.args, kinds, strict=True)
    )


def _fits(wanted: Type, found: Type, bound: dict[str, Type]) -> bool:
    """Whether a value of one type can stand where another is wanted; binds type parameters."""
    if len(wanted.name) == 1:
        if wanted.name not in bound or bound[wanted.name].name in ("dyn", "null_type"):
            previous = bound.get(wanted.name)
            if previous is not None and previous.name == "null_type" and found.name not in _NULLABLE:
                return False
            bound[wanted.name] = found
            return True
        return _fits(bound[wanted.name], found, bound)
    if "dyn" in (wanted.name, found.name):
        return True
    if wanted.name == "null_type" or found.name == "null_type":
        return wanted.name in _NULLABLE and found.name in _NULLABLE
    if wanted.name == found.name == "type":
        return True
    if wanted.name != found.name or len(wanted.params) != len(found.params):
        return False
    if wanted.name == "object":
        return (
            wanted.node is found.node or wanted.node is None or found.node is None or wanted.node.raw == found.node.raw
        )
    return all(_fits(left, right, bound) for left, right in zip(wanted.params, found.params, strict=True))


def _resolve(kind: Type, bound: dict[str, Type]) -> Type:
    if len(kind.name) == 1:
        return bound.get(kind.name, DYN)
    return (
        Type(kind.name, tuple(_resolve(item, bound) for item in kind.params), kind.node, kind.size)
        if kind.params
        else kind
    )


_KEEPS_SIZE = frozenset(["lowerAscii", "upperAscii", "trim", "substring", "charAt", "reverse", "find", "distinct"])


def _sized(expr: Expr, kind: Type, kinds: list[Type]) -> Type:
    """The type with what is known of its size: sums for concatenations, the receiver's for functions that only cut."""
    size = None
    if expr.name == "_+_" and len(kinds) == 2 and None not in (kinds[0].size, kinds[1].size):
        size = (kinds[0].size or 0) + (kinds[1].size or 0)
    elif expr.name in _KEEPS_SIZE or expr.name in ("split", "findAll"):
        size = kinds[0].size
    if kind.name in ("string", "bytes", "list") and kind.size is None and size is not None:
        params = (Type("string", size=size),) if expr.name in ("split", "findAll") else kind.params
        return Type(kind.name, params, kind.node, size)
    return kind


def _no_overload(name: str, member: bool, kinds: list[Type], at: int) -> RuleTypeError:
    shown = [str(kind) for kind in kinds]
    text = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
    return RuleTypeError(f"found no matching overload for '{name}' applied to '{text}'", at)


_CHECKS = {
    "literal": _literal,
    "ident": _ident,
    "select": _select,
    "test": _test,
    "list": _list,
    "map": _map,
    "macro": _macro,
    "call": _call,
}
