"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import bad_request

Predicate = Callable[[Mapping[str, Any]], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^()]*)\)$")
_KEY = re.compile(r"^([a-z0-9A-Z.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")


def label_selector(text: str) -> Predicate | None:
    """A test of labels from the text of a selector; None when it selects everything.

    Raises:
        ApiError: 400 for a text that is no selector.
    """
    tests = [_requirement(part.strip()) for part in _split(text) if part.strip()]
    return (lambda labels: all(test(labels) for test in tests)) if tests else None


def _split(text: str) -> list[str]:
    return re.split(r",(?![^()]*\))", text)


def _requirement(part: str) -> Predicate:
    if found := _SET.match(part):
        key, values = _key(found[1]), {_value(value.strip()) for value in found[3].split(",")}
        if found[2] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := re.match(r"^([^=!<>\s]+)\s*(==|=|!=)\s*(\S*)$", part):
        key, value = _key(found[1]), _value(found[3])
        if found[2] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := re.match(r"^(\S+)\s*([<>])\s*(-?\d+)$", part):
        key, bound, above = _key(found[1]), int(found[3]), found[2] == ">"
        return lambda labels: _compares(labels.get(key), bound, above)
    if part.startswith("!"):
        key = _key(part[1:].strip())
        return lambda labels: key not in labels
    key = _key(part)
    return lambda labels: key in labels


def _compares(value: Any, bound: int, above: bool) -> bool:
    try:
        return int(value) > bound if above else int(value) < bound
    except (TypeError, ValueError):
        return False


def _key(text: str) -> str:
    if not _KEY.match(text):
        raise bad_request(f"unable to parse requirement: found '{text}', expected: a label key")
    return text


def _value(text: str) -> str:
    if not _VALUE.match(text):
        raise bad_request(
            f'unable to parse requirement: values[0][{text}]: Invalid value: "{text}": a valid label must be an empty'
            " string or consist of"
            " alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
        )
    return text


def field_selector(text: str, supported: Mapping[str, str]) -> Predicate | None:
    """A test of whole objects from the text of a field selector; None when it selects everything.

    Args:
        text: Such as `metadata.name=a,status.phase!=Running`.
        supported: Path to read for each label that may be used.

    Raises:
        ApiError: 400 for an unsupported label or a text that is no selector.
    """
    tests = []
    for part in text.split(","):
        if not part.strip():
            continue
        found = re.match(r"^\s*([^=!]+?)\s*(==|=|!=)(.*)$", part)
        if not found:
            raise bad_request(f"invalid selector: \"{part}\"; can't understand '{part}'")
        label, operator, value = found.groups()
        if label not in supported:
            raise bad_request(f"field label not supported: {label}")
        tests.append((supported[label].split("."), operator != "!=", value.strip()))
    if not tests:
        return None
    return lambda obj: all((read(obj, path) == value) is equal for path, equal, value in tests)


def read(obj: Any, path: list[str]) -> str:
    """The text at a path; empty where there is nothing."""
    for name in path:
        obj = obj.get(name) if isinstance(obj, Mapping) else None
    if isinstance(obj, bool):
        return "true" if obj else "false"
    return "" if obj is None else str(obj)
