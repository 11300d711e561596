"""Runs."""

from __future__ import annotations

import json
import mimetypes
import re
from typing import Any

from finetune_tracker import filters as query_filters
from finetune_tracker import graphql
from finetune_tracker import history as run_history
from finetune_tracker.context import Context, View
from finetune_tracker.graphql import field
from finetune_tracker.ids import timestamp
from finetune_tracker.views import account as account_view
from finetune_tracker.views import artifact_search
from finetune_tracker.views import project as project_view
from finetune_tracker.views import sweep as sweep_view

_LOG_TIME = re.compile(r"^(ERROR )?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) ")


class Run(View):
    """A run; `bucket` in W&B's oldest operations."""

    typename = "Run"
    columns = frozenset(
        {"name", "display_name", "state", "description", "notes", "config", "job_type", "repo", "host", "exitcode"}
    )
    times = frozenset({"created_at", "updated_at", "heartbeat_at"})
    constants = {"read_only": False}

    @field
    def project_id(self) -> int:
        return int(self.row["project_id"])

    @field
    def project(self) -> project_view.Project | None:
        row = self.ctx.one("SELECT * FROM projects WHERE id = ?", self.row["project_id"])
        return project_view.Project(self.ctx, row) if row else None

    @field
    def user(self) -> account_view.User | None:
        row = account_view.user_row(self.ctx, self.row["user_id"])
        return account_view.User(self.ctx, row) if row else None

    @field
    def sweep(self) -> sweep_view.Sweep | None:
        row = self.ctx.one("SELECT * FROM sweeps WHERE id = ?", self.row["sweep_id"])
        return sweep_view.Sweep(self.ctx, row) if row else None

    @field
    def sweep_name(self) -> str | None:
        row = self.ctx.one("SELECT name FROM sweeps WHERE id = ?", self.row["sweep_id"])
        return row["name"] if row else None

    @field
    def agent(self) -> sweep_view.Agent | None:
        row = self.ctx.one("SELECT * FROM agents WHERE id = ?", self.row["agent_id"])
        return sweep_view.Agent(self.ctx, row) if row else None

    @field
    def group(self) -> str | None:
        return self.row["group_name"] or None

    @field
    def commit(self) -> str | None:
        return self.row["commit_hash"] or None

    @field
    def tags(self) -> list[str]:
        return list(json.loads(self.row["tags"]))

    @field
    def summary_metrics(self) -> str:
        return str(self.row["summary"])

    @field
    def system_metrics(self) -> str:
        return str(self.row["system"])

    @field
    def compute_seconds(self) -> float:
        return float(self.row["heartbeat_at"] - self.row["created_at"])

    @field
    def stopped(self) -> bool:
        return bool(self.row["stopped"])

    @field
    def should_stop(self) -> bool:
        return bool(self.row["stopped"])

    @field
    def failed(self) -> bool:
        return self.row["state"] in ("failed", "crashed")

    @field
    def running(self) -> bool:
        return self.row["state"] in ("running", "preempting")

    @field
    def history_line_count(self) -> int:
        return int(self.row["history_lines"])

    @field
    def events_line_count(self) -> int:
        return int(self.row["events_lines"])

    @field
    def log_line_count(self) -> int:
        return int(self.row["log_lines"])

    @field
    def history_tail(self) -> str:
        return run_history.tail(self.ctx.db, self.row["id"], "history")

    @field
    def events_tail(self) -> str:
        return run_history.tail(self.ctx.db, self.row["id"], "events")

    @field
    def wandb_config(self, keys: object = None) -> str:
        """Parts of the SDK's own section of the config; without "t" a resuming SDK takes the run as never started."""
        own = (json.loads(self.row["config"]).get("_wandb") or {}).get("value") or {}
        wanted = keys if isinstance(keys, list) else list(own)
        return run_history.dump({k: own[k] for k in wanted if k in own})

    @field
    def history_keys(self) -> dict[str, Any]:
        counts = json.loads(self.row["history_keys"])
        keys = {k: {"typeCounts": [{"type": t, "count": n} for t, n in v.items()]} for k, v in counts.items()}
        return {"keys": keys, "lastStep": self.row["last_step"], "sets": []}

    @field
    def history(self, samples: object = None, min_step: object = None, max_step: object = None) -> list[str]:
        limit, _ = graphql.page(samples, None, default=500, largest=run_history.LARGEST_SAMPLE)
        if min_step is None and max_step is None:
            return run_history.samples(self.ctx.db, self.row["id"], "history", self.row["history_lines"], limit)
        low, high = (int(str(v)) if v is not None else d for v, d in ((min_step, -1), (max_step, 2**62)))
        return run_history.steps(self.ctx.db, self.row["id"], max(low, -(2**62)), min(high, 2**62), limit)

    @field
    def events(self, samples: object = None) -> list[str]:
        limit, _ = graphql.page(samples, None, default=500, largest=run_history.LARGEST_SAMPLE)
        return run_history.samples(self.ctx.db, self.row["id"], "events", self.row["events_lines"], limit)

    @field
    def sampled_history(self, specs: object = None) -> list[list[dict[str, Any]]]:
        wanted = specs if isinstance(specs, list) else ["{}"]
        return [run_history.sampled_keys(self.ctx.db, self.row["id"], spec) for spec in wanted]

    @field
    def parquet_history(self) -> dict[str, Any]:
        """No parquet exports: the SDK then pages through the live history."""
        return {"parquetUrls": [], "liveData": []}

    @field
    def log_lines(self, first: object = None, last: object = None, after: object = None) -> dict[str, Any]:
        limit, offset = graphql.page(first if last is None else last, after)
        if last is not None:
            offset = max(0, self.row["log_lines"] - limit)
        rows = self.ctx.all(
            "SELECT offset, line FROM logs WHERE run_id = ? AND offset >= ? ORDER BY offset LIMIT ?",
            self.row["id"], offset, limit + 1,
        )  # fmt: skip
        return graphql.connection([_log_line(r) for r in rows[:limit]], offset=offset, more=len(rows) > limit)

    @field
    def file_count(self) -> int:
        return self.ctx.count("SELECT count(*) FROM run_files WHERE run_id = ?", self.row["id"])

    @field
    def files(
        self, names: object = None, pattern: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        limit, offset = graphql.page(first, after, default=50)
        condition, params = "run_id = ?", [self.row["id"]]
        if isinstance(names, list) and names:
            condition += f" AND name IN ({', '.join('?' * len(names))})"
            params += [str(n) for n in names]
        elif isinstance(pattern, str) and pattern:
            condition += " AND name LIKE ?"
            params.append(pattern)
        rows = self.ctx.all(
            f"SELECT * FROM run_files WHERE {condition} ORDER BY name LIMIT ? OFFSET ?",
            *params, limit + 1, offset,
        )  # fmt: skip
        total = self.file_count() if condition == "run_id = ?" else None
        nodes = [RunFile(self.ctx, r) for r in rows[:limit]]
        return graphql.connection(nodes, offset=offset, more=len(rows) > limit, total=total)

    @field
    def output_artifacts(self, first: object = None, after: object = None) -> dict[str, Any]:
        return artifact_search.find_artifacts(
            self.ctx, "artifacts.run_id = ? AND artifacts.state = 'COMMITTED'", [self.row["id"]], first, after
        )

    @field
    def input_artifacts(self, first: object = None, after: object = None) -> dict[str, Any]:
        return artifact_search.find_artifacts(
            self.ctx,
            "artifacts.id IN (SELECT artifact_id FROM usages WHERE run_id = ?)", [self.row["id"]], first, after,
        )  # fmt: skip

    @field
    def alerts(self) -> list[dict[str, Any]]:
        rows = self.ctx.all("SELECT * FROM alerts WHERE run_id = ? ORDER BY id DESC LIMIT 100", self.row["id"])
        keys = ("title", "text", "severity")
        return [{k: r[k] for k in keys} | {"createdAt": timestamp(r["created_at"])} for r in rows]


class RunFile(View):
    """A file saved with a run."""

    typename = "File"
    columns = frozenset({"name", "md5"})
    times = frozenset({"updated_at"})

    @field
    def display_name(self) -> str:
        return str(self.row["name"])

    @field
    def size_bytes(self) -> int:
        return int(self.row["size"])

    @field
    def mimetype(self) -> str | None:
        return mimetypes.guess_type(self.row["name"])[0]

    @field
    def url(self) -> str:
        return self.direct_url()

    @field
    def direct_url(self) -> str:
        row = self.ctx.one(
            "SELECT p.entity_id FROM runs r JOIN projects p ON p.id = r.project_id WHERE r.id = ?", self.row["run_id"]
        )
        return artifact_search.blob_link(self.ctx, row["entity_id"] if row else 0, self.row["md5"], self.row["name"])


def find_runs(
    ctx: Context, scope: str, scope_params: list[Any], filters: object, order: object, first: object, after: object
) -> dict[str, Any]:
    """One page of the runs in a scope (a SQL condition)."""
    limit, offset = graphql.page(first, after)
    condition, params = query_filters.where(query_filters.parse_filters(filters), query_filters.RUNS)
    sorting, order_params = query_filters.order_by(order, query_filters.RUNS, "runs.created_at, runs.id")
    found = ctx.all(
        f"SELECT runs.id FROM runs WHERE {scope} AND {condition} ORDER BY {sorting} LIMIT ? OFFSET ?",
        *scope_params, *params, *order_params, limit + 1, offset,
    )  # fmt: skip
    # Sorting ids instead of whole rows: configs and summaries are kilobytes each.
    rows = (ctx.one("SELECT * FROM runs WHERE id = ?", r["id"]) for r in found[:limit])
    nodes = [Run(ctx, row) for row in rows if row is not None]
    return graphql.connection(nodes, offset=offset, more=len(found) > limit)


def _log_line(row: Any) -> dict[str, Any]:
    line = row["line"]
    found = _LOG_TIME.match(line)
    return {
        "number": row["offset"],
        "timestamp": found.group(2) if found else None,
        "level": "error" if found and found.group(1) else None,
        "label": "",
        "line": line[found.end() :] if found else line,
    }
