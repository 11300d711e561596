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
_OPEN = ("JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray", "RawExtension", "FieldsV1")
_PROSE = ("description", "x-kubernetes-unions")


def documented() -> dict[str, Any]:
    """All definitions with their descriptions; large, so callers keep only what they serve."""
    data = (resources.files(__package__).parent / "data/definitions.json.gz").read_bytes()  # type: ignore[attr-defined]
    found: dict[str, Any] = json.loads(gzip.decompress(data))
    return found


@cache
def definitions() -> dict[str, Any]:
    """The definitions without prose: what the server itself reads."""
    found = {name: _strip(schema) for name, schema in documented().items()}
    for name in ("ContainerPort", "ServicePort"):  # a key of keyed lists, whose default the published schemas leave out
        found["io.k8s.api.core.v1." + name]["properties"]["protocol"]["default"] = "TCP"
    return found


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
    raw = definitions()[name]
    short = name.rpartition(".")[2]
    if short in _OPEN:
        raw = {"x-kubernetes-preserve-unknown-fields": True}
    elif short == "IntOrString" or short == "Quantity":
        raw = {"x-kubernetes-int-or-string": True, "format": short}
    return Node(raw, definition)


@cache
def kinds() -> dict[tuple[str, str, str], str]:
    """The name of the definition of each (group, version, kind)."""
    found: dict[tuple[str, str, str], str] = {}
    for name, schema in definitions().items():
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            found.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return found
