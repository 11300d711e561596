"""Merging an applied configuration into an object, and taking out what is no longer applied."""

from __future__ import annotations

import copy
from typing import Any

from finetune_sandbox.apiserver.schema.node import ANY, Node

from .fieldset import Path, element


def merge(live: Any, config: Any, node: Node) -> Any:
    """The live value with the configuration laid over it: maps and associative lists are joined."""
    if isinstance(config, dict) and isinstance(live, dict) and not node.atomic:
        out = dict(live)
        for key, value in config.items():
            out[key] = merge(live.get(key), value, node.child(key) or ANY)
        return out
    if isinstance(config, list) and isinstance(live, list) and node.list_type != "atomic":
        return _merge_lists(live, config, node)
    return copy.deepcopy(config)


def _merge_lists(live: list[Any], config: list[Any], node: Node) -> list[Any]:
    """Items in the order of the configuration, with live ones kept in their place between them."""
    left = [(element(item, node, (), index), item) for index, item in enumerate(live)]
    right = [(element(item, node, (), index), item) for index, item in enumerate(config)]
    wanted, by_key = {key for key, _ in right}, dict(left)
    out, done = [], set()
    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left):
            key, item = left[i]
            if key not in wanted:
                out.append(item)
                i += 1
                continue
            if key in done:
                i += 1
                continue
        if j >= len(right):
            i += 1
            continue
        key, item = right[j]
        j += 1
        done.add(key)
        if key in by_key and node.list_type == "map" and node.items is not None:
            out.append(merge(by_key[key], item, node.items))
        else:
            out.append(copy.deepcopy(item))
    return out


def remove(value: Any, node: Node, gone: set[Path], held: set[Path]) -> Any:
    """A copy of a value without the given paths; what became empty by that goes too unless it is held."""
    return _remove(value, node, (), gone, {path[:length] for path in gone for length in range(len(path))}, held)


_NOTHING = object()


def _remove(value: Any, node: Node, at: Path, gone: set[Path], above: set[Path], held: set[Path]) -> Any:
    if at not in above:
        return value
    if isinstance(value, dict) and not node.atomic:
        out = {}
        for key, item in value.items():
            here = (*at, "f:" + key)
            if here in gone:
                continue
            kept = _remove(item, node.child(key) or ANY, here, gone, above, held)
            if kept is not _NOTHING:
                out[key] = kept
        return out if out or not value or not at or at in held else _NOTHING
    if isinstance(value, list) and node.list_type != "atomic":
        items = []
        for index, item in enumerate(value):
            here = (*at, element(item, node, at, index))
            if here in gone:
                continue
            kept = _remove(item, node.items or ANY, here, gone, above, held)
            if kept is not _NOTHING:
                items.append(kept)
        return items if items or not value or at in held else _NOTHING
    return value
