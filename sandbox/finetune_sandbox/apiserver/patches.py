"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import jsonpatch
import jsonpointer

from .schema.node import ANY, Node

MAX_OPERATIONS = 10_000


class PatchError(Exception):
    """The patch cannot be carried out on this object."""


def merge_patch(target: Any, patch: Any) -> Any:
    """The target with a merge patch applied; null removes."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value)
    return out


class _Replace(jsonpatch.ReplaceOperation):
    """As in Kubernetes, `replace` of a missing key of an object sets it."""

    def apply(self, obj: Any) -> Any:
        """Replaces the value."""
        parent, key = self.pointer.to_last(obj)
        if isinstance(parent, dict) and key is not None:
            parent[key] = self.operation["value"]
            return obj
        return super().apply(obj)


class _Test(jsonpatch.TestOperation):
    """As in Kubernetes, a missing key of an object is null."""

    def apply(self, obj: Any) -> Any:
        """Compares the value."""
        parent, key = self.pointer.to_last(obj)
        if isinstance(parent, dict) and key not in parent and self.operation.get("value", 0) is None:
            return obj
        return super().apply(obj)


class _JsonPatch(jsonpatch.JsonPatch):
    operations = MappingProxyType({**jsonpatch.JsonPatch.operations, "replace": _Replace, "test": _Test})


def json_patch(document: Any, operations: Any) -> Any:
    """The document with the operations applied in order.

    Raises:
        PatchError: A test failed, a path does not exist or an operation is malformed.
    """
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise PatchError("a JSON patch is a list of operations")
    try:
        return _JsonPatch(operations).apply(document)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as error:
        raise PatchError(str(error)) from error


def strategic_merge(target: Any, patch: Any, node: Node | None) -> Any:
    """The target with a strategic merge patch applied: lists with a merge key are joined by it."""
    if not isinstance(patch, dict):
        return patch
    node = node or ANY
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key == "$patch" or key.startswith("$setElementOrder/"):
            continue
        if key == "$retainKeys":
            out = {name: kept for name, kept in out.items() if name in value}
        elif key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            out[name] = [item for item in out.get(name) or [] if item not in value]
        elif value is None:
            out.pop(key, None)
        else:
            child = node.child(key)
            if isinstance(value, list) and child is not None and child.merge:
                order = patch.get("$setElementOrder/" + key)
                out[key] = _merge_list(out.get(key) or [], value, child, order)
            elif isinstance(value, dict):
                merged = strategic_merge(out.get(key), value, child)
                out[key] = merged
            else:
                out[key] = value
    return out


def _merge_list(target: list[Any], patch: list[Any], node: Node, order: list[Any] | None) -> list[Any]:
    key, item_node = node.merge_key, node.items
    if key is None or (patch and not isinstance(patch[0], dict)):
        merged = target + [item for item in patch if item not in target]
        return _ordered(merged, order, lambda item: item)
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if item.get("$patch") != "replace"]
    out = list(target)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise PatchError(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, old in enumerate(out) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del out[at]
        elif at is None:
            out.append(strategic_merge({}, item, item_node))
        else:
            out[at] = strategic_merge(out[at], item, item_node)
    return _ordered(out, [entry.get(key) for entry in order] if order else None, lambda item: item.get(key))


def _ordered(items: list[Any], order: list[Any] | None, identity: Any) -> list[Any]:
    if not order:
        return items
    rank = {value: at for at, value in enumerate(order)}
    last = len(rank)
    return sorted(items, key=lambda item: rank.get(identity(item), last))
