"""Walks a built-in object along its schema, to say of each part of which type it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .definitions import TYPE
from .node import Node

Part = tuple[str, dict[str, Any], str]


def parts(value: Any, node: Node | None, at: str = "") -> Iterator[Part]:
    """The objects within a value, outer ones first: name of the type (such as `PodSpec`), object and path.

    What is added to an object before the next one is asked for is walked too.
    """
    if node is None:
        return
    if isinstance(value, dict):
        if kind := node.raw.get(TYPE):
            yield kind, value, at
        for key, item in value.items():
            if isinstance(item, (dict, list)) and (at or key != "metadata"):
                yield from parts(item, node.child(key), f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield from parts(item, node.items, f"{at}[{index}]")
