"""What decoding does to an object: unknown fields are dropped, typed fields are checked, nulls go."""

from __future__ import annotations

from typing import Any

from finetune_sandbox import quantity

from .definitions import OBJECT_META, definition
from .node import Node

_EMBEDDED = ("apiVersion", "kind", "metadata")
_GO: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_JSON = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}


class TypeMismatchError(Exception):
    """A field of a built-in kind holds a value its Go type cannot take."""


def prune(value: Any, node: Node, path: str, unknown: list[str], root: bool = False) -> Any:
    """A copy of a custom object without the fields its structural schema does not know.

    Args:
        value: The object, or a part of it.
        node: Its schema.
        path: Where it is, for messages.
        unknown: Receives the paths of the fields that were dropped.
        root: The value is a whole object, whose `apiVersion`, `kind` and `metadata` are always known.
    """
    if isinstance(value, dict):
        properties, additional = node.properties, node.additional
        keep = node.preserve or node.open
        whole = root or node.embedded
        out = {}
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            if whole and key in _EMBEDDED:
                out[key] = (
                    conform(item, definition(OBJECT_META), at, unknown) if key == "metadata" and not root else item
                )
            elif (child := properties.get(key, additional)) is not None:
                out[key] = prune(item, child, at, unknown)
            elif keep:
                out[key] = item
            else:
                unknown.append(at)
        return out
    if isinstance(value, list) and node.items is not None:
        return [prune(item, node.items, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    return value


def conform(value: Any, node: Node, path: str, unknown: list[str]) -> Any:
    """A copy of a built-in object as Go would decode it: typed, without unknown fields, nulls and empty collections.

    Raises:
        TypeMismatchError: A value has the wrong JSON type.
    """
    if isinstance(value, dict):
        if node.type not in ("object", ""):
            raise _mismatch(value, node, path)
        properties, additional = node.properties, node.additional
        if not properties and additional is None:
            return value
        required = node.raw.get("required", ())
        out: dict[str, Any] = {}
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            child = properties.get(key, additional)
            if child is None:
                unknown.append(at)
            elif item is None:
                if key in required:
                    out[key] = None
            else:
                item = conform(item, child, at, unknown)
                empty = (item == [] and child.type == "array") or (item == {} and child.additional is not None)
                if not empty or key in required:
                    out[key] = item
        return out
    if isinstance(value, list):
        if node.type not in ("array", ""):
            raise _mismatch(value, node, path)
        if node.items is None:
            return value
        return [conform(item, node.items, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if value is None or (not node.type and not node.int_or_string):
        return value
    if node.int_or_string:
        if isinstance(value, bool) or not isinstance(value, (int, str, float)):
            raise _mismatch(value, node, path)
        return _canonical(value) if node.raw["format"] == "Quantity" else value
    wanted = _GO[node.type]
    if not isinstance(value, wanted) or (isinstance(value, bool) and node.type != "boolean"):
        if node.type == "integer" and isinstance(value, float) and value.is_integer():
            return int(value)
        raise _mismatch(value, node, path)
    return value


def _canonical(value: str | float) -> str:
    """A quantity as Kubernetes writes it: a text with the largest suffix that fits."""
    text = str(value)
    try:
        amount = quantity.parse(text)
    except ValueError as error:
        raise TypeMismatchError(str(error)) from error
    return text if "e" in text.lower().rstrip("ei") else quantity.render(amount, text)


def _mismatch(value: Any, node: Node, path: str) -> TypeMismatchError:
    go = {"object": "map", "array": "slice", "integer": "int32", "boolean": "bool", "number": "float64"}.get(
        node.type, node.type
    )
    return TypeMismatchError(
        f"json: cannot unmarshal {_JSON[type(value)]} into Go struct field {path} of type {go or 'string'}"
    )
