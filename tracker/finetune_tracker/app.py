"""The HTTP side: routes, statuses, limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from finetune_tracker import filestream, web
from finetune_tracker.blobs import check_file_name
from finetune_tracker.database import is_temporary
from finetune_tracker.errors import BadRequest, NotFound, TooLarge, TrackerError, Unavailable
from finetune_tracker.graphql import Operation
from finetune_tracker.history import dump
from finetune_tracker.service import Caller, Service, record_blob
from finetune_tracker.settings import Settings

_log = logging.getLogger(__name__)
_LARGE = 256 << 10

Endpoint = Callable[[Service, Request], Awaitable[Response]]


def create_app(settings: Settings) -> Starlette:
    """The ASGI application of one server."""
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    def route(path: str, endpoint: Endpoint, *methods: str) -> Route:
        return Route(path, _guard(service, endpoint), methods=list(methods))

    return Starlette(
        lifespan=lifespan,
        routes=[
            route("/graphql", graphql, "POST"),
            route("/files/{entity}/{project}/{run}/file_stream", file_stream, "POST"),
            route("/files/{entity}/{project}/{run}/{name:path}", run_file, "GET"),
            route("/upload/run/{run:int}/{name:path}", upload_run_file, "PUT"),
            route("/upload/manifest/{artifact:int}/{md5}", upload_manifest, "PUT"),
            route("/upload/blob/{entity:int}/{md5}", upload_blob, "PUT"),
            route("/upload/part/{upload}/{number:int}", upload_part, "PUT"),
            route("/storage/{entity:int}/{md5}/{name}", download, "GET"),
            route("/artifacts/{entity}/{md5}", artifact_file, "GET"),
            route("/artifactsV2/{region}/{entity}/{project}/{collection}/{rest:path}", artifact_file, "GET"),
            route("/healthz", health, "GET"),
            route("/metrics", metrics, "GET"),
            web.STATIC,
            *(route(*page) for page in web.ROUTES),
        ],
        exception_handlers={HTTPException: _http_error},
    )


async def graphql(service: Service, request: Request) -> Response:
    """`{query, variables, operationName}` -> `{data}`."""
    body = await _body(request, service.settings.max_graphql_bytes)
    viewer = await service.viewer(request.headers.get("authorization"))
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise BadRequest("the body must be JSON") from e
    if not isinstance(given, dict):
        raise BadRequest("the body must be a JSON object")
    operation = Operation(given.get("query"), given.get("variables"), given.get("operationName"))
    data = await service.execute(operation, Caller(viewer, base_url(service.settings, request)))
    return Response(dump({"data": data}), media_type="application/json")


async def file_stream(service: Service, request: Request) -> Response:
    """History, summary, system metrics and console lines of a run; answers whether it should stop."""
    entity, project, run = (request.path_params[k] for k in ("entity", "project", "run"))
    limit = service.settings.max_stream_bytes
    body = await _body(request, limit)
    viewer = await service.viewer(request.headers.get("authorization"))
    body = filestream.decompress(body, request.headers.get("content-encoding"), limit)
    # Parsing megabytes, as they come after an outage, must not hold up the other requests.
    post = filestream.parse_post(body) if len(body) < _LARGE else await asyncio.to_thread(filestream.parse_post, body)

    def job(db: sqlite3.Connection) -> bool:
        number = filestream.find_run(db, entity, project, run, viewer.entities)
        return filestream.apply(db, number, post, time.time())

    stopped = await service.database.write(job)
    for chunk in post.chunks:
        service.metrics.lines.labels(chunk.table).inc(len(chunk.lines))
    return JSONResponse({"stopped": stopped, "exitcode": None, "limits": {}})


async def upload_run_file(service: Service, request: Request) -> Response:
    """A file of a run."""
    run, name = request.path_params["run"], check_file_name(request.path_params["name"])
    _check_token(service, request, f"put-run:{run}:{name}")
    row = await service.database.read(
        lambda db: db.execute(
            "SELECT p.entity_id FROM runs r JOIN projects p ON p.id = r.project_id WHERE r.id = ?", (run,)
        ).fetchone()
    )
    if row is None:
        raise NotFound("the run was deleted")
    md5, size = await service.blobs.receive(request.stream(), row["entity_id"])

    def job(db: sqlite3.Connection) -> None:
        record_blob(db, row["entity_id"], md5, size, time.time())
        db.execute(
            "INSERT INTO run_files (run_id, name, md5, size, updated_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (run_id, name) DO UPDATE SET md5 = excluded.md5, size = excluded.size, "
            "updated_at = excluded.updated_at",
            (run, name, md5, size, time.time()),
        )

    await service.database.write(job)
    service.metrics.uploads.inc(size)
    return _stored(md5)


async def upload_manifest(service: Service, request: Request) -> Response:
    """The manifest of an artifact."""
    artifact, md5 = request.path_params["artifact"], request.path_params["md5"]
    _check_token(service, request, f"put-manifest:{artifact}:{md5}")
    row = await service.database.read(
        lambda db: db.execute(
            "SELECT p.entity_id FROM artifacts a JOIN collections c ON c.id = a.sequence_id "
            "JOIN projects p ON p.id = c.project_id WHERE a.id = ?",
            (artifact,),
        ).fetchone()
    )
    if row is None:
        raise NotFound("the artifact was deleted")
    _, size = await service.blobs.receive(request.stream(), row["entity_id"], md5)

    def job(db: sqlite3.Connection) -> None:
        record_blob(db, row["entity_id"], md5, size, time.time())
        db.execute("UPDATE artifacts SET manifest_md5 = ? WHERE id = ? AND state = 'PENDING'", (md5, artifact))

    await service.database.write(job)
    return _stored(md5)


async def upload_blob(service: Service, request: Request) -> Response:
    """A file of an artifact, by its digest."""
    entity, md5 = request.path_params["entity"], request.path_params["md5"]
    _check_token(service, request, f"put:{entity}:{md5}")
    _, size = await service.blobs.receive(request.stream(), entity, md5)
    await service.database.write(lambda db: record_blob(db, entity, md5, size, time.time()))
    service.metrics.uploads.inc(size)
    return _stored(md5)


async def upload_part(service: Service, request: Request) -> Response:
    """One part of a large file; the client wants an ETag for each."""
    upload, number = request.path_params["upload"], request.path_params["number"]
    _check_token(service, request, f"put-part:{upload}:{number}")
    return _stored(await service.blobs.receive_part(request.stream(), upload, number))


async def download(service: Service, request: Request) -> Response:
    """A stored content, also in ranges."""
    entity, md5, name = (request.path_params[k] for k in ("entity", "md5", "name"))
    _check_token(service, request, f"get:{entity}:{md5}")
    return await _content(service, entity, md5, name)


async def run_file(service: Service, request: Request) -> Response:
    """A file of a run, by name and API key."""
    viewer = await service.viewer(request.headers.get("authorization"))
    entity, project, run, name = (request.path_params[k] for k in ("entity", "project", "run", "name"))
    row = await service.database.read(
        lambda db: db.execute(
            "SELECT f.md5, p.entity_id FROM run_files f JOIN runs r ON r.id = f.run_id "
            "JOIN projects p ON p.id = r.project_id WHERE p.entity_id = ? AND p.name = ? AND r.name = ? AND f.name = ?",
            (viewer.entities.get(entity), project, run, name),
        ).fetchone()
    )
    if row is None:
        raise NotFound(f"no file {name!r}")
    return await _content(service, row["entity_id"], row["md5"], name.rsplit("/", 1)[-1])


async def artifact_file(service: Service, request: Request) -> Response:
    """A file of an artifact by digest and API key: how the SDK fetches single entries.

    The path ends in `<id of the artifact>/<hex MD5>/<name>`, or is just the MD5 in the first layout.
    """
    viewer = await service.viewer(request.headers.get("authorization"))
    given = request.path_params
    parts = given.get("rest", given.get("md5", "")).split("/")
    md5, name = (parts[-2], parts[-1]) if len(parts) > 1 else (parts[0], parts[0])
    condition = "p.name = ? AND c.name = ? AND" if "project" in given else ""
    row = await service.database.read(
        lambda db: db.execute(
            "SELECT home.entity_id FROM artifact_files f JOIN artifacts a ON a.id = f.artifact_id "
            "JOIN collections s ON s.id = a.sequence_id JOIN projects home ON home.id = s.project_id "
            "JOIN memberships m ON m.artifact_id = a.id JOIN collections c ON c.id = m.collection_id "
            f"JOIN projects p ON p.id = c.project_id WHERE p.entity_id = ? AND {condition} f.md5 = ? LIMIT 1",
            (viewer.entities.get(given["entity"]), *[given[k] for k in ("project", "collection") if k in given], md5),
        ).fetchone()
    )
    if row is None:
        raise NotFound("no such artifact file")
    return await _content(service, row["entity_id"], md5, name)


async def health(service: Service, request: Request) -> Response:
    """Whether the database answers."""
    await service.database.read(lambda db: db.execute("SELECT 1").fetchone())
    return PlainTextResponse("ok\n")


async def metrics(service: Service, request: Request) -> Response:
    """Prometheus metrics; they name no user, project or run."""
    text = await service.database.read(service.metrics.render)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def base_url(settings: Settings, request: Request) -> str:
    """The address for links: the configured one, else the one this request came by."""
    return settings.public_url.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"


def _guard(service: Service, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Measure, and turn every error into a status: what the server cannot explain is the request's fault, never a 500.

    The SDK retries a 500 for minutes ("service process is busy"), so a defect here would hang every client. The file
    stream alone is told to come again: there a 4xx silences the run for good, and the rows it holds would be lost.
    """
    name = endpoint.__name__
    defect = Unavailable.status if endpoint is file_stream else 400

    async def serve(request: Request) -> Response:
        start = time.perf_counter()
        try:
            response = await endpoint(service, request)
        except ClientDisconnect:
            response = Response(status_code=400)
        except TrackerError as e:
            response = _error(e.status, str(e))
        except sqlite3.OperationalError as e:
            _log.warning("%s: database: %s", name, e)
            response = _error(Unavailable.status if is_temporary(e) else defect, f"database: {e}")
        except OSError as e:  # disk full, too many open files
            _log.warning("%s: %s", name, e)
            response = _error(Unavailable.status, f"the server cannot use its disk: {e.strerror}")
        except asyncio.CancelledError:
            raise
        except Exception as e:
            _log.exception("%s failed", name)
            response = _error(defect, f"{type(e).__name__} while serving the request; the server's log has the details")
        service.metrics.requests.labels(name, response.status_code).observe(time.perf_counter() - start)
        return response

    return serve


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body exceeds {limit} bytes")
    return bytes(body)


async def _content(service: Service, entity_id: int, md5: str, name: str) -> Response:
    path = service.blobs.path(entity_id, md5)
    if not await asyncio.to_thread(path.is_file):
        raise NotFound("no such content")
    # What users upload must not run in this server's origin when opened in a browser.
    headers = {
        "content-security-policy": "sandbox",
        "x-content-type-options": "nosniff",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name)}",
    }
    return FileResponse(path, headers=headers, media_type="application/octet-stream")


def _check_token(service: Service, request: Request, claim: str) -> None:
    service.signer.check(claim, request.query_params.get("token", ""))


def _stored(md5: str) -> Response:
    return Response(status_code=200, headers={"etag": f'"{md5}"'})


def _error(status: int, message: str) -> JSONResponse:
    headers = {"retry-after": "1"} if status == Unavailable.status else None
    body: dict[str, Any] = {"errors": [{"message": message}], "error": message}
    return JSONResponse(body, status_code=status, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _error(status, str(getattr(error, "detail", error)))
