"""Tables: what `kubectl get` prints, made by the server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .ages import age
from .columns import BUILTIN, PLAIN, Cells, Columns, Row
from .jsonpath import find
from .resources import Resource
from .store import Obj


def table(
    resource: Resource, objects: Sequence[Obj], meta: Mapping[str, Any], include: str, headers: bool = True
) -> Obj:
    """The `Table` of some objects.

    Args:
        resource: What they are.
        objects: The rows.
        meta: Metadata of the list.
        include: `None`, `Metadata` or `Object`: what each row carries along.
        headers: A watch sends the columns only once.
    """
    columns, row = _custom(resource) if resource.custom is not None else BUILTIN.get(resource.plural, PLAIN)
    told = {item["name"]: item.get("description") for item in resource.columns}
    described = [
        {
            "name": name,
            "type": kind,
            "format": "name" if name == "Name" and priority == 0 else "",
            "description": told.get(name) or f"{name} of the {resource.kind}",
            "priority": priority,
        }
        for name, kind, priority in columns
    ]
    rows = [{"cells": row(obj), "object": _carried(obj, include)} for obj in objects]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(meta),
        "columnDefinitions": described if headers else None,
        "rows": rows,
    }


def partial(obj: Obj) -> Obj:
    """An object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _carried(obj: Obj, include: str) -> Obj | None:
    return None if include == "None" else obj if include == "Object" else partial(obj)


def _custom(resource: Resource) -> tuple[Columns, Row]:
    columns = [("Name", "string", 0)] + [
        (item["name"], item["type"], item.get("priority", 0)) for item in resource.columns
    ]

    def row(obj: Obj) -> Cells:
        return [obj["metadata"]["name"], *(_cell(obj, item["jsonPath"], item["type"]) for item in resource.columns)]

    return columns, row


def _cell(obj: Obj, path: str, kind: str) -> Any:
    """The value of a printer column; None where there is none or it is of another type."""
    values = find(obj, path)
    if not values or values[0] is None:
        return None
    value = values[0]
    if kind == "string":
        if len(values) > 1 and not isinstance(value, (dict, list)):
            return str(value)
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if kind == "date":
        return age(value) if isinstance(value, str) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if kind == "integer" else value
