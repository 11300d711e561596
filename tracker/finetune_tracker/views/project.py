"""Projects, among them registries (`wandb-registry-*` in the organisation's entity)."""

from __future__ import annotations

from typing import Any

from finetune_tracker import filters as query_filters
from finetune_tracker import graphql
from finetune_tracker.context import Context, View
from finetune_tracker.graphql import field
from finetune_tracker.views import account as account_view
from finetune_tracker.views import artifact as artifact_view
from finetune_tracker.views import artifact_search
from finetune_tracker.views import run as run_view
from finetune_tracker.views import sweep as sweep_view

REGISTRY_PREFIX = "wandb-registry-"


class Project(View):
    """A project; `model` in W&B's oldest operations."""

    typename = "Project"
    columns = frozenset({"name", "description", "access", "views"})
    times = frozenset({"created_at", "updated_at"})
    constants = {"read_only": False, "is_benchmark": False, "members": [], "team_members": []}

    @field
    def internal_id(self) -> str:
        return str(self.row["id"])

    @field
    def entity_name(self) -> str | None:
        row = self.ctx.one("SELECT name FROM entities WHERE id = ?", self.row["entity_id"])
        return row["name"] if row else None

    @field
    def entity(self) -> account_view.Entity | None:
        row = self.ctx.one("SELECT * FROM entities WHERE id = ?", self.row["entity_id"])
        return account_view.Entity(self.ctx, row) if row else None

    @field
    def user(self) -> account_view.User | None:
        row = account_view.user_row(self.ctx, self.row["user_id"])
        return account_view.User(self.ctx, row) if row else None

    @field
    def allow_all_artifact_types_in_registry(self) -> bool:
        return bool(self.row["allow_all_types"])

    @field
    def run(self, name: str | None = None) -> run_view.Run | None:
        row = self.ctx.one("SELECT * FROM runs WHERE project_id = ? AND name = ?", self.row["id"], name)
        return run_view.Run(self.ctx, row) if row else None

    @field
    def bucket(self, name: str | None = None) -> run_view.Run | None:
        return self.run(name)

    @field
    def run_count(self, filters: object = None) -> int:
        sql, params = query_filters.where(query_filters.parse_filters(filters), query_filters.RUNS)
        return self.ctx.count(f"SELECT count(*) FROM runs WHERE project_id = ? AND {sql}", self.row["id"], *params)

    @field
    def runs(
        self, filters: object = None, order: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        return run_view.find_runs(self.ctx, "runs.project_id = ?", [self.row["id"]], filters, order, first, after)

    @field
    def sweep(self, sweep_name: str | None = None, id: str | None = None) -> sweep_view.Sweep | None:
        row = sweep_view.find_sweep(self.ctx, self.row["id"], sweep_name or id)
        return sweep_view.Sweep(self.ctx, row) if row else None

    @field
    def total_sweeps(self) -> int:
        return self.ctx.count("SELECT count(*) FROM sweeps WHERE project_id = ?", self.row["id"])

    @field
    def sweeps(
        self, filters: object = None, order: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        return sweep_view.find_sweeps(self.ctx, self.row["id"], filters, order, first, after)

    @field
    def artifact_types(self, first: object = None, after: object = None) -> dict[str, Any]:
        limit, offset = graphql.page(first, after)
        rows = self.ctx.all(
            "SELECT * FROM artifact_types WHERE project_id = ? ORDER BY id LIMIT ? OFFSET ?",
            self.row["id"], limit + 1, offset,
        )  # fmt: skip
        nodes = [artifact_view.ArtifactType(self.ctx, r) for r in rows[:limit]]
        return graphql.connection(nodes, offset=offset, more=len(rows) > limit)

    @field
    def artifact_type(self, name: str | None = None) -> artifact_view.ArtifactType | None:
        row = self.ctx.one("SELECT * FROM artifact_types WHERE project_id = ? AND name = ?", self.row["id"], name)
        return artifact_view.ArtifactType(self.ctx, row) if row else None

    @field
    def artifact_collection(self, name: str | None = None) -> artifact_view.Collection | None:
        row = self.ctx.one("SELECT * FROM collections WHERE project_id = ? AND name = ?", self.row["id"], name)
        return artifact_view.Collection(self.ctx, row) if row else None

    @field
    def artifact_collections(
        self, filters: object = None, order: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        return artifact_search.find_collections(
            self.ctx, "projects.id = ?", [self.row["id"]], filters=filters, order=order, first=first, after=after
        )

    @field
    def artifact_collection_membership(self, name: str | None = None) -> artifact_view.Membership | None:
        return artifact_search.membership_by_name(self.ctx, self.row["id"], name)

    @field
    def artifact(self, name: str | None = None) -> artifact_view.Artifact | None:
        membership = artifact_search.membership_by_name(self.ctx, self.row["id"], name)
        return membership.artifact() if membership else None


def find_projects(
    ctx: Context, entity_id: int | None, filters: object, order: object, first: object, after: object
) -> dict[str, Any]:
    """One page of an entity's projects."""
    limit, offset = graphql.page(first, after)
    condition, params = query_filters.where(query_filters.parse_filters(filters), query_filters.PROJECTS)
    sorting, more_params = query_filters.order_by(order, query_filters.PROJECTS, "projects.updated_at DESC")
    rows = ctx.all(
        f"SELECT * FROM projects WHERE entity_id = ? AND {condition} ORDER BY {sorting} LIMIT ? OFFSET ?",
        entity_id, *params, *more_params, limit + 1, offset,
    )  # fmt: skip
    nodes = [Project(ctx, r) for r in rows[:limit]]
    return graphql.connection(nodes, offset=offset, more=len(rows) > limit)
