"""Root fields of queries."""

from __future__ import annotations

from typing import Any

from finetune_tracker import graphql
from finetune_tracker.context import Context
from finetune_tracker.graphql import Node, field
from finetune_tracker.ids import global_id, parse_global_id
from finetune_tracker.views import account as account_view
from finetune_tracker.views import artifact as artifact_view
from finetune_tracker.views import artifact_search
from finetune_tracker.views import project as project_view


class Query(Node):
    """Where every query starts."""

    typename = "Query"

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    @field
    def viewer(self) -> account_view.User | None:
        row = account_view.user_row(self.ctx, self.ctx.viewer.id)
        return account_view.User(self.ctx, row) if row else None

    @field
    def server_info(self) -> dict[str, Any]:
        return {
            "features": [{"name": name, "isEnabled": True} for name in account_view.FEATURES.split()],
            "latestLocalVersionInfo": None,
            "cliVersionInfo": None,
        }

    @field
    def entity(self, name: str | None = None) -> account_view.Entity | None:
        return account_view.find_entity(self.ctx, name)

    @field
    def organization(self, name: str | None = None) -> account_view.Organization:
        return account_view.find_organization(self.ctx, name)

    @field
    def project(self, name: str | None = None, entity_name: str | None = None) -> project_view.Project | None:
        row = self.ctx.project_row(entity_name, name)
        return project_view.Project(self.ctx, row) if row else None

    @field
    def model(self, name: str | None = None, entity_name: str | None = None) -> project_view.Project | None:
        return self.project(name, entity_name)

    @field
    def models(self, entity_name: str | None = None, first: object = None, after: object = None) -> dict[str, Any]:
        owner = self.ctx.viewer.entity_id(entity_name)
        return project_view.find_projects(self.ctx, owner, None, None, first, after)

    @field
    def artifact(self, id: str | None = None) -> artifact_view.Artifact | None:
        row = artifact_search.readable_artifact(self.ctx, parse_global_id("Artifact", id))
        return artifact_view.Artifact(self.ctx, row) if row else None

    @field
    def artifact_collection(self, id: str | None = None) -> artifact_view.Collection | None:
        row = self.ctx.one("SELECT * FROM collections WHERE id = ?", parse_global_id("ArtifactCollection", id))
        return artifact_view.Collection(self.ctx, row) if row and self.ctx.owns_project(row["project_id"]) else None

    @field
    def client_id_mapping(self, client_id: str | None = None) -> dict[str, Any] | None:
        row = self.ctx.one("SELECT * FROM artifacts WHERE client_id = ?", client_id)
        return {"serverID": global_id("Artifact", row["id"])} if row else None

    @field
    def users(self, query: str | None = None) -> dict[str, Any]:
        rows = self.ctx.all("SELECT * FROM users WHERE name = ? OR email = ?", query, query)
        return graphql.connection(account_view.User(self.ctx, row) for row in rows)
