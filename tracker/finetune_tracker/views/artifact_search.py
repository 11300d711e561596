"""Finding artifacts, collections, versions and files."""

from __future__ import annotations

import base64
import json
import mimetypes
import re
import sqlite3
from typing import Any
from urllib.parse import quote

from finetune_tracker import filters as query_filters
from finetune_tracker import graphql
from finetune_tracker.context import Context
from finetune_tracker.ids import global_id, timestamp
from finetune_tracker.views import artifact as artifact_view

_VERSION = re.compile(r"v(\d{1,12})")
JOINS = (
    "FROM memberships JOIN artifacts ON artifacts.id = memberships.artifact_id "
    "JOIN collections ON collections.id = memberships.collection_id "
    "JOIN projects ON projects.id = collections.project_id"
)


def find_membership(ctx: Context, collection_id: int, alias: str) -> artifact_view.Membership | None:
    """A version of a collection by `v<number>`, alias or digest."""
    version = _VERSION.fullmatch(alias)
    if version:
        row = ctx.one(
            "SELECT * FROM memberships WHERE collection_id = ? AND version = ?", collection_id, int(version.group(1))
        )
    else:
        row = ctx.one(
            "SELECT m.* FROM memberships m JOIN aliases a ON a.membership_id = m.id "
            "WHERE a.collection_id = ? AND a.alias = ?",
            collection_id, alias,
        ) or ctx.one(
            "SELECT m.* FROM memberships m JOIN artifacts a ON a.id = m.artifact_id "
            "WHERE m.collection_id = ? AND a.digest = ? ORDER BY m.version DESC",
            collection_id, alias,
        )  # fmt: skip
    return artifact_view.Membership(ctx, row) if row else None


def membership_by_name(ctx: Context, project_id: int, name: str | None) -> artifact_view.Membership | None:
    """`collection:alias`, or `collection` for its `latest`."""
    collection, _, alias = (name or "").partition(":")
    row = ctx.one("SELECT id FROM collections WHERE project_id = ? AND name = ?", project_id, collection)
    return find_membership(ctx, row["id"], alias or "latest") if row else None


def artifact_row(ctx: Context, number: int) -> sqlite3.Row | None:
    """An artifact; for one whose content another had when it was committed, that other one."""
    return ctx.one(
        "SELECT a.* FROM artifacts given JOIN artifacts a ON a.id = coalesce(given.same_as, given.id) "
        "WHERE given.id = ?",
        number,
    )


def readable_artifact(ctx: Context, number: int) -> sqlite3.Row | None:
    """An artifact that belongs to, or is linked into, a project of the viewer."""
    row = artifact_row(ctx, number)
    homes = ctx.all(
        "SELECT c.project_id FROM collections c WHERE c.id = ? UNION "
        "SELECT c.project_id FROM memberships m JOIN collections c ON c.id = m.collection_id WHERE m.artifact_id = ?",
        row["sequence_id"] if row else None, row["id"] if row else None,
    )  # fmt: skip
    return row if any(ctx.owns_project(home["project_id"]) for home in homes) else None


def find_artifacts(ctx: Context, scope: str, params: list[Any], first: object, after: object) -> dict[str, Any]:
    """One page of the artifacts in a scope (a SQL condition)."""
    limit, offset = graphql.page(first, after, default=50)
    rows = ctx.all(
        f"SELECT artifacts.* FROM artifacts WHERE {scope} ORDER BY artifacts.id LIMIT ? OFFSET ?",
        *params, limit + 1, offset,
    )  # fmt: skip
    total = ctx.count(f"SELECT count(*) FROM artifacts WHERE {scope}", *params)
    return graphql.connection(
        [artifact_view.Artifact(ctx, r) for r in rows[:limit]], offset=offset, more=len(rows) > limit, total=total
    )


def find_collections(
    ctx: Context,
    scope: str,
    scope_params: list[Any],
    *,
    filters: object,
    order: object,
    first: object,
    after: object,
    kinds: list[Any] | None = None,
) -> dict[str, Any]:
    """One page of the collections in a scope over `collections` and `projects`."""
    limit, offset = graphql.page(first, after, default=50)
    condition, params = query_filters.where(query_filters.parse_filters(filters), query_filters.COLLECTIONS)
    if kinds:
        wanted = [str(k).lower() for k in kinds]
        condition += f" AND collections.kind IN ({', '.join('?' * len(wanted))})"
        params = params + wanted
    sorting, order_params = query_filters.order_by(order, query_filters.COLLECTIONS, "collections.id")
    source = f"FROM collections JOIN projects ON projects.id = collections.project_id WHERE {scope} AND {condition}"
    rows = ctx.all(
        f"SELECT collections.* {source} ORDER BY {sorting} LIMIT ? OFFSET ?",
        *scope_params, *params, *order_params, limit + 1, offset,
    )  # fmt: skip
    total = ctx.count(f"SELECT count(*) {source}", *scope_params, *params)
    return graphql.connection(
        [artifact_view.Collection(ctx, r) for r in rows[:limit]], offset=offset, more=len(rows) > limit, total=total
    )


def find_memberships(
    ctx: Context,
    scope: str,
    scope_params: list[Any],
    collection_filters: object,
    filters: object,
    order: object,
    first: object,
    after: object,
) -> dict[str, Any]:
    """One page of the versions in a scope over `collections` and `projects`."""
    limit, offset = graphql.page(first, after, default=50)
    outer, outer_params = query_filters.where(
        query_filters.parse_filters(collection_filters), query_filters.COLLECTIONS
    )
    inner, inner_params = query_filters.where(query_filters.parse_filters(filters), query_filters.MEMBERSHIPS)
    sorting, order_params = query_filters.order_by(order, query_filters.MEMBERSHIPS, "memberships.id")
    rows = ctx.all(
        f"SELECT memberships.* {JOINS} WHERE {scope} AND {outer} AND {inner} ORDER BY {sorting} LIMIT ? OFFSET ?",
        *scope_params, *outer_params, *inner_params, *order_params, limit + 1, offset,
    )  # fmt: skip
    return graphql.connection(
        [artifact_view.Membership(ctx, r) for r in rows[:limit]], offset=offset, more=len(rows) > limit
    )


def find_files(owner: artifact_view.Artifact, names: object, first: object, after: object) -> dict[str, Any]:
    """One page of an artifact's files."""
    ctx = owner.ctx
    limit, offset = graphql.page(first, after, default=50)
    condition, params = "artifact_id = ?", [owner.row["id"]]
    if isinstance(names, list) and names:
        condition += " AND name IN (SELECT value FROM json_each(?))"
        params.append(json.dumps([str(n) for n in names]))
    rows = ctx.all(
        f"SELECT * FROM artifact_files WHERE {condition} ORDER BY name LIMIT ? OFFSET ?",
        *params, limit + 1, offset,
    )  # fmt: skip
    total = ctx.count(f"SELECT count(*) FROM artifact_files WHERE {condition}", *params)
    entity = owner.entity_id
    files = [_file(ctx, entity, owner, r) for r in rows[:limit]]
    return graphql.connection(files, offset=offset, more=len(rows) > limit, total=total)


def blob_link(ctx: Context, entity_id: int, md5: str, name: str) -> str:
    """A signed download URL; the file name at its end is for people."""
    claim = f"get:{entity_id}:{md5}"
    return ctx.link(f"/storage/{entity_id}/{md5}/{quote(name.rsplit('/', 1)[-1], safe='')}", claim)


def _file(ctx: Context, entity_id: int, owner: artifact_view.Artifact, row: Any) -> dict[str, Any]:
    link = row["ref"] or (blob_link(ctx, entity_id, row["md5"], row["name"]) if row["md5"] else None)
    digest = base64.b64encode(bytes.fromhex(row["md5"])).decode() if row["md5"] else None
    return {
        "__typename": "File",
        "id": global_id("ArtifactFile", owner.row["id"]),
        "name": row["name"],
        "displayName": row["name"],
        "url": link,
        "directUrl": link,
        "sizeBytes": row["size"],
        "storagePath": f"artifacts/{owner.row['id']}/{row['name']}",
        "mimetype": mimetypes.guess_type(row["name"])[0],
        "updatedAt": timestamp(owner.row["created_at"]),
        "digest": digest,
        "md5": digest,
    }
