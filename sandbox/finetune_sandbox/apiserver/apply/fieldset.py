"""Sets of fields, as managedFields has them.

A path is a tuple of elements in the notation of `FieldsV1`: `f:name` for a field, `k:{"name":"a"}` for an item of a
keyed list, `v:"x"` for a member of a set. A set of paths holds leaves, and those inner places that are owned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from finetune_sandbox.apiserver.schema.node import ANY, Node

Path = tuple[str, ...]
Fields = dict[Path, Any]

INNER = object()
"""Stands for the value of a place that is owned but has fields of its own."""


class TypedError(Exception):
    """A value does not fit the schema of server-side apply."""


def fields_of(value: Any, node: Node, strict: bool = False) -> Fields:
    """The leaves of an object with their values.

    Args:
        value: An object.
        node: Its schema.
        strict: Raise for values that do not fit instead of taking them as leaves.

    Raises:
        TypedError: With `strict`, for a wrong shape or bad keys of a list.
    """
    found: Fields = {}
    _walk(value, node, (), found, strict)
    return found


def _walk(value: Any, node: Node, at: Path, found: Fields, strict: bool) -> None:
    if isinstance(value, dict):
        if strict and (node.type not in ("object", "") or node.int_or_string):
            raise TypedError(f"{render(at)}: expected {_shape(node)}, got &{{{_go(value)}}}")
        if node.atomic:
            found[at] = value
            return
        properties, additional = node.properties, node.additional
        loose = node.preserve or node.open or (additional is None and not properties)
        for key, item in value.items():
            child = properties.get(key)
            here = (*at, "f:" + key)
            if child is None:
                child = additional
                if child is None:
                    if strict and not loose and not (node.embedded and key in ("apiVersion", "kind", "metadata")):
                        raise TypedError(f"{render(here)}: field not declared in schema")
                    child = ANY
                _walk(item, child, here, found, strict)
                found.setdefault(here, INNER)
            else:
                _walk(item, child, here, found, strict)
                if item is None or item == {}:
                    found.setdefault(here, INNER)
    elif isinstance(value, list):
        if strict and node.type not in ("array", ""):
            raise TypedError(f"{render(at)}: expected {_shape(node)}, got &{_go(value)}")
        if node.list_type == "atomic":
            found[at] = value
            return
        for index, item in enumerate(value):
            here = (*at, element(item, node, at, index, strict))
            if strict and here in found:
                what = here[-1][2:]
                shown = render((here[-1],)) if node.list_type == "map" else f"[={what}]"
                raise TypedError(f"{render(at)}: duplicate entries for key {shown}")
            if node.list_type == "map" and node.items is not None:
                _walk(item, node.items, here, found, strict)
                found.setdefault(here, INNER)
            else:
                found[here] = item
    elif value is not None or at:
        if strict and value is not None and node.type in ("object", "array"):
            raise TypedError(f"{render(at)}: expected {_shape(node)}, got &{{{_go(value)}}}")
        found[at] = value


def element(item: Any, node: Node, at: Path, index: int, strict: bool = False) -> str:
    """The path element of an item of an associative list."""
    if node.list_type != "map":
        return "v:" + json.dumps(item, separators=(",", ":"), sort_keys=True)
    keys: dict[str, Any] = {}
    if isinstance(item, dict):
        for key in sorted(node.keys):
            if key in item:
                keys[key] = item[key]
            elif (
                node.items is not None
                and (child := node.items.properties.get(key)) is not None
                and "default" in child.raw
            ):
                keys[key] = child.raw["default"]
    if not keys:
        if strict:
            names = " ".join(f'"{key}"' for key in node.keys)
            raise TypedError(
                f"{render(at)}: element {index}: associative list with keys has an element that omits all key fields"
                f" [{names}]"
                " (and doesn't have default values for any key fields)"
            )
        return f"i:{index}"
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True)


def render(path: Path) -> str:
    """A path as error messages show it: `.spec.env[name="A"].value`."""
    out = ""
    for part in path:
        kind, text = part[0], part[2:]
        if kind == "f":
            out += "." + text
        elif kind == "k":
            out += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(text).items()) + "]"
        elif kind == "v":
            out += f"[={text}]"
        else:
            out += f"[{text}]"
    return out


def _shape(node: Node) -> str:
    return {"object": "map", "array": "list"}.get(node.type, node.type or "scalar")


def _go(value: Any) -> str:
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go(item)}" for key, item in value.items()) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go(item) for item in value) + "]"
    return str(value)


def to_trie(paths: Iterable[Path]) -> dict[str, Any]:
    """Paths in the nested form of `fieldsV1`."""
    root: dict[str, Any] = {}
    inner: list[dict[str, Any]] = []
    for path in sorted(paths):
        at = root
        for part in path:
            at = at.setdefault(part, {})
        inner.append(at)
    for node in inner:
        if node:
            node["."] = {}
    return _sorted(root)


def _sorted(trie: dict[str, Any]) -> dict[str, Any]:
    return {key: _sorted(trie[key]) for key in sorted(trie)}


def from_trie(trie: dict[str, Any]) -> set[Path]:
    """The paths of a nested form."""
    found: set[Path] = set()

    def walk(node: dict[str, Any], at: Path) -> None:
        for key, child in node.items():
            if key == ".":
                found.add(at)
            elif not child:
                found.add((*at, key))
            else:
                walk(child, (*at, key))

    walk(trie, ())
    return found
