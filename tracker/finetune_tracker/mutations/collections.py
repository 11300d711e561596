"""Collections of artifact versions: sequences and portfolios, their versions and aliases."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from finetune_tracker.context import Context
from finetune_tracker.errors import BadRequest, NotFound
from finetune_tracker.ids import parse_global_id
from finetune_tracker.mutations.projects import ensure_type
from finetune_tracker.views.artifact import Collection

_NAME = re.compile(r"[^/\\:\x00-\x1f]{1,128}")
_RESERVED = re.compile(r"v\d+")


def update_collection(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Change a collection's name or description."""
    row = _given_collection(ctx, given)
    name = given.get("name")
    if name is not None and name != row["name"]:
        _check_name(name)
        if ctx.one("SELECT 1 FROM collections WHERE project_id = ? AND name = ?", row["project_id"], name):
            raise BadRequest(f"collection {name!r} exists already")
    ctx.db.execute(
        "UPDATE collections SET name = coalesce(?, name), description = coalesce(?, description), updated_at = ? "
        "WHERE id = ?",
        (name, given.get("description"), ctx.now, row["id"]),
    )
    return {"artifactCollection": Collection(ctx, row_of(ctx, "collections", row["id"]))}


def move_collection(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Give a collection another artifact type."""
    row = _given_collection(ctx, given)
    kind = ensure_type(ctx, row["project_id"], str(given.get("destination_artifact_type_name") or ""))
    ctx.db.execute("UPDATE collections SET type_id = ?, updated_at = ? WHERE id = ?", (kind, ctx.now, row["id"]))
    return {"artifactCollection": Collection(ctx, row_of(ctx, "collections", row["id"]))}


def delete_collection(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Delete a collection with its versions (of a portfolio: the links)."""
    row = _given_collection(ctx, given)
    ctx.db.execute("DELETE FROM collections WHERE id = ?", (row["id"],))
    return {"artifactCollection": {"__typename": "ArtifactCollection", "state": "DELETED"}}


def tag_collection(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Add tags to a collection."""
    row = named_collection(ctx, given)
    for tag in given.get("tags") or ():
        ctx.db.execute(
            "INSERT INTO collection_tags VALUES (?, ?) ON CONFLICT DO NOTHING", (row["id"], str(tag.get("tag_name")))
        )
    return {"tags": [edge["node"] for edge in Collection(ctx, row).tags()["edges"]]}


def untag_collection(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Remove tags from a collection."""
    row = named_collection(ctx, given)
    for tag in given.get("tags") or ():
        ctx.db.execute(
            "DELETE FROM collection_tags WHERE collection_id = ? AND name = ?", (row["id"], str(tag.get("tag_name")))
        )
    return {"success": True}


def ensure_collection(ctx: Context, project: sqlite3.Row, name: object, kind: str, form: str) -> sqlite3.Row:
    """A collection, created if need be.

    Raises:
        BadRequest: It exists with another type or form, or the name is malformed.
    """
    _check_name(name)
    row = ctx.one("SELECT * FROM collections WHERE project_id = ? AND name = ?", project["id"], name)
    if row is None:
        if not kind:
            raise BadRequest("an artifact needs a type")
        cursor = ctx.db.execute(
            "INSERT INTO collections (project_id, type_id, kind, name, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (project["id"], ensure_type(ctx, project["id"], kind), form, name, ctx.now, ctx.now),
        )
        return row_of(ctx, "collections", cursor.lastrowid)
    found = ctx.one("SELECT name FROM artifact_types WHERE id = ?", row["type_id"])
    if found is not None and found["name"] != kind:
        raise BadRequest(f"collection {name!r} holds artifacts of type {found['name']!r}, not {kind!r}")
    if row["kind"] != form:
        raise BadRequest(f"{name!r} is a {row['kind']}, not a {form}")
    return row


def add_membership(ctx: Context, collection_id: int, artifact_id: int) -> sqlite3.Row:
    """A version's place in a collection; a new one gets the next number."""
    row = ctx.one("SELECT * FROM memberships WHERE collection_id = ? AND artifact_id = ?", collection_id, artifact_id)
    if row is None:
        ctx.db.execute(
            "INSERT INTO memberships (collection_id, artifact_id, version, created_at) "
            "SELECT id, ?, next_version, ? FROM collections WHERE id = ?",
            (artifact_id, ctx.now, collection_id),
        )
        ctx.db.execute(
            "UPDATE collections SET next_version = next_version + 1, updated_at = ? WHERE id = ?",
            (ctx.now, collection_id),
        )
    return membership_row(ctx, collection_id, artifact_id)


def set_aliases(ctx: Context, membership: sqlite3.Row, aliases: list[str], *, latest: bool = True) -> None:
    """Point aliases at a version, away from whichever had them.

    Raises:
        BadRequest: An alias is malformed, or reserved as a version number.
    """
    for alias in dict.fromkeys([*aliases, "latest"] if latest else aliases):
        if not alias or len(alias) > 128 or "/" in alias or ":" in alias or _RESERVED.fullmatch(alias):
            raise BadRequest(f"alias {alias[:80]!r} must not be empty, a version such as v0, or contain / or :")
        ctx.db.execute(
            "INSERT INTO aliases (collection_id, alias, membership_id) VALUES (?, ?, ?) "
            "ON CONFLICT (collection_id, alias) DO UPDATE SET membership_id = excluded.membership_id",
            (membership["collection_id"], alias, membership["id"]),
        )


def membership_row(ctx: Context, collection_id: int, artifact_id: int) -> sqlite3.Row:
    """A version's place in a collection.

    Raises:
        NotFound: It has none.
    """
    row = ctx.one("SELECT * FROM memberships WHERE collection_id = ? AND artifact_id = ?", collection_id, artifact_id)
    if row is None:
        raise NotFound("the artifact version is not in that collection")
    return row


def own_collection(ctx: Context, text: object) -> sqlite3.Row:
    """A collection of the viewer, by its global id.

    Raises:
        NotFound: No such collection.
    """
    row = ctx.one("SELECT * FROM collections WHERE id = ?", parse_global_id("ArtifactCollection", text))
    if row is None or not ctx.owns_project(row["project_id"]):
        raise NotFound("no such artifact collection")
    return row


def named_collection(ctx: Context, given: dict[str, Any]) -> sqlite3.Row:
    """A collection of the viewer, by its entity, project and name.

    Raises:
        NotFound: No such collection.
    """
    project = ctx.require_project(given.get("entity_name"), given.get("project_name"))
    row = ctx.one(
        "SELECT * FROM collections WHERE project_id = ? AND name = ?",
        project["id"],
        given.get("artifact_collection_name"),
    )
    if row is None:
        raise NotFound(f"artifact collection {given.get('artifact_collection_name')!r} not found")
    return row


def _given_collection(ctx: Context, given: dict[str, Any]) -> sqlite3.Row:
    return own_collection(ctx, given.get("artifact_sequence_id") or given.get("artifact_portfolio_id"))


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest(f"collection name {str(name)[:80]!r} needs 1 to 128 characters without / \\ and :")


def row_of(ctx: Context, table: str, number: int | None) -> sqlite3.Row:
    """A row that is known to exist."""
    row = ctx.one(f"SELECT * FROM {table} WHERE id = ?", number)
    assert row is not None
    return row
