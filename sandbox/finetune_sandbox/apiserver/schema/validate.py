"""Checks of custom objects against their structural schema, in the words of Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, quote, required, wrong

from .formats import FORMATS
from .node import Node

MISSING = object()
"""There is no old value to compare with."""

_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
_INT_RANGES = {"int32": 1 << 31, "int64": 1 << 63}


@cache
def regex(pattern: str) -> Any:
    """A compiled RE2 expression.

    Raises:
        re2.error: It is none.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def validate(value: Any, node: Node, at: str, old: Any = MISSING) -> list[FieldError]:
    """Everything in a value that breaks its schema.

    Args:
        value: The value, pruned and defaulted.
        node: Its schema.
        at: Its path; empty for the root.
        old: What stood there before; what did not change is not complained about.
    """
    if old is not MISSING and old == value and type(old) is type(value):
        return []
    if value is None and node.nullable:
        return []
    wrong = _type(value, node, at)
    if wrong is not None:
        return [wrong]
    errors: list[FieldError] = []
    if isinstance(value, dict):
        errors += _object(value, node, at, old)
    elif isinstance(value, list):
        errors += _list(value, node, at, old)
    if node.checks:
        errors += _values(value, node, at)
        errors += _combined(value, node, at)
    return errors


def _type(value: Any, node: Node, at: str) -> FieldError | None:
    found = _NAMES[type(value)]
    if node.int_or_string:
        fits = found in ("integer", "string")
        wanted = "integer,string"
    else:
        wanted = node.type
        fits = not wanted or found == wanted or (wanted == "number" and found == "integer")
        fits = fits or (wanted == "integer" and isinstance(value, float) and value.is_integer())
    if (
        fits
        and isinstance(value, int)
        and not isinstance(value, bool)
        and (limit := _INT_RANGES.get(node.raw.get("format", "")))
    ) and not -limit <= value < limit:
        fits, wanted = False, node.raw["format"]
    if fits:
        return None
    return FieldError("TypeInvalid", at or "<nil>", f'{at} in body must be of type {wanted}: "{found}"', found)


def _object(value: dict[str, Any], node: Node, at: str, old: Any) -> list[FieldError]:
    before = old if isinstance(old, dict) else {}
    missing = [name for name in node.raw.get("required") or () if name not in value]
    errors = [required(f"{at}.{name}" if at else name) for name in missing]
    properties, additional = node.properties, node.additional
    for name, item in value.items():
        child = properties.get(name, additional)
        if child is not None:
            errors += validate(item, child, f"{at}.{name}" if at else name, before.get(name, MISSING))
    if node.embedded:
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                errors.append(required(f"{at}.{name}", "must not be empty"))
        if "metadata" not in value:
            errors.append(required(f"{at}.metadata"))
    return errors


def _list(value: list[Any], node: Node, at: str, old: Any) -> Iterator[FieldError]:
    before = {_identity(item, node): item for item in old} if isinstance(old, list) and node.list_type == "map" else {}
    if node.items is not None:
        for index, item in enumerate(value):
            earlier = before.get(_identity(item, node), MISSING) if before else MISSING
            yield from validate(item, node.items, f"{at}[{index}]", earlier)
    if node.list_type in ("set", "map"):
        seen = set()
        for index, item in enumerate(value):
            identity = _identity(item, node)
            if identity in seen:
                shown = (
                    {key: item[key] for key in node.keys if key in item}
                    if node.list_type == "map" and isinstance(item, dict)
                    else item
                )
                yield FieldError("Duplicate", f"{at}[{index}]", "", shown)
            seen.add(identity)


def _identity(item: Any, node: Node) -> str:
    if node.list_type == "map" and isinstance(item, dict):
        return quote([item.get(key) for key in node.keys])
    return quote(item)


def _values(value: Any, node: Node, at: str) -> list[FieldError]:
    raw, errors = node.raw, []
    if (allowed := raw.get("enum")) is not None and not any(
        value == item and type(value) is type(item) for item in allowed
    ):
        errors.append(
            FieldError("NotSupported", at, "supported values: " + ", ".join(quote(item) for item in allowed), value)
        )
    if isinstance(value, str):
        errors += _text(value, raw, at)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        errors += _number(value, raw, at)
    elif isinstance(value, list):
        errors += _size(len(value), raw, at, "Items", "items", value)
    elif isinstance(value, dict):
        errors += _size(len(value), raw, at, "Properties", "properties", value)
    return errors


def _text(value: str, raw: Any, at: str) -> Iterator[FieldError]:
    if (limit := raw.get("maxLength")) is not None and len(value) > limit:
        yield FieldError("TooLong", at, f"may not be more than {limit} bytes", value)
    if (limit := raw.get("minLength")) is not None and len(value) < limit:
        yield wrong(at, f"{at} in body should be at least {limit} chars long", value)
    if (pattern := raw.get("pattern")) and not regex(pattern).search(value):
        yield wrong(at, f"{at} in body should match '{pattern}'", value)
    known = FORMATS.get(raw.get("format", ""))
    if known is not None and not known(value):
        yield wrong(at, f"{at} in body must be of type {raw['format']}: {quote(value)}", value)


def _number(value: float, raw: Any, at: str) -> Iterator[FieldError]:
    if (limit := raw.get("maximum")) is not None:
        strict = raw.get("exclusiveMaximum")
        if value > limit or (strict and value == limit):
            yield wrong(at, f"{at} in body should be less than {'' if strict else 'or equal to '}{limit}", value)
    if (limit := raw.get("minimum")) is not None:
        strict = raw.get("exclusiveMinimum")
        if value < limit or (strict and value == limit):
            yield wrong(at, f"{at} in body should be greater than {'' if strict else 'or equal to '}{limit}", value)
    if (step := raw.get("multipleOf")) and abs(value / step - round(value / step)) > 1e-9:
        yield wrong(at, f"{at} in body should be a multiple of {step}", value)


def _size(count: int, raw: Any, at: str, suffix: str, noun: str, value: Any) -> Iterator[FieldError]:
    if (limit := raw.get("max" + suffix)) is not None and count > limit:
        yield FieldError("TooMany", at, f"must have at most {limit} {noun}", count)
    if (limit := raw.get("min" + suffix)) is not None and count < limit:
        yield wrong(at, f"{at} in body should have at least {limit} {noun}", value)


def _combined(value: Any, node: Node, at: str) -> list[FieldError]:
    raw, errors = node.raw, []
    for key in ("allOf", "anyOf", "oneOf"):
        if not raw.get(key):
            continue
        found = [validate(value, Node(alternative), at) for alternative in raw[key]]
        valid = sum(not item for item in found)
        best = min(found, key=len)
        if key == "allOf" and valid < len(found):
            errors.append(
                _nil(f'"{at}" must validate all the schemas (allOf)' + (". None validated" if not valid else ""))
            )
            errors += [error for item in found for error in item]
        elif key == "anyOf" and not valid:
            errors += [_nil(f'"{at}" must validate at least one schema (anyOf)'), *best]
        elif key == "oneOf" and valid != 1:
            text = f"Found {valid} valid alternatives" if valid else "Found none valid"
            errors.append(_nil(f'"{at}" must validate one and only one schema (oneOf). {text}'))
            errors += best if not valid else []
    if raw.get("not") and not validate(value, Node(raw["not"]), at):
        errors.append(_nil(f'"{at}" must not validate the schema (not)'))
    return errors


def _nil(text: str) -> FieldError:
    return wrong("<nil>", text, "")
