"""Mutations of teams and API keys."""

from __future__ import annotations

from typing import Any

from finetune_tracker import auth
from finetune_tracker.context import Context
from finetune_tracker.errors import BadRequest, NotFound
from finetune_tracker.ids import global_id, parse_global_id
from finetune_tracker.views.account import Entity


def create_team(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Create a team with the viewer as its member."""
    name = str(given.get("team_name") or "")
    if ctx.one("SELECT 1 FROM entities WHERE name = ?", name) is not None:
        raise BadRequest(f"entity {name!r} exists already")
    number = auth.ensure_entity(ctx.db, name)
    ctx.db.execute("INSERT INTO members VALUES (?, ?)", (number, ctx.viewer.id))
    row = ctx.one("SELECT * FROM entities WHERE id = ?", number)
    assert row is not None
    return {"entity": Entity(ctx, row)}


def generate_api_key(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Create a key for the viewer; this answer is the only place that ever shows it."""
    key = auth.generate_key()
    description = str(given.get("description") or "")
    auth.add_key(ctx.db, ctx.viewer.id, key, description)
    row = ctx.one("SELECT id FROM api_keys WHERE hash = ?", auth.hash_key(key))
    assert row is not None
    return {"apiKey": {"id": global_id("ApiKey", row["id"]), "name": key, "description": description}}


def delete_api_key(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Revoke one of the viewer's keys.

    Raises:
        NotFound: The viewer has no such key.
    """
    number = parse_global_id("ApiKey", given.get("id"))
    gone = ctx.db.execute("DELETE FROM api_keys WHERE id = ? AND user_id = ?", (number, ctx.viewer.id)).rowcount
    if not gone:
        raise NotFound("no such API key")
    return {"success": True}
