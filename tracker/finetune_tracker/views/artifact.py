"""Artifacts: types, collections (sequences and portfolios), memberships, files."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

from finetune_tracker import filters as query_filters
from finetune_tracker import graphql
from finetune_tracker.context import View
from finetune_tracker.graphql import field
from finetune_tracker.ids import global_id
from finetune_tracker.views import artifact_search as search
from finetune_tracker.views import project as project_view
from finetune_tracker.views import run as run_view


class ArtifactType(View):
    """A kind of artifact in a project, such as `model`."""

    typename = "ArtifactType"
    columns = frozenset({"name", "description"})
    times = frozenset({"created_at"})

    @field
    def artifact_collection(self, name: str | None = None) -> Collection | None:
        row = self.ctx.one("SELECT * FROM collections WHERE type_id = ? AND name = ?", self.row["id"], name)
        return Collection(self.ctx, row) if row else None

    @field
    def artifact_collections(
        self, filters: object = None, order: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        return search.find_collections(
            self.ctx,
            "collections.type_id = ?",
            [self.row["id"]],
            filters=filters,
            order=order,
            first=first,
            after=after,
        )


class Collection(View):
    """A sequence (versions logged by runs) or a portfolio (versions linked from sequences)."""

    interfaces: ClassVar[frozenset[str]] = frozenset({"ArtifactCollection"})
    columns = frozenset({"name", "description"})
    times = frozenset({"created_at", "updated_at"})
    constants = {"state": "READY"}

    @property
    def typename(self) -> str:  # type: ignore[override]
        return "ArtifactSequence" if self.row["kind"] == "sequence" else "ArtifactPortfolio"

    @field
    def id(self) -> str:
        return global_id("ArtifactCollection", self.row["id"])

    @field
    def project(self) -> project_view.Project | None:
        row = self.ctx.one("SELECT * FROM projects WHERE id = ?", self.row["project_id"])
        return project_view.Project(self.ctx, row) if row else None

    @field
    def default_artifact_type(self) -> ArtifactType | None:
        row = self.ctx.one("SELECT * FROM artifact_types WHERE id = ?", self.row["type_id"])
        return ArtifactType(self.ctx, row) if row else None

    @field
    def tags(self) -> dict[str, Any]:
        rows = self.ctx.all("SELECT name FROM collection_tags WHERE collection_id = ? ORDER BY name", self.row["id"])
        return graphql.connection(_tag(r["name"]) for r in rows)

    @field
    def aliases(self, first: object = None, after: object = None) -> dict[str, Any]:
        limit, offset = graphql.page(first, after, default=1000)
        rows = self.ctx.all(
            "SELECT * FROM aliases WHERE collection_id = ? ORDER BY id LIMIT ? OFFSET ?",
            self.row["id"],
            limit + 1,
            offset,
        )
        return graphql.connection([Alias(self.ctx, r) for r in rows[:limit]], offset=offset, more=len(rows) > limit)

    @field
    def artifact_membership(self, alias_name: str | None = None) -> Membership | None:
        return search.find_membership(self.ctx, self.row["id"], alias_name or "latest")

    @field
    def latest_artifact(self) -> Artifact | None:
        row = self.ctx.one(
            "SELECT artifacts.* FROM artifacts JOIN memberships m ON m.artifact_id = artifacts.id "
            "WHERE m.collection_id = ? ORDER BY m.version DESC LIMIT 1",
            self.row["id"],
        )
        return Artifact(self.ctx, row) if row else None

    @field
    def artifacts(
        self, filters: object = None, order: object = None, first: object = None, after: object = None
    ) -> dict[str, Any]:
        """Versions; edges carry `version`, newest first."""
        limit, offset = graphql.page(first, after, default=50)
        condition, params = query_filters.where(query_filters.parse_filters(filters), query_filters.MEMBERSHIPS)
        sorting, order_params = query_filters.order_by(order, query_filters.MEMBERSHIPS, "memberships.version DESC")
        scope = f"{search.JOINS} WHERE memberships.collection_id = ? AND artifacts.state = 'COMMITTED' AND {condition}"
        rows = self.ctx.all(
            f"SELECT artifacts.*, memberships.version AS version {scope} ORDER BY {sorting} LIMIT ? OFFSET ?",
            self.row["id"], *params, *order_params, limit + 1, offset,
        )  # fmt: skip
        found = graphql.connection(
            [Artifact(self.ctx, r) for r in rows[:limit]],
            offset=offset,
            more=len(rows) > limit,
            total=self.ctx.count(f"SELECT count(*) {scope}", self.row["id"], *params),
        )
        for edge, row in zip(found["edges"], rows, strict=False):
            edge["version"] = f"v{row['version']}"
        return found

    @field
    def artifact_memberships(self, first: object = None, after: object = None) -> dict[str, Any]:
        return search.find_memberships(self.ctx, "collections.id = ?", [self.row["id"]], None, None, None, first, after)


class Artifact(View):
    """One version of a sequence."""

    typename = "Artifact"
    columns = frozenset({"state", "digest", "size", "file_count", "description", "metadata", "history_step"})
    times = frozenset({"created_at", "updated_at"})
    constants = {"digest_algorithm": "MANIFEST_MD5"}

    @field
    def artifact_sequence(self) -> Collection | None:
        row = self.ctx.one("SELECT * FROM collections WHERE id = ?", self.row["sequence_id"])
        return Collection(self.ctx, row) if row else None

    @field
    def artifact_type(self) -> ArtifactType | None:
        row = self.ctx.one(
            "SELECT t.* FROM artifact_types t JOIN collections c ON c.type_id = t.id WHERE c.id = ?",
            self.row["sequence_id"],
        )
        return ArtifactType(self.ctx, row) if row else None

    @field
    def version_index(self) -> int | None:
        row = self.ctx.one(
            "SELECT version FROM memberships WHERE artifact_id = ? AND collection_id = ?",
            self.row["id"], self.row["sequence_id"],
        )  # fmt: skip
        return row["version"] if row else None

    @field
    def commit_hash(self) -> str:
        """The id again: W&B's is an opaque token that nothing but links shows."""
        return f"{self.row['id']:020x}"

    @field
    def ttl_duration_seconds(self) -> int:
        """0 for none: the SDK wants a number."""
        return max(0, self.row["ttl_seconds"] or 0)

    @field
    def ttl_is_inherited(self) -> bool:
        return self.row["ttl_seconds"] is None

    @field
    def tags(self) -> list[dict[str, Any]]:
        rows = self.ctx.all("SELECT name FROM artifact_tags WHERE artifact_id = ? ORDER BY name", self.row["id"])
        return [_tag(r["name"]) for r in rows]

    @field
    def aliases(self) -> list[Alias]:
        rows = self.ctx.all(
            "SELECT a.* FROM aliases a JOIN memberships m ON m.id = a.membership_id "
            "WHERE m.artifact_id = ? ORDER BY a.id",
            self.row["id"],
        )
        return [Alias(self.ctx, r) for r in rows]

    @field
    def artifact_memberships(self) -> dict[str, Any]:
        rows = self.ctx.all("SELECT * FROM memberships WHERE artifact_id = ? ORDER BY id", self.row["id"])
        return graphql.connection(Membership(self.ctx, r) for r in rows)

    @field
    def created_by(self) -> run_view.Run | None:
        row = self.ctx.one("SELECT * FROM runs WHERE id = ?", self.row["run_id"])
        return run_view.Run(self.ctx, row) if row else None

    @field
    def used_by(self, first: object = None, after: object = None) -> dict[str, Any]:
        scope = "runs.id IN (SELECT run_id FROM usages WHERE artifact_id = ?)"
        return run_view.find_runs(self.ctx, scope, [self.row["id"]], None, None, first, after)

    @field
    def current_manifest(self) -> dict[str, Any] | None:
        md5 = self.row["manifest_md5"]
        if md5 is None:
            return None
        link = search.blob_link(self.ctx, self.entity_id, md5, "wandb_manifest.json")
        digest = base64.b64encode(bytes.fromhex(md5)).decode()
        return {
            "id": global_id("ArtifactManifest", self.row["id"]),
            "type": "FULL",
            "digest": digest,
            "file": {"id": global_id("ManifestFile", self.row["id"]), "directUrl": link, "url": link},
        }

    @field
    def files(self, names: object = None, first: object = None, after: object = None) -> dict[str, Any]:
        return search.find_files(self, names, first, after)

    @field
    def files_by_manifest_entries(self, entries: object = None) -> dict[str, Any]:
        names = [e.get("name") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else None
        return search.find_files(self, names, None, None)

    @property
    def entity_id(self) -> int:
        """The entity under which the contents are stored."""
        row = self.ctx.one(
            "SELECT p.entity_id FROM collections c JOIN projects p ON p.id = c.project_id WHERE c.id = ?",
            self.row["sequence_id"],
        )
        return int(row["entity_id"]) if row else 0


class Alias(View):
    """A movable name of one version within its collection."""

    typename = "ArtifactAlias"
    columns = frozenset({"alias"})

    @field
    def artifact_collection(self) -> Collection | None:
        row = self.ctx.one("SELECT * FROM collections WHERE id = ?", self.row["collection_id"])
        return Collection(self.ctx, row) if row else None


class Membership(View):
    """That a version belongs to a collection, with its number and aliases there."""

    typename = "ArtifactCollectionMembership"
    times = frozenset({"created_at"})

    @field
    def version_index(self) -> int:
        return int(self.row["version"])

    @field
    def aliases(self) -> list[Alias]:
        rows = self.ctx.all("SELECT * FROM aliases WHERE membership_id = ? ORDER BY id", self.row["id"])
        return [Alias(self.ctx, r) for r in rows]

    @field
    def artifact_collection(self) -> Collection | None:
        row = self.ctx.one("SELECT * FROM collections WHERE id = ?", self.row["collection_id"])
        return Collection(self.ctx, row) if row else None

    @field
    def artifact(self) -> Artifact | None:
        row = self.ctx.one("SELECT * FROM artifacts WHERE id = ?", self.row["artifact_id"])
        return Artifact(self.ctx, row) if row else None

    @field
    def files(self, names: object = None, first: object = None, after: object = None) -> dict[str, Any]:
        found = self.artifact()
        return search.find_files(found, names, first, after) if found else graphql.connection([])


def _tag(name: str) -> dict[str, Any]:
    return {"__typename": "Tag", "id": base64.b64encode(f"Tag:{name}".encode()).decode(), "name": name}
