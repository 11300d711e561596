"""Endpoints of the page: its files, its session, and read-only GraphQL for it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from finetune_tracker import auth
from finetune_tracker.errors import BadRequest, NotFound, TooLarge, Unauthorized
from finetune_tracker.graphql import Operation
from finetune_tracker.web import session

if TYPE_CHECKING:
    from finetune_tracker.auth import Viewer
    from finetune_tracker.service import Service

_MAX_BODY = 64 << 10
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; frame-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class _Files(StaticFiles):
    """The page's files; asked for again each time, and answered with 304 while they are the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        return response


_FOLDER = Path(__file__).parent / "static"
STATIC = Mount("/static", _Files(directory=_FOLDER))


async def index(service: Service, request: Request) -> Response:
    """The page itself, for every address that a person may open or a run links to."""
    if "text/html" not in request.headers.get("accept", ""):
        raise NotFound(f"nothing at {request.url.path}")
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS, media_type="text/html")


async def log_in(service: Service, request: Request) -> Response:
    """`{key}` -> a cookie that scripts cannot read and that other sites' pages cannot send."""
    key = (await _json(request)).get("key")
    viewer = await service.viewer(f"Bearer {key}" if isinstance(key, str) else None)
    response = JSONResponse({"user": viewer.name, "entity": viewer.entity})
    response.set_cookie(
        session.COOKIE,
        session.issue(service.signer, auth.hash_key(str(key))),
        max_age=int(service.settings.url_lifetime),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


async def log_out(service: Service, request: Request) -> Response:
    """Forgets the session in this browser."""
    response = Response(status_code=204)
    response.delete_cookie(session.COOKIE, httponly=True, samesite="strict")
    return response


async def who(service: Service, request: Request) -> Response:
    """Who is logged in; null is nobody."""
    try:
        viewer = await _viewer(service, request)
    except Unauthorized:
        return JSONResponse(None)
    entities = [name for name in viewer.entities if name != service.settings.organization]
    return JSONResponse({"user": viewer.name, "entity": viewer.entity, "entities": entities})


async def query(service: Service, request: Request) -> Response:
    """GraphQL for the page: queries alone, so that nothing can be changed by a session."""
    from finetune_tracker.service import Caller

    viewer = await _viewer(service, request)
    given = await _json(request)
    operation = Operation(given.get("query"), given.get("variables"), given.get("operationName"))
    if operation.kind != "query":
        raise BadRequest("a session may only read; changes need the API key")
    return JSONResponse({"data": await service.execute(operation, Caller(viewer, ""))})


async def _viewer(service: Service, request: Request) -> Viewer:
    hashed = session.key_hash(service.signer, request.cookies.get(session.COOKIE))
    return await service.database.read(lambda db: auth.find_viewer(db, hashed))


async def _json(request: Request) -> dict[str, Any]:
    """The body; the content type keeps other sites' forms out."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise BadRequest("the body must be application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise TooLarge(f"the body exceeds {_MAX_BODY} bytes")
    try:
        given = json.loads(body)
    except ValueError as e:
        raise BadRequest("the body must be JSON") from e
    if not isinstance(given, dict):
        raise BadRequest("the body must be a JSON object")
    return given


Endpoint = Callable[["Service", Request], Awaitable[Response]]

ROUTES: tuple[tuple[str, Endpoint, str], ...] = (
    ("/session", log_in, "POST"),
    ("/session", log_out, "DELETE"),
    ("/session", who, "GET"),
    ("/session/query", query, "POST"),
    ("/{path:path}", index, "GET"),
)
"""(path, endpoint, method); the last one takes what no other route did."""
