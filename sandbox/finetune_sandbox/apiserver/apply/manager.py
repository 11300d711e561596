"""Keeps `managedFields`: who set which field, by updates and by server-side apply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from finetune_sandbox.apiserver import clock
from finetune_sandbox.apiserver.errors import ApiError
from finetune_sandbox.apiserver.options import Options
from finetune_sandbox.apiserver.resources import Resource
from finetune_sandbox.apiserver.schema.definitions import OBJECT_META, definition
from finetune_sandbox.apiserver.schema.node import Node

from .fieldset import INNER, Fields, Path, fields_of, from_trie, render, to_trie

Obj = dict[str, Any]

_META = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
]
_STRIPPED = frozenset(
    [("f:apiVersion",), ("f:kind",), ("f:metadata",), *(("f:metadata", "f:" + name) for name in _META)]
)

_POD = (
    "containers",
    "template",
    "template.metadata",
    "template.spec",
    "template.spec.containers",
    "strategy",
    "updateStrategy",
)
_ALWAYS = frozenset(
    tuple("f:" + name for name in place.split(".")) for place in ("spec", "status", *("spec." + name for name in _POD))
)
"""Structs and lists of built-in kinds that are there even when nothing is in them, so that nobody owns them."""


@dataclass(frozen=True)
class Entry:
    """What one manager owns through one way of writing."""

    manager: str
    operation: str
    version: str
    sub: str
    time: str | None
    paths: frozenset[Path]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Writes of one identity share an entry; applies do so across versions."""
        return (self.manager, self.operation, self.sub, self.version if self.operation == "Update" else "")

    def shown(self) -> str:
        """The manager as conflicts name it."""
        text = f'"{self.manager}"' + (f' with subresource "{self.sub}"' if self.sub else "")
        if self.operation == "Update":
            text += f" using {self.version}" + (f" at {self.time}" if self.time else "")
        return text


def entries_of(obj: Obj) -> list[Entry]:
    """The managers of an object."""
    found = []
    for raw in obj["metadata"].get("managedFields") or ():
        if isinstance(raw, dict) and raw.get("operation"):
            paths = frozenset(from_trie(raw.get("fieldsV1") or {}))
            version, sub = raw.get("apiVersion", ""), raw.get("subresource", "")
            found.append(Entry(raw.get("manager", ""), raw["operation"], version, sub, raw.get("time"), paths))
    return found


def with_entries(obj: Obj, entries: list[Entry]) -> Obj:
    """An object with these managers."""
    raw = []
    for entry in sorted(entries, key=lambda item: (item.operation, item.time or "", item.manager)):
        if not entry.paths:
            continue
        item = {
            "manager": entry.manager,
            "operation": entry.operation,
            "apiVersion": entry.version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_trie(entry.paths),
        }
        raw.append(item | ({"subresource": entry.sub} if entry.sub else {}))
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": {**meta, "managedFields": raw} if raw else meta}


def schema_of(resource: Resource) -> Node:
    """The schema of whole objects: that of a CRD says nothing about metadata."""
    if resource.custom is None:
        return resource.node
    if resource.whole is None:
        raw = {**resource.node.raw, "type": "object"}
        node = Node(raw)
        scalar = Node({"type": "string"})
        node._properties = {
            **resource.node.properties,
            "metadata": definition(OBJECT_META),
            "apiVersion": scalar,
            "kind": scalar,
        }
        resource.whole = node
    return resource.whole


def owned(obj: Obj, resource: Resource, sub: str, strict: bool = False) -> Fields:
    """The fields of an object that can be owned through an endpoint."""
    found = fields_of(obj, schema_of(resource), strict)
    return {path: value for path, value in found.items() if path not in _STRIPPED and _counts(path, resource, sub)}


def _counts(path: Path, resource: Resource, sub: str) -> bool:
    if path[:2] == ("f:metadata", "f:managedFields"):
        return False
    if sub == "status":
        return path[0] not in ("f:spec", "f:metadata") or (resource.custom is None and path[0] == "f:metadata")
    return not (resource.has_status and path[0] == "f:status")


def changes(resource: Resource, old: Fields, new: Fields) -> tuple[set[Path], set[Path]]:
    """The paths that were set (added or modified) and those that were removed, with the maps and lists around them."""
    before, after = _places(resource, old), _places(resource, new)
    modified = {path for path, value in new.items() if path in old and value is not INNER and old[path] != value}
    return (after - before) | modified, before - after


def _places(resource: Resource, found: Fields) -> set[Path]:
    """Every path that is there: leaves, and what holds them unless it is always there."""
    places = {path[:length] for path in found for length in range(1, len(path) + 1)}
    return places - _STRIPPED - (_ALWAYS if resource.custom is None else frozenset())


class FieldManager:
    """Brings managedFields up to date with a write."""

    def created(self, resource: Resource, obj: Obj, options: Options) -> Obj:
        """A new object, all of whose fields belong to the one who made it."""
        paths = frozenset(_places(resource, owned(obj, resource, "")))
        entry = Entry(options.manager, "Update", resource.api_version, "", clock.now(), paths)
        return with_entries(obj, [entry])

    def updated(self, resource: Resource, old: Obj, new: Obj, options: Options, sub: str) -> Obj:
        """A changed object: what changed belongs to the one who changed it."""
        sent = new["metadata"].get("managedFields")
        entries = [] if sent == [{}] else entries_of(new) or entries_of(old)
        if _bare(new) == _bare(old):
            return with_entries(new, entries) if sent != old["metadata"].get("managedFields") else new
        touched, removed = changes(resource, owned(old, resource, sub), owned(new, resource, sub))
        own = Entry(options.manager, "Update", resource.api_version, sub, None, frozenset())
        out, mine = [], own
        for entry in entries:
            if entry.identity == own.identity:
                mine = entry
            else:
                out.append(_without(entry, touched | removed))
        paths = (mine.paths | touched) - removed
        if paths != mine.paths or touched:
            mine = replace(mine, paths=frozenset(paths), time=clock.now())
        return with_entries(new, [*out, mine])


def _bare(obj: Obj) -> Obj:
    meta = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in ("managedFields", "resourceVersion", "generation")
    }
    return {**obj, "metadata": meta}


def _without(entry: Entry, paths: set[Path]) -> Entry:
    return replace(entry, paths=entry.paths - paths) if not entry.paths.isdisjoint(paths) else entry


def applied(
    resource: Resource, live: Obj | None, merged: Obj, config: Fields, options: Options, sub: str
) -> list[Entry]:
    """The managers after a server-side apply.

    Raises:
        ApiError: 409 when the change touches fields of others and is not forced.
    """
    before: Fields = owned(live, resource, sub) if live is not None else {}
    touched, removed = changes(resource, before, owned(merged, resource, sub))
    mine = Entry(options.manager, "Apply", resource.api_version, sub, None, frozenset())
    out, conflicts = [], []
    for entry in entries_of(live) if live is not None else ():
        if entry.identity == mine.identity:
            mine = entry
            continue
        clash = entry.paths & touched
        if clash and not options.force:
            conflicts += [(entry, path) for path in sorted(clash)]
        out.append(_without(entry, touched | removed))
    if conflicts:
        raise conflict_error(conflicts)
    paths = frozenset(config)
    if paths != mine.paths or mine.version != resource.api_version or mine.time is None:
        mine = replace(mine, paths=paths, version=resource.api_version, time=clock.now())
    return [*out, mine]


def conflict_error(conflicts: list[tuple[Entry, Path]]) -> ApiError:
    """409 that names the fields and their owners."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {entry.shown()}", "field": render(path)}
        for entry, path in conflicts
    ]
    if len(conflicts) == 1:
        text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        by_owner: dict[str, list[str]] = {}
        for entry, path in conflicts:
            by_owner.setdefault(entry.shown(), []).append(render(path))
        listed = [
            f"conflicts with {owner}:\n" + "\n".join(f"- {field}" for field in fields)
            for owner, fields in sorted(by_owner.items())
        ]
        text = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(listed)
    return ApiError(409, "Conflict", text, {"causes": causes})
