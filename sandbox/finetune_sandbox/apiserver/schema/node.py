"""Compiled schemas: what pruning, defaulting, validation, patches and server-side apply need to know about a field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]
Resolver = Callable[[str], "Node"]

REFERENCE = "#/components/schemas/"
_CHECKS = frozenset(
    [
        "enum",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "required",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    ]
)

_UNKNOWN = object()
"""Stands for a schema that was not looked at yet, where None says that there is none."""


class Node:
    """One schema, compiled on demand level by level.

    Attributes:
        raw: The schema itself.
        type: `object`, `array`, `string`, `integer`, `number`, `boolean`; empty when anything goes.
        list_type: `atomic`, `set` or `map`.
        keys: The keys of the items of a list of type `map`.
        atomic: The object is owned as a whole by one field manager.
        merge_key: Key by which a strategic merge patch joins items; None where lists are replaced.
        merge: A strategic merge patch merges this list.
        preserve: Unknown fields are kept.
        embedded: The value is a whole Kubernetes object.
        int_or_string: Integers and strings are both fine.
        nullable: The value null is kept.
        checks: There is something to validate besides type and structure.
    """

    __slots__ = (
        "_additional", "_items", "_properties", "_resolve", "atomic", "checks", "embedded", "int_or_string", "keys",
        "list_type", "merge", "merge_key", "nullable", "preserve", "raw", "rules", "type",
    )  # fmt: skip

    def __init__(self, raw: Schema, resolve: Resolver | None = None) -> None:
        self.raw, self._resolve = raw, resolve
        self.type: str = raw.get("type") or ("object" if "properties" in raw else "")
        self.list_type: str = raw.get("x-kubernetes-list-type") or "atomic"
        self.keys: list[str] = raw.get("x-kubernetes-list-map-keys") or []
        self.atomic = raw.get("x-kubernetes-map-type") == "atomic"
        self.merge_key: str | None = raw.get("x-kubernetes-patch-merge-key")
        self.merge = "merge" in (raw.get("x-kubernetes-patch-strategy") or "").split(",")
        self.preserve = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(raw.get("x-kubernetes-embedded-resource"))
        self.int_or_string = bool(raw.get("x-kubernetes-int-or-string")) or raw.get("format") == "int-or-string"
        self.nullable = bool(raw.get("nullable"))
        self.rules: list[dict[str, Any]] = raw.get("x-kubernetes-validations") or []
        self.checks = not _CHECKS.isdisjoint(raw)
        self._properties: dict[str, Node] | None = None
        self._items: Node | None = None
        self._additional: Any = _UNKNOWN

    def _make(self, raw: Schema) -> Node:
        if self._resolve is not None:
            reference = raw.get("$ref")
            if reference:
                return self._resolve(reference.removeprefix(REFERENCE))
            alternatives = raw.get("allOf")
            if alternatives and len(alternatives) == 1 and "$ref" in alternatives[0]:
                target = self._resolve(alternatives[0]["$ref"].removeprefix(REFERENCE))
                own = {key: value for key, value in raw.items() if key != "allOf" and key.startswith("x-kubernetes")}
                return Node({**target.raw, **own}, self._resolve) if own else target
        return Node(raw, self._resolve)

    @property
    def properties(self) -> dict[str, Node]:
        """The declared fields."""
        if self._properties is None:
            self._properties = {name: self._make(raw) for name, raw in (self.raw.get("properties") or {}).items()}
        return self._properties

    @property
    def items(self) -> Node | None:
        """The schema of the elements of a list."""
        if self._items is None and isinstance(raw := self.raw.get("items"), Mapping):
            self._items = self._make(raw)
        return self._items

    @property
    def additional(self) -> Node | None:
        """The schema of the values of a map with free keys."""
        if self._additional is _UNKNOWN:
            raw = self.raw.get("additionalProperties")
            self._additional = self._make(raw) if isinstance(raw, Mapping) else Node({}) if raw is True else None
        found: Node | None = self._additional
        return found

    @property
    def open(self) -> bool:
        """A place without structure: anything is kept and nothing is known about it."""
        return not self.type and "properties" not in self.raw and not self.int_or_string

    def child(self, name: str) -> Node | None:
        """The schema of one field of an object; None where it is unknown."""
        found = self.properties.get(name)
        return found if found is not None else self.additional

    def walk(self, path: list[str]) -> Node | None:
        """The schema at a path of field names."""
        node: Node | None = self
        for name in path:
            node = node.child(name) if node is not None else None
        return node


ANY = Node({"x-kubernetes-preserve-unknown-fields": True})
"""What is known of an unknown place: maps are merged, lists are atomic."""
