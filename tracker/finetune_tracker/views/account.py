"""Users, entities and the organisation."""

from __future__ import annotations

import sqlite3
from typing import Any

from finetune_tracker import filters as query_filters
from finetune_tracker import graphql
from finetune_tracker.context import Context, View
from finetune_tracker.errors import NotFound
from finetune_tracker.graphql import Node, field
from finetune_tracker.ids import global_id
from finetune_tracker.views import artifact_search
from finetune_tracker.views import project as project_view

# Server features (of wandb/proto/wandb_internal.proto) that this server has. Not among them: ARTIFACT_DIGEST_ALGORITHM,
# which would move artifacts off md5.
FEATURES = """
CLIENT_IDS LARGE_FILENAMES ARTIFACT_TAGS ARTIFACT_REGISTRY_SEARCH ARTIFACT_COLLECTION_MEMBERSHIP_FILES
USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION
PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE
TOTAL_COUNT_IN_FILE_CONNECTION MARK_RUN_FILES_UPLOADED SWEEPS_QUERY_FILTERING FILESTREAM_GZIP
"""


class User(View):
    """A user, also as `viewer`."""

    typename = "User"
    columns = frozenset({"name", "email"})
    constants = {"flags": "{}", "deleted_at": None, "photo_url": None}

    @field
    def username(self) -> str:
        return str(self.row["name"])

    @field
    def admin(self) -> bool:
        return bool(self.row["admin"])

    @field
    def entity(self) -> str:
        row = self.ctx.one("SELECT name FROM entities WHERE id = ?", self.row["entity_id"])
        return str(row["name"]) if row else ""

    @field
    def teams(self) -> dict[str, Any]:
        rows = self.ctx.all(
            "SELECT e.* FROM members m JOIN entities e ON e.id = m.entity_id WHERE m.user_id = ? AND e.kind = 'team'",
            self.row["id"],
        )
        return graphql.connection(Entity(self.ctx, row) for row in rows)

    @field
    def api_keys(self) -> dict[str, Any]:
        """Names only: what is stored of a key is its hash."""
        if self.row["id"] != self.ctx.viewer.id:
            return graphql.connection([])
        rows = self.ctx.all("SELECT id, description FROM api_keys WHERE user_id = ?", self.row["id"])
        return graphql.connection(
            {"id": global_id("ApiKey", r["id"]), "name": f"key-{r['id']}", "description": r["description"]}
            for r in rows
        )

    @field
    def organizations(self) -> list[Organization]:
        return [Organization(self.ctx)]


class Entity(View):
    """A user's or team's namespace of projects."""

    typename = "Entity"
    columns = frozenset({"name"})
    times = frozenset({"created_at"})
    constants = {"available": False, "read_only": False, "code_saving_enabled": True, "xxhash_digests_enabled": False}

    @field
    def entity_type(self) -> str:
        return str(self.row["kind"])

    @field
    def is_team(self) -> bool:
        return bool(self.row["kind"] == "team")

    @field
    def organization(self) -> Organization:
        return Organization(self.ctx)

    @field
    def user(self) -> User | None:
        row = self.ctx.one("SELECT * FROM users WHERE entity_id = ?", self.row["id"])
        return User(self.ctx, row) if row else None

    @field
    def members(self) -> list[dict[str, Any]]:
        rows = self.ctx.all(
            "SELECT u.* FROM members m JOIN users u ON u.id = m.user_id WHERE m.entity_id = ?", self.row["id"]
        )
        return [
            {"id": global_id("User", r["id"]), "name": r["name"], "username": r["name"], "email": r["email"],
             "admin": bool(r["admin"]), "role": "admin" if r["admin"] else "member", "pending": False}
            for r in rows
        ]  # fmt: skip

    @field
    def project(self, name: str | None = None) -> project_view.Project | None:
        row = self.ctx.project_row(self.row["name"], name)
        return project_view.Project(self.ctx, row) if row else None

    @field
    def projects(
        self, filters: object = None, order: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        return project_view.find_projects(self.ctx, self.row["id"], filters, order, first, after)

    @field
    def artifact_collections(
        self,
        project_filters: object = None,
        filters: object = None,
        collection_types: object = None,
        order: object = None,
        first: object = None,
        after: object = None,
    ) -> dict[str, Any]:
        condition, params = self._projects(project_filters)
        kinds = collection_types if isinstance(collection_types, list) else []
        return artifact_search.find_collections(
            self.ctx, condition, params, filters=filters, order=order, first=first, after=after, kinds=kinds
        )

    @field
    def artifact_memberships(
        self,
        project_filters: object = None,
        collection_filters: object = None,
        filters: object = None,
        order: object = None,
        first: object = None,
        after: object = None,
    ) -> dict[str, Any]:
        condition, params = self._projects(project_filters)
        return artifact_search.find_memberships(
            self.ctx, condition, params, collection_filters, filters, order, first, after
        )

    def _projects(self, project_filters: object) -> query_filters.Sql:
        sql, params = query_filters.where(query_filters.parse_filters(project_filters), query_filters.PROJECTS)
        return f"projects.entity_id = ? AND {sql}", [self.row["id"], *params]


class Organization(Node):
    """The server's one organisation."""

    typename = "Organization"
    constants = {
        "core_weave_organization_id": None,
        "advanced_registry_features": {"advancedSearch": False},
        "feature_flags": [],
    }

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    @field
    def id(self) -> str:
        return global_id("Organization", 1)

    @field
    def name(self) -> str:
        return self.ctx.organization

    @field
    def org_entity(self) -> Entity | None:
        row = self.ctx.one("SELECT * FROM entities WHERE name = ?", self.ctx.organization)
        return Entity(self.ctx, row) if row else None


def find_entity(ctx: Context, name: str | None) -> Entity | None:
    """An entity of the viewer."""
    row = ctx.one("SELECT * FROM entities WHERE id = ?", ctx.viewer.entities.get(name or ctx.viewer.entity))
    return Entity(ctx, row) if row else None


def find_organization(ctx: Context, name: str | None) -> Organization:
    """The organisation, by its name.

    Raises:
        NotFound: There is no other.
    """
    if name != ctx.organization:
        raise NotFound(f"organization {name!r} not found; this server's is {ctx.organization!r}")
    return Organization(ctx)


def user_row(ctx: Context, user_id: int | None) -> sqlite3.Row | None:
    """A user's row."""
    return ctx.one("SELECT * FROM users WHERE id = ?", user_id)
