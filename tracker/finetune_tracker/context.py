"""What resolvers know about the request they serve."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from finetune_tracker.auth import Signer, Viewer
from finetune_tracker.errors import NotFound
from finetune_tracker.graphql import Node, field, snake_case
from finetune_tracker.ids import global_id, timestamp


@dataclass(frozen=True)
class Context:
    """One request against one database snapshot (queries) or transaction (mutations).

    Attributes:
        base_url: Address the client reached this server by; links are built on it.
        now: Seconds since the epoch, the same for the whole request.
    """

    db: sqlite3.Connection
    viewer: Viewer
    base_url: str
    signer: Signer
    organization: str
    now: float

    def one(self, sql: str, *params: Any) -> sqlite3.Row | None:
        """The first row, or None."""
        row: sqlite3.Row | None = self.db.execute(sql, params).fetchone()
        return row

    def all(self, sql: str, *params: Any) -> list[sqlite3.Row]:
        """All rows."""
        return self.db.execute(sql, params).fetchall()

    def count(self, sql: str, *params: Any) -> int:
        """The first column of the first row as a number."""
        return int(self.db.execute(sql, params).fetchone()[0] or 0)

    def link(self, path: str, claim: str) -> str:
        """An absolute URL with a token for `claim`."""
        return f"{self.base_url}{path}?token={self.signer.sign(claim)}"

    def project_row(self, entity: str | None, name: str | None) -> sqlite3.Row | None:
        """A project the viewer may read; None if it does not exist or is not theirs."""
        owner = self.viewer.entities.get(entity or self.viewer.entity)
        return self.one("SELECT * FROM projects WHERE entity_id = ? AND name = ?", owner, name or "uncategorized")

    def require_project(self, entity: str | None, name: str | None) -> sqlite3.Row:
        """A project the viewer may write to.

        Raises:
            Forbidden: The entity is not the viewer's.
            NotFound: No such project.
        """
        self.viewer.entity_id(entity)
        row = self.project_row(entity, name)
        if row is None:
            raise NotFound(f"project {entity or self.viewer.entity}/{name} not found")
        return row

    def owns_project(self, project_id: int) -> bool:
        """Whether the viewer is a member of the project's entity."""
        row = self.one("SELECT entity_id FROM projects WHERE id = ?", project_id)
        return row is not None and row["entity_id"] in self.viewer.entities.values()


class View(Node):
    """A node over one database row.

    Attributes:
        times: Columns with seconds since the epoch, answered as W&B writes times.
    """

    times: ClassVar[frozenset[str]] = frozenset()
    row: sqlite3.Row

    def __init__(self, ctx: Context, row: sqlite3.Row) -> None:
        self.ctx = ctx
        self.row = row

    @field
    def id(self) -> str:
        """The global id."""
        return global_id(self.typename, self.row["id"])

    def resolve(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The value of a field; None for one that does not exist."""
        key = snake_case(name)
        return timestamp(self.row[key]) if key in self.times else super().resolve(name, arguments)
