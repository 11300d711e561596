"""Defaulting of custom objects from the `default` values of their structural schema."""

from __future__ import annotations

import copy
from typing import Any

from .node import Node


def apply_defaults(value: Any, node: Node) -> None:
    """Fills in defaults in place; a null where null is not allowed counts as missing."""
    if isinstance(value, dict):
        for name, child in node.properties.items():
            if value.get(name) is None and (name not in value or not child.nullable):
                if child.raw.get("default") is not None:
                    value[name] = copy.deepcopy(child.raw["default"])
                elif name in value and not child.open:
                    del value[name]
            if name in value:
                apply_defaults(value[name], child)
        if node.additional is not None:
            for name, item in value.items():
                if name not in node.properties:
                    apply_defaults(item, node.additional)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            apply_defaults(item, node.items)
