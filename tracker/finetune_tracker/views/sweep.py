"""Sweeps and their agents."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from finetune_tracker import filters as query_filters
from finetune_tracker import graphql
from finetune_tracker.context import Context, View
from finetune_tracker.errors import BadRequest
from finetune_tracker.graphql import field
from finetune_tracker.ids import parse_global_id
from finetune_tracker.views import account as account_view
from finetune_tracker.views import project as project_view
from finetune_tracker.views import run as run_view


class Sweep(View):
    """A sweep; `config` is the YAML text it was created with."""

    typename = "Sweep"
    columns = frozenset({"name", "state", "config", "method", "description", "controller", "scheduler"})
    times = frozenset({"created_at", "updated_at", "heartbeat_at"})

    @field
    def display_name(self) -> str | None:
        return self.row["display_name"] or None

    @field
    def project(self) -> project_view.Project | None:
        row = self.ctx.one("SELECT * FROM projects WHERE id = ?", self.row["project_id"])
        return project_view.Project(self.ctx, row) if row else None

    @field
    def user(self) -> account_view.User | None:
        row = account_view.user_row(self.ctx, self.row["user_id"])
        return account_view.User(self.ctx, row) if row else None

    @field
    def run_count(self) -> int:
        return self.ctx.count("SELECT count(*) FROM runs WHERE sweep_id = ?", self.row["id"])

    @field
    def run_count_expected(self) -> int | None:
        known = [n for n in (self.row["run_cap"], self.row["grid_size"]) if n is not None]
        return min(known) if known else None

    @field
    def early_stop_job_running(self) -> bool:
        return "early_terminate" in json.loads(self.row["spec"]) and self.row["state"] == "RUNNING"

    @field
    def best_loss(self) -> float | None:
        """The best value of the sweep's metric in any run's summary."""
        metric = json.loads(self.row["spec"]).get("metric") or {}
        name = metric.get("name")
        if not isinstance(name, str) or '"' in name:
            return None
        best = "max" if metric.get("goal") == "maximize" else "min"
        path = f'$."{name}"'
        row = self.ctx.one(
            f"SELECT {best}(json_extract(summary, ?)) AS best FROM runs "
            "WHERE sweep_id = ? AND typeof(json_extract(summary, ?)) IN ('integer', 'real')",
            path, self.row["id"], path,
        )  # fmt: skip
        return row["best"] if row else None

    @field
    def runs(
        self, filters: object = None, order: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        return run_view.find_runs(self.ctx, "runs.sweep_id = ?", [self.row["id"]], filters, order, first, after)

    @field
    def agent(self, agent_name: str | None = None) -> Agent | None:
        try:
            number = parse_global_id("Agent", agent_name)
        except BadRequest:
            number = -1
        row = self.ctx.one(
            "SELECT * FROM agents WHERE sweep_id = ? AND (id = ? OR name = ?)", self.row["id"], number, agent_name
        )
        return Agent(self.ctx, row) if row else None

    @field
    def agents(self) -> dict[str, Any]:
        rows = self.ctx.all("SELECT * FROM agents WHERE sweep_id = ? ORDER BY id", self.row["id"])
        return graphql.connection(Agent(self.ctx, r) for r in rows)


class Agent(View):
    """A process that runs a sweep's trials."""

    typename = "Agent"
    columns = frozenset({"name", "host", "state"})
    times = frozenset({"created_at", "heartbeat_at"})

    @field
    def total_runs(self) -> int:
        return self.ctx.count("SELECT count(*) FROM runs WHERE agent_id = ?", self.row["id"])

    @field
    def runs(self, order: object = None, first: object = None, after: object = None) -> dict[str, Any]:
        return run_view.find_runs(self.ctx, "runs.agent_id = ?", [self.row["id"]], None, order, first, after)


def find_sweep(ctx: Context, project_id: int, name: str | None) -> sqlite3.Row | None:
    """A sweep by its short name or its global id."""
    row = ctx.one("SELECT * FROM sweeps WHERE project_id = ? AND name = ?", project_id, name)
    if row is None and name:
        try:
            number = parse_global_id("Sweep", name)
        except BadRequest:
            return None
        row = ctx.one("SELECT * FROM sweeps WHERE project_id = ? AND id = ?", project_id, number)
    return row


def find_sweeps(
    ctx: Context, project_id: int, filters: object, order: object, first: object, after: object
) -> dict[str, Any]:
    """One page of a project's sweeps, newest first."""
    limit, offset = graphql.page(first, after)
    condition, params = query_filters.where(query_filters.parse_filters(filters), query_filters.SWEEPS)
    sorting, order_params = query_filters.order_by(order, query_filters.SWEEPS, "sweeps.id DESC")
    rows = ctx.all(
        f"SELECT * FROM sweeps WHERE project_id = ? AND {condition} ORDER BY {sorting} LIMIT ? OFFSET ?",
        project_id, *params, *order_params, limit + 1, offset,
    )  # fmt: skip
    return graphql.connection([Sweep(ctx, r) for r in rows[:limit]], offset=offset, more=len(rows) > limit)
