"""The OpenAPI definitions of the built-in kinds, unpacked when first needed."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib import resources
from typing import Any

from .node import Node

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = META + "ObjectMeta"
TYPE = "x-type"
"""Holds the name of a definition, without its package, in the compiled schema."""
_OPEN = (
    "JSON",
    "JSONSchemaPropsOrArray",
    "JSONSchemaPropsOrBool",
    "JSONSchemaPropsOrStringArray",
    "RawExtension",
    "FieldsV1",
)
_PROSE = ("description", "x-kubernetes-unions")


@cache
def _lines() -> list[list[str]]:
    """Name, kinds and schema of each definition, the latter two still as JSON."""
    data = (resources.files(__package__).parent / "data/definitions.txt.gz").read_bytes()  # type: ignore[attr-defined]
    return [line.split("\t") for line in gzip.decompress(data).decode().split("\n")]


@cache
def texts() -> dict[str, str]:
    """The schema of each definition as JSON text, with its descriptions."""
    return {name: text for name, _, text in _lines()}


def _strip(schema: dict[str, Any]) -> dict[str, Any]:
    out = {key: value for key, value in schema.items() if key not in _PROSE}
    if "properties" in out:
        out["properties"] = {name: _strip(field) for name, field in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _strip(out[key])
    return out


@cache
def definition(name: str) -> Node:
    """The compiled definition of a name such as `io.k8s.api.core.v1.Pod`."""
    raw = _strip(json.loads(texts()[name]))
    short = name.rpartition(".")[2]
    if short in _OPEN:
        raw = {"x-kubernetes-preserve-unknown-fields": True}
    elif short == "IntOrString" or short == "Quantity":
        raw = {"x-kubernetes-int-or-string": True, "format": short}
    else:
        raw[TYPE] = short
    return Node(raw, definition)


@cache
def kinds() -> dict[tuple[str, str, str], str]:
    """The name of the definition of each (group, version, kind)."""
    found: dict[tuple[str, str, str], str] = {}
    for name, listed, _ in _lines():
        for group, version, kind in json.loads(listed):
            found.setdefault((group, version, kind), name)
    return found
