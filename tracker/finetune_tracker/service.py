"""Everything behind the HTTP routes, wired together once per server."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from finetune_tracker import auth
from finetune_tracker.auth import Signer, Viewer
from finetune_tracker.blobs import BlobStore
from finetune_tracker.context import Context
from finetune_tracker.database import Database
from finetune_tracker.engine import Engine
from finetune_tracker.errors import BadRequest, NotFound
from finetune_tracker.graphql import Operation, note_gap, snake_case, snake_keys
from finetune_tracker.history import parse_object
from finetune_tracker.ids import parse_global_id
from finetune_tracker.inputs import check_arguments
from finetune_tracker.metrics import Metrics
from finetune_tracker.mutations import MUTATIONS, artifacts, sweeps
from finetune_tracker.query import Query
from finetune_tracker.scheduler import Scheduler, agent_answer
from finetune_tracker.settings import Settings

_VIEWER_LIFETIME = 5.0
_log = logging.getLogger(__name__)

Resolve = Callable[[Context], Any]
Prepare = Callable[["Service", Viewer, dict[str, Any]], Awaitable[Resolve]]


@dataclass(frozen=True)
class Caller:
    """Who asks, and by which address of this server."""

    viewer: Viewer
    base_url: str


class Service:
    """The tracker without HTTP."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.data.mkdir(parents=True, exist_ok=True)
        self.database = Database(settings.data / "tracker.sqlite3", settings.synchronous)
        self.blobs = BlobStore(settings.data, settings.max_upload_bytes)
        self.blobs.prepare()
        self.engine = Engine()
        self.scheduler = Scheduler(self.database, self.engine, settings)
        self.metrics = Metrics()
        self.signer = Signer(b"", settings.url_lifetime)
        self._viewers: dict[str, tuple[float, Viewer]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the signing secret and begin to watch for silent runs."""
        secret = await self.database.write(auth.server_secret)
        self.signer = Signer(secret, self.settings.url_lifetime)
        self._watch = asyncio.create_task(self.scheduler.watch())

    async def stop(self) -> None:
        """End the background work and close the database."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.scheduler.close()
        await self.engine.close()
        await asyncio.to_thread(self.database.close)

    async def viewer(self, authorization: str | None) -> Viewer:
        """The owner of the API key in an `Authorization` header.

        Raises:
            Unauthorized: No key, or an unknown one.
        """
        key_hash = auth.hash_key(auth.bearer(authorization))
        known = self._viewers.get(key_hash)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        found = await self.database.read(lambda db: auth.find_viewer(db, key_hash))
        if len(self._viewers) > 10_000:
            self._viewers.clear()
        self._viewers[key_hash] = (time.monotonic() + _VIEWER_LIFETIME, found)
        return found

    async def execute(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        """The `data` of a GraphQL answer.

        Raises:
            TrackerError: With the HTTP status to answer with.
        """
        if operation.kind == "query":
            return await self.database.read(lambda db: self._query(operation, self._context(db, caller)))
        if operation.kind != "mutation":
            raise BadRequest("subscriptions are not supported")
        data: dict[str, Any] = {}
        for key, name, arguments, node in operation.root_fields():
            given = snake_keys(arguments.get("input") if isinstance(arguments.get("input"), dict) else arguments)
            resolve = await self._mutation(snake_case(name), check_arguments(given), caller)

            def job(db: sqlite3.Connection, resolve: Resolve = resolve, node: Any = node) -> Any:
                return operation.project(resolve(self._context(db, caller)), node)

            data[key] = await self.database.write(job)
            if name in ("createTeam", "deleteApiKey"):
                self._viewers.clear()
        return data

    def _query(self, operation: Operation, ctx: Context) -> dict[str, Any]:
        root = Query(ctx)
        return {
            key: operation.project("Query" if name == "__typename" else root.resolve(name, arguments), node)
            for key, name, arguments, node in operation.root_fields()
        }

    async def _mutation(self, name: str, given: dict[str, Any], caller: Caller) -> Resolve:
        if name in _PREPARED:
            return await _PREPARED[name](self, caller.viewer, given)
        mutation = MUTATIONS.get(name)
        if mutation is None:
            note_gap("Mutation", name)
            raise BadRequest(f"this server has no mutation {name!r}")
        return lambda ctx: mutation(ctx, given)

    def _context(self, db: sqlite3.Connection, caller: Caller) -> Context:
        return Context(db, caller.viewer, caller.base_url, self.signer, self.settings.organization, time.time())


async def _heartbeat(service: Service, viewer: Viewer, given: dict[str, Any]) -> Resolve:
    agent = parse_global_id("Agent", given.get("id"))
    state = parse_object(given.get("run_state") or "{}", "runState")
    commands = await service.scheduler.heartbeat(viewer, agent, frozenset(k for k, v in state.items() if v))
    return lambda ctx: agent_answer(agent, commands)


async def _upsert_sweep(service: Service, viewer: Viewer, given: dict[str, Any]) -> Resolve:
    spec = None
    if given.get("config"):
        values = sweeps.parse_spec(given["config"])
        warnings, grid_size = await service.engine.validate(values)
        spec = sweeps.Spec(str(given["config"]), values, warnings, grid_size)
    return lambda ctx: sweeps.upsert_sweep(ctx, given, spec)


async def _commit_artifact(service: Service, viewer: Viewer, given: dict[str, Any]) -> Resolve:
    number = parse_global_id("Artifact", given.get("artifact_id"))
    row = await service.database.read(lambda db: _artifact_row(db, number, viewer))
    contents = await asyncio.to_thread(_manifest_contents, service, row)
    return lambda ctx: artifacts.commit(ctx, number, row["manifest_md5"], contents)


async def _complete_multipart(service: Service, viewer: Viewer, given: dict[str, Any]) -> Resolve:
    path = str(given.get("storage_path") or "").split("/")
    numbers = sorted(int(part.get("part_number") or 0) for part in given.get("completed_parts") or ())
    if len(path) != 3 or not path[1].isdecimal() or int(path[1]) not in viewer.entities.values():
        raise NotFound("no such upload")
    entity, md5 = int(path[1]), path[2]
    if given.get("upload_id") != artifacts.upload_id(entity, md5):
        raise NotFound("no such upload")
    size = await asyncio.to_thread(service.blobs.join_parts, given["upload_id"], numbers, entity, md5)

    def resolve(ctx: Context) -> dict[str, Any]:
        record_blob(ctx.db, entity, md5, size, ctx.now)
        return {"digest": md5}

    return resolve


_PREPARED: dict[str, Prepare] = {
    "agent_heartbeat": _heartbeat,
    "upsert_sweep": _upsert_sweep,
    "commit_artifact": _commit_artifact,
    "complete_multipart_upload_artifact": _complete_multipart,
}


def record_blob(db: sqlite3.Connection, entity_id: int, md5: str, size: int, now: float) -> None:
    """Note that a content is on disk."""
    db.execute(
        "INSERT INTO blobs (entity_id, md5, size, touched_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET touched_at = excluded.touched_at",
        (entity_id, md5, size, now),
    )


def _artifact_row(db: sqlite3.Connection, number: int, viewer: Viewer) -> dict[str, Any]:
    row = db.execute(
        "SELECT a.*, p.entity_id, b.manifest_md5 AS base_md5 FROM artifacts a "
        "JOIN collections c ON c.id = a.sequence_id JOIN projects p ON p.id = c.project_id "
        "LEFT JOIN artifacts b ON b.id = a.base_id AND b.sequence_id = a.sequence_id "
        "WHERE a.id = ?",
        (number,),
    ).fetchone()
    if row is None or row["entity_id"] not in viewer.entities.values():
        raise NotFound("no such artifact")
    if row["manifest_md5"] is None:
        raise BadRequest("the artifact's manifest was not uploaded")
    return dict(row)


def _manifest_contents(service: Service, row: dict[str, Any]) -> dict[str, Any]:
    """A manifest's entries by file name, for an incremental one together with those of its base."""
    contents = _read_manifest(service, row["entity_id"], row["manifest_md5"])
    if row["manifest_kind"] == "INCREMENTAL" and row["base_md5"]:
        contents = _read_manifest(service, row["entity_id"], row["base_md5"]) | contents
    return contents


def _read_manifest(service: Service, entity_id: int, md5: str) -> dict[str, Any]:
    try:
        manifest = json.loads(service.blobs.path(entity_id, md5).read_bytes())
    except (OSError, ValueError) as e:
        raise BadRequest("the artifact's manifest is not readable JSON") from e
    contents = manifest.get("contents") if isinstance(manifest, dict) else None
    if not isinstance(contents, dict):
        raise BadRequest("the artifact's manifest has no contents")
    return contents
