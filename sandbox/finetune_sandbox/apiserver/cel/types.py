"""The types of CEL, and those that a structural schema declares."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from finetune_sandbox.apiserver.schema.node import Node

from .syntax import RESERVED

REQUEST = 3 * 1024 * 1024
"""The largest request: bounds what a schema leaves unbounded."""

_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class Type:
    """A type with its parameters.

    Attributes:
        name: Such as `int`, `list`, `map`, `object`, `dyn`, or one upper-case letter for a type parameter.
        params: Element types of lists, maps, optionals and types.
        node: Schema of an object.
        size: Largest length of a string, list or map; None when nothing is known.
    """

    name: str
    params: tuple[Type, ...] = ()
    node: Node | None = field(default=None, compare=False, repr=False)
    size: int | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        if self.name == "null_type":
            return "null"
        return self.name + (f"({', '.join(map(str, self.params))})" if self.params else "")


DYN, BOOL, INT, UINT, DOUBLE = Type("dyn"), Type("bool"), Type("int"), Type("uint"), Type("double")
STRING, NULL, TIMESTAMP, DURATION = Type("string"), Type("null_type"), Type("timestamp"), Type("duration")


def list_of(element: Type, size: int | None = None) -> Type:
    """The type of a list."""
    return Type("list", (element,), size=size)


def optional_of(element: Type) -> Type:
    """The type of an optional value."""
    return Type("optional_type", (element,))


def escape(name: str) -> str | None:
    """The CEL identifier of a field; None for names that rules cannot reach."""
    if name in RESERVED:
        return f"__{name}__"
    for text, replacement in _ESCAPES:
        name = name.replace(text, replacement)
    return name if _IDENTIFIER.fullmatch(name) else None


def of_schema(node: Node, root: bool = False) -> Type | None:
    """The type that a schema declares; None where rules cannot look."""
    if node.int_or_string:
        return DYN
    if node.type == "object":
        if node.additional is not None:
            values = of_schema(node.additional)
            return values and Type(
                "map", (STRING, values), size=_limit(node, "maxProperties", smallest(node.additional) + 6)
            )
        return Type("object", node=_with_meta(node) if root or node.embedded else node)
    if node.type == "array":
        if node.items is None:
            return None
        element = of_schema(node.items)
        return element and list_of(element, _limit(node, "maxItems", smallest(node.items) + 1))
    if node.type == "string":
        return _of_string(node)
    return {"integer": INT, "number": DOUBLE, "boolean": BOOL}.get(node.type)


def _of_string(node: Node) -> Type:
    form = node.raw.get("format")
    if form == "byte":
        limit = node.raw.get("maxLength")
        return Type("bytes", size=limit if limit is not None else REQUEST - 2)
    if form == "duration":
        return DURATION
    if form in ("date", "date-time"):
        return TIMESTAMP
    limit = node.raw.get("maxLength")
    if limit is None and (allowed := node.raw.get("enum")):
        limit = max((len(item) for item in allowed if isinstance(item, str)), default=0)
    return Type("string", size=4 * limit if limit is not None else REQUEST - 2)


def _limit(node: Node, key: str, each: int) -> int:
    found = node.raw.get(key)
    return found if found is not None else (REQUEST - 2) // each


def _with_meta(node: Node) -> Node:
    text = {"type": "string"}
    meta = {"type": "object", "properties": {"name": text, "generateName": text}}
    return Node(
        {
            **node.raw,
            "type": "object",
            "properties": {**(node.raw.get("properties") or {}), "apiVersion": text, "kind": text, "metadata": meta},
        }
    )


def smallest(node: Node) -> int:
    """The least number of bytes that a value of a schema takes in JSON."""
    if "default" in node.raw:
        return 0 if node.type not in ("object", "array") else 2
    if node.type == "object":
        required = set(node.raw.get("required") or ())
        return 2 + sum(len(name) + 4 + smallest(child) for name, child in node.properties.items() if name in required)
    if node.type == "array":
        count = node.raw.get("minItems") or 0
        return 2 + count * ((smallest(node.items) if node.items is not None else 1) + 1)
    if node.type == "string":
        length: int = 2 + (node.raw.get("minLength") or 0)
        return length
    return {"boolean": 4, "integer": 1, "number": 1}.get(node.type, 1)


def fields(kind: Type) -> dict[str, Type]:
    """The fields of an object by their CEL names."""
    found = {}
    for name, child in (kind.node.properties if kind.node is not None else {}).items():
        declared, identifier = of_schema(child), escape(name)
        if declared is not None and identifier is not None:
            found[identifier] = declared
    return found
