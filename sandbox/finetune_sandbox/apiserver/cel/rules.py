"""`x-kubernetes-validations`: the rules of a schema, checked with the CRD and evaluated with each object."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, banned, required, unsupported, wrong
from finetune_sandbox.apiserver.schema.node import Node
from finetune_sandbox.apiserver.schema.validate import MISSING

from .check import RuleTypeError, check
from .cost import RULE_LIMIT, SCHEMA_LIMIT, cost, excess
from .evaluate import Run, compile_expr, to_cel
from .syntax import Expr, RuleSyntaxError, parse
from .types import REQUEST, Type, of_schema, optional_of, smallest
from .values import CelError, Optional

_REASONS = {
    "FieldValueInvalid": "Invalid",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required",
    "FieldValueDuplicate": "Duplicate",
}
_HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are"
    " declared)"
)


@dataclass(frozen=True)
class Program:
    """A rule ready to run.

    Attributes:
        run: Evaluates it.
        transition: It compares with the old value and runs only when there is one.
        message: Evaluates `messageExpression`; None without it.
    """

    run: Run
    transition: bool
    message: Run | None


def has_rules(node: Node) -> bool:
    """Whether a schema has rules anywhere; remembered in the schema."""
    known = _HAS_RULES.get(id(node))
    if known is None or known[0] is not node:
        found = bool(node.rules) or any(has_rules(child) for _, child in _below(node))
        known = _HAS_RULES[id(node)] = (node, found)
        if len(_HAS_RULES) > 20_000:
            _HAS_RULES.clear()
    return known[1]


_HAS_RULES: dict[int, tuple[Node, bool]] = {}


def _below(node: Node) -> Iterator[tuple[str, Node]]:
    for name, child in node.properties.items():
        yield f".properties[{name}]", child
    if node.items is not None:
        yield ".items", node.items
    if node.additional is not None:
        yield ".additionalProperties", node.additional


def _mentions(expr: Expr, name: str) -> bool:
    if expr.kind == "ident" and expr.name == name:
        return True
    return any(_mentions(part, name) for part in [*expr.args, *([expr.target] if expr.target is not None else [])])


def _scope(rule: dict[str, Any], kind: Type) -> dict[str, Type]:
    return {"self": kind, "oldSelf": optional_of(kind) if rule.get("optionalOldSelf") else kind}


# ------------------------------------------------------------------ with the CRD


@dataclass
class _Budget:
    total: float = 0
    errors: list[FieldError] | None = None
    costs: list[tuple[float, str]] | None = None


def check_rules(node: Node, at: str, known: frozenset[str] = frozenset()) -> list[FieldError]:
    """Everything wrong with the rules of a schema: syntax, types, and what they may cost.

    Args:
        node: The schema.
        at: Its path.
        known: Rules that the stored CRD already has; those are not refused.
    """
    budget = _Budget(0, [], [])
    _check_node(node, at, 1.0, "", budget, known, root=True)
    assert budget.errors is not None
    assert budget.costs is not None
    if budget.total > SCHEMA_LIMIT:
        for value, where in sorted(budget.costs, reverse=True)[:4]:
            if value > SCHEMA_LIMIT / 100:
                text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
                budget.errors.append(banned(where, text))
        text = (
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor"
            f" of {excess(budget.total, SCHEMA_LIMIT)} {_HINT}"
        )
        budget.errors.append(banned(at, text))
    return budget.errors


def _check_node(
    node: Node, at: str, times: float, loose: str, budget: _Budget, known: frozenset[str], root: bool = False
) -> None:
    """Checks the rules here and below.

    Args:
        node: The schema.
        at: Its path.
        times: How often it occurs in one object at most.
        loose: Path of the list above whose items cannot be told apart, where `oldSelf` means nothing.
        budget: Collects errors and costs.
        known: Rules that are not refused.
        root: This is the whole object.
    """
    kind = of_schema(node, root) if node.rules else None
    for index, rule in enumerate(node.rules):
        _check_rule(rule, kind, f"{at}.x-kubernetes-validations[{index}]", times, loose, budget, known)
    for step, child in _below(node):
        inner, beneath = times, loose
        if step == ".items":
            limit = node.raw.get("maxItems")
            inner *= (REQUEST - 2) / (smallest(child) + 1) if limit is None else limit
            if node.list_type != "map":
                beneath = loose or at + step
        elif step == ".additionalProperties":
            limit = node.raw.get("maxProperties")
            inner *= (REQUEST - 2) / (smallest(child) + 6) if limit is None else limit
        if root and step == ".properties[metadata]":
            continue
        _check_node(child, at + step, inner, beneath, budget, known)


def _check_rule(
    rule: dict[str, Any], kind: Type | None, at: str, times: float, loose: str, budget: _Budget, known: frozenset[str]
) -> None:
    errors = budget.errors
    assert errors is not None
    assert budget.costs is not None
    text = rule.get("rule", "")
    if (message := rule.get("message")) is not None:
        if not message.strip():
            errors.append(wrong(f"{at}.message", "message must be non-empty if specified", message))
        elif "\n" in message or "\r" in message:
            errors.append(wrong(f"{at}.message", "message must not contain line breaks", message))
    elif "\n" in text.strip():
        errors.append(required(f"{at}.message", "message must be specified if rule contains line breaks"))
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        errors.append(unsupported(f"{at}.reason", rule["reason"], sorted(_REASONS)))
    if not text.strip():
        errors.append(required(f"{at}.rule", "rule is not specified"))
        return
    if kind is None or text in known:
        return
    if rule.get("fieldPath") and not _reaches(kind, rule["fieldPath"]):
        errors.append(
            wrong(
                f"{at}.fieldPath", "fieldPath must be a valid path: does not refer to a valid field", rule["fieldPath"]
            )
        )
    try:
        tree = parse(text)
        found = check(tree, _scope(rule, kind))
    except (RuleSyntaxError, RuleTypeError) as error:
        errors.append(wrong(f"{at}.rule", f"compilation failed: {_located(text, error)}", rule))
        return
    if found.name not in ("bool", "dyn"):
        errors.append(wrong(f"{at}.rule", "cel expression must evaluate to a bool", rule))
        return
    if _mentions(tree, "oldSelf") and loose:
        text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {loose}"
        errors.append(wrong(f"{at}.rule", text, rule))
        return
    _charge(tree, f"{at}.rule", "estimated rule cost", times, budget)
    if rule.get("messageExpression"):
        _check_message(rule, kind, f"{at}.messageExpression", times, budget)


def _check_message(rule: dict[str, Any], kind: Type, at: str, times: float, budget: _Budget) -> None:
    assert budget.errors is not None
    text = rule["messageExpression"]
    try:
        tree = parse(text)
        found = check(tree, _scope(rule, kind))
    except (RuleSyntaxError, RuleTypeError) as error:
        budget.errors.append(wrong(at, f"compilation failed: {_located(text, error)}", rule))
        return
    if found.name not in ("string", "dyn"):
        budget.errors.append(wrong(at, "messageExpression must evaluate to a string", rule))
        return
    _charge(tree, at, "estimated messageExpression cost", times, budget)


def _charge(tree: Expr, at: str, what: str, times: float, budget: _Budget) -> None:
    assert budget.errors is not None
    assert budget.costs is not None
    value = cost(tree) * times
    if value > RULE_LIMIT:
        text = f"{what} exceeds budget by factor of {excess(value, RULE_LIMIT)} {_HINT}"
        budget.errors.append(banned(at, text))
    budget.total += value
    budget.costs.append((value, at))


def _reaches(kind: Type, path: str) -> bool:
    node = kind.node
    if node is None:
        return kind.name in ("map", "dyn")
    return (
        path.startswith((".", "["))
        and node.walk(path.strip(".").replace("['", ".").replace("']", "").strip(".").split(".")) is not None
    )


def _located(text: str, error: RuleSyntaxError | RuleTypeError) -> str:
    before = text[: error.at]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
    shown = text.split("\n")[line - 1]
    return f"ERROR: <input>:{line}:{column + 1}: {error}\n | {shown}\n | {'.' * column}^"


# ------------------------------------------------------------------ with an object


@lru_cache(maxsize=2000)
def _compile(text: str, message: str, optional_old: bool, key: _ByIdentity) -> Program | None:
    kind = of_schema(key.node, key.root)
    if kind is None:
        return None
    scope = _scope({"optionalOldSelf": optional_old}, kind)
    tree = parse(text)
    check(tree, scope)
    transition = _mentions(tree, "oldSelf") and not optional_old
    shown: Run | None = None
    if message:
        expression = parse(message)
        check(expression, scope)
        shown = compile_expr(expression)
    return Program(compile_expr(tree), transition, shown)


@dataclass(frozen=True)
class _ByIdentity:
    """A schema as the key of a cache: the same only when it is the very same one."""

    node: Node
    root: bool


def evaluate(node: Node, obj: dict[str, Any], old: dict[str, Any] | None) -> list[FieldError]:
    """The broken rules of an object.

    Args:
        node: Its schema.
        obj: The object.
        old: The stored object in an update.
    """
    return list(_evaluate(node, obj, MISSING if old is None else old, "", True))


def _evaluate(node: Node, value: Any, old: Any, at: str, root: bool = False) -> Iterator[FieldError]:
    if value is None or not has_rules(node):
        return
    if node.rules:
        yield from _run(node, value, old, at, root)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, item in value.items():
            child = node.child(name)
            if child is not None and not (root and name == "metadata"):
                yield from _evaluate(child, item, before.get(name, MISSING), f"{at}.{name}" if at else name)
    elif isinstance(value, list) and node.items is not None:
        known = {_key(item, node): item for item in old} if node.list_type == "map" and isinstance(old, list) else {}
        for index, item in enumerate(value):
            yield from _evaluate(
                node.items, item, known.get(_key(item, node), MISSING) if known else MISSING, f"{at}[{index}]"
            )


def _key(item: Any, node: Node) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in node.keys) if isinstance(item, dict) else (item,)


def _run(node: Node, value: Any, old: Any, at: str, root: bool) -> Iterator[FieldError]:
    """Runs the rules of one place; what did not change may go on breaking those that look at it alone."""
    unchanged = old is not MISSING and old == value
    env: dict[str, Any] | None = None
    for rule in node.rules:
        optional_old = bool(rule.get("optionalOldSelf"))
        try:
            program = _compile(rule["rule"], rule.get("messageExpression", ""), optional_old, _ByIdentity(node, root))
        except (RuleSyntaxError, RuleTypeError):
            continue
        if program is None or (program.transition and old is MISSING) or (unchanged and not program.transition):
            continue
        if env is None:
            env = {"self": to_cel(value, node)}
            if old is not MISSING:
                env["oldSelf"] = to_cel(copy.copy(old), node)
        scope = (
            {**env, "oldSelf": Optional(env["oldSelf"]) if "oldSelf" in env else Optional()} if optional_old else env
        )
        failure = _failure(rule, program, scope)
        if failure is not None:
            where = at + rule.get("fieldPath", "") if at else rule.get("fieldPath", "").lstrip(".")
            kind = _REASONS[rule.get("reason") or "FieldValueInvalid"]
            yield FieldError(kind, where or "<nil>", failure, "object" if isinstance(value, dict) else value)


def _failure(rule: dict[str, Any], program: Program, scope: dict[str, Any]) -> str | None:
    text = rule.get("message") or f"failed rule: {rule['rule'].strip()}"
    try:
        if program.run(scope):
            return None
    except CelError as error:
        return f"{error} evaluating rule: {rule.get('message') or rule['rule'].strip()}"
    if program.message is not None:
        try:
            shown = program.message(scope)
        except CelError:
            return text
        if isinstance(shown, str) and shown.strip() and "\n" not in shown:
            return shown
    return text
