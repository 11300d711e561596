"""Mutations of projects and registries."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from finetune_tracker.context import Context
from finetune_tracker.errors import BadRequest, NotFound
from finetune_tracker.ids import parse_global_id
from finetune_tracker.views.project import Project

_NAME = re.compile(r"[^/\\#?%:\x00-\x1f]{1,128}")


def ensure_project(ctx: Context, entity: str | None, name: str | None) -> sqlite3.Row:
    """A project of the viewer, created if need be.

    Raises:
        Forbidden: The entity is not the viewer's.
        BadRequest: The name has characters that W&B refuses too.
    """
    return _ensure(ctx, entity, name)[0]


def upsert_project(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Create or change a project; registries are projects of the organisation's entity."""
    if given.get("id"):
        number = parse_global_id("Project", given["id"])
        row = ctx.one("SELECT * FROM projects WHERE id = ?", number)
        if row is None or not ctx.owns_project(number):
            raise NotFound("no such project")
        inserted = False
    else:
        row, inserted = _ensure(ctx, given.get("entity_name"), given.get("name"))
    allow_all = given.get("allow_all_artifact_types_in_registry")
    ctx.db.execute(
        "UPDATE projects SET description = coalesce(?, description), access = coalesce(?, access), "
        "views = coalesce(?, views), allow_all_types = coalesce(?, allow_all_types), updated_at = ? WHERE id = ?",
        (given.get("description"), given.get("access"), given.get("views"),
         None if allow_all is None else int(bool(allow_all)), ctx.now, row["id"]),
    )  # fmt: skip
    for kind in given.get("artifact_types") or ():
        if isinstance(kind, dict) and kind.get("name"):
            ensure_type(ctx, row["id"], str(kind["name"]))
    found = ctx.one("SELECT * FROM projects WHERE id = ?", row["id"])
    assert found is not None
    node = Project(ctx, found)
    return {"project": node, "model": node, "inserted": inserted}


def rename_project(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Give a project another name."""
    row = ctx.require_project(given.get("entity_name"), given.get("old_project_name"))
    name = _check_name(given.get("new_project_name"))
    if ctx.one("SELECT 1 FROM projects WHERE entity_id = ? AND name = ?", row["entity_id"], name):
        raise BadRequest(f"project {name!r} exists already")
    ctx.db.execute("UPDATE projects SET name = ?, updated_at = ? WHERE id = ?", (name, ctx.now, row["id"]))
    found = ctx.one("SELECT * FROM projects WHERE id = ?", row["id"])
    assert found is not None
    return {"project": Project(ctx, found), "inserted": False}


def delete_project(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Delete a project with all it holds."""
    number = parse_global_id("Project", given.get("id"))
    if not ctx.owns_project(number):
        raise NotFound("no such project")
    ctx.db.execute("DELETE FROM projects WHERE id = ?", (number,))
    return {"success": True}


def ensure_type(ctx: Context, project_id: int, name: str) -> int:
    """The number of an artifact type, created if need be."""
    ctx.db.execute(
        "INSERT INTO artifact_types (project_id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (project_id, name[:128], ctx.now),
    )
    return ctx.count("SELECT id FROM artifact_types WHERE project_id = ? AND name = ?", project_id, name[:128])


def _ensure(ctx: Context, entity: str | None, name: str | None) -> tuple[sqlite3.Row, bool]:
    owner = ctx.viewer.entity_id(entity)
    row = ctx.project_row(entity, name)
    if row is not None:
        return row, False
    ctx.db.execute(
        "INSERT INTO projects (entity_id, name, user_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        (owner, _check_name(name or "uncategorized"), ctx.viewer.id, ctx.now, ctx.now),
    )
    row = ctx.project_row(entity, name)
    assert row is not None
    return row, True


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest(f"project name {str(name)[:80]!r} needs 1 to 128 characters without / \\ # ? % :")
    return name
