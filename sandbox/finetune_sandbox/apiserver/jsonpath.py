"""The JSONPath that printer columns and selectable fields use."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import cache
from typing import Any

Step = Callable[[Any], list[Any]]

_TOKEN = re.compile(
    r"""\.\.|\.(?P<name>(?:\\.|[^.\[\]\\])+)|\[\?\(@(?P<field>(?:\.[\w\-/]+)+)\s*(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|[^)]+)\)\]"""
    r"""|\[(?P<index>-?\d+)\]|\[(?P<all>\*)\]|\[['"](?P<quoted>[^'"]+)['"]\]|\[(?P<slice>-?\d*:-?\d*)\]"""
)


@cache
def compile_path(path: str) -> tuple[Step, ...]:
    """The steps of a path such as `.status.conditions[?(@.type=="Ready")].status`.

    Raises:
        ValueError: It is no path.
    """
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and not text.startswith((".", "[")):
        text = "." + text
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found or found[0] == "..":
            raise ValueError(f"unexpected text at {text[at:]!r}")
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    name = found["name"] or found["quoted"]
    if name == "*" or found["all"]:
        return lambda value: (
            list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
        )
    if name:
        key = re.sub(r"\\(.)", r"\1", name)
        return lambda value: [value[key]] if isinstance(value, dict) and key in value else []
    if found["index"]:
        index = int(found["index"])
        return lambda value: [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []
    if found["slice"]:
        start, _, stop = found["slice"].partition(":")
        cut = slice(int(start) if start else None, int(stop) if stop else None)
        return lambda value: value[cut] if isinstance(value, list) else []
    path, sign, wanted = found["field"].strip(".").split("."), found["op"], _literal(found["value"])
    return lambda value: (
        [item for item in value if _compare(_dig(item, path), sign, wanted)] if isinstance(value, list) else []
    )


def _literal(text: str) -> Any:
    text = text.strip()
    if text[:1] in "\"'":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _dig(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _compare(found: Any, sign: str, wanted: Any) -> bool:
    try:
        return bool(_COMPARISONS[sign](found, wanted))
    except TypeError:
        return False


def find(obj: Any, path: str) -> list[Any]:
    """The values at a path."""
    values = [obj]
    for step in compile_path(path):
        values = [found for value in values for found in step(value)]
    return values
