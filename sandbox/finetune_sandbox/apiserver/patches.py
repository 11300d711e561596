"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

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


def json_patch(document: Any, operations: Any) -> Any:
    """The document with the operations applied in order.

    As in Kubernetes, `replace` of a missing key of an object sets it.

    Raises:
        PatchError: A test failed, a path does not exist or an operation is malformed.
    """
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise PatchError("a JSON patch is a list of operations")
    holder = {"": copy.deepcopy(document)}
    for operation in operations:
        try:
            _operate(holder, operation)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise PatchError(f"{operation}: {error}") from error
    return holder[""]


def _operate(holder: dict[str, Any], operation: dict[str, Any]) -> None:
    kind, path = operation["op"], operation["path"]
    parent, key = _locate(holder, path)
    if kind == "test":
        if _get(parent, key, missing=None) != operation.get("value"):
            raise ValueError("the test failed")
    elif kind == "add":
        _add(parent, key, copy.deepcopy(operation["value"]))
    elif kind == "replace":
        if isinstance(parent, list):
            parent[_index(parent, key)] = copy.deepcopy(operation["value"])
        else:
            parent[key] = copy.deepcopy(operation["value"])
    elif kind == "remove":
        del parent[_index(parent, key) if isinstance(parent, list) else key]
    elif kind in ("move", "copy"):
        source, source_key = _locate(holder, operation["from"])
        value = _get(source, source_key)
        if kind == "move":
            del source[_index(source, source_key) if isinstance(source, list) else source_key]
        _add(*_locate(holder, path), copy.deepcopy(value))
    else:
        raise ValueError("unknown operation")


_RAISE = object()


def _get(parent: Any, key: str, missing: Any = _RAISE) -> Any:
    if isinstance(parent, list):
        return parent[_index(parent, key)]
    return parent[key] if missing is _RAISE else parent.get(key, missing)


def _add(parent: Any, key: str, value: Any) -> None:
    if isinstance(parent, list):
        at = len(parent) if key == "-" else int(key)
        if not 0 <= at <= len(parent):
            raise IndexError(key)
        parent.insert(at, value)
    else:
        parent[key] = value


def _index(items: list[Any], key: str) -> int:
    at = int(key)
    if not 0 <= at < len(items):
        raise IndexError(key)
    return at


def _locate(holder: dict[str, Any], pointer: str) -> tuple[Any, str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError("not a JSON pointer")
    parent: Any = holder
    parts = pointer.split("/")
    for part in parts[:-1]:
        parent = _get(parent, _unescape(part))
    if not isinstance(parent, (dict, list)):
        raise TypeError("the parent holds no fields")
    return parent, _unescape(parts[-1])


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


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
