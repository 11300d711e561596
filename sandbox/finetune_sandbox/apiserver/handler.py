"""Answers requests: who asks, may they, for what, and in which form the answer goes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from . import discovery, logs, rbac, read, write
from .answers import json_answer, page_not_found, present, renderer, wanted_form
from .endpoints import Call, answer
from .errors import ApiError, bad_request, not_found
from .faults import DisconnectError, Faults
from .openapi import OpenApi
from .resources import Resource
from .routing import Route, parse
from .state import State
from .users import ANONYMOUS, User, impersonated
from .watch import Watch

_LOG = logging.getLogger(__name__)
_STREAM = {"Cache-Control": "no-cache, private"}
_UNAUTHORIZED = ApiError(401, "Unauthorized", "Unauthorized")


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 60.0)
    except ValueError:
        raise ApiError(400, "BadRequest", f"away must be a number of seconds, not {text!r}") from None


class Handler:
    """Turns requests into answers."""

    def __init__(self, state: State, restart: Callable[[bool, float], None]) -> None:
        self.state, self.restart = state, restart
        self.faults = Faults()
        self.openapi = OpenApi(state.registry)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; every failure becomes a `Status`."""
        try:
            if self.faults.rules and not request.path.startswith("/debug/"):
                await self.faults.strike(request.method, request.path)
            return await self._answer(request)
        except ApiError as error:
            return json_answer(error.status(), error.code, error.warnings)
        except DisconnectError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except web.HTTPRequestEntityTooLarge:
            large = ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
            return json_answer(large.status(), large.code)
        except Exception as error:
            _LOG.exception("%s %s", request.method, request.path)
            failure = ApiError(500, "InternalError", f"Internal error occurred: {type(error).__name__}: {error}")
            return json_answer(failure.status(), failure.code)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        user = self._user(request)
        route = parse(request.method, request.path, request.query)
        if route is None:
            return await self._other(request, user)
        namespace = route.namespace or ""
        attributes = rbac.Attributes(route.verb, route.group, route.resource, route.subresource, namespace, route.name)
        rbac.require(self.state.store, user, attributes)
        resource = self.state.registry.get(route.group, route.version, route.resource)
        if resource is None:
            return page_not_found()
        if route.subresource and route.subresource not in resource.subresources:
            if resource.custom is not None:
                raise not_found(resource.group, resource.plural, route.name)
            return page_not_found()
        if resource.namespaced and route.namespace is None and (route.name or route.verb == "create"):
            return page_not_found()
        data = await request.read() if request.can_read_body else b""
        if route.verb == "watch":
            return await self._watch(request, route, resource)
        if route.subresource == "log":
            return await self._log(request, route, resource)
        media = request.headers.get("Content-Type", "").partition(";")[0].strip()
        agent = request.headers.get("User-Agent", "")
        call = Call(route, resource, user, request.query, media, data, agent)
        form = wanted_form(request.headers.get("Accept", ""))
        if (
            route.verb == "list"
            and not form
            and (text := read.whole_list(self.state, resource, call.namespace, request.query))
        ):
            return web.Response(body=text, content_type="application/json")
        found = answer(self.state, call)
        body = present(resource, found.body, form, request.query)
        return json_answer(body, found.code, found.warnings)

    def _user(self, request: web.BaseRequest) -> User:
        """Who asks.

        Raises:
            ApiError: 401 for a bad token, 403 for an impersonation that is not allowed.
        """
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if not kind:
            user: User | None = ANONYMOUS
        else:
            user = self.state.tokens.user(self.state, token.strip()) if kind.lower() == "bearer" else None
        if user is None:
            raise _UNAUTHORIZED
        groups = request.headers.getall("Impersonate-Group", [])
        other = impersonated(request.headers, groups)
        if other is None:
            return user
        kind, name, namespace = "users", other.name, ""
        if other.name.startswith("system:serviceaccount:"):
            namespace, _, name = other.name.removeprefix("system:serviceaccount:").partition(":")
            kind = "serviceaccounts"
        rbac.require(self.state.store, user, rbac.Attributes("impersonate", "", kind, "", namespace, name))
        for group in groups:
            rbac.require(self.state.store, user, rbac.Attributes("impersonate", "", "groups", "", "", group))
        return other

    async def _watch(self, request: web.BaseRequest, route: Route, resource: Resource) -> web.StreamResponse:
        namespace = route.namespace if resource.namespaced else None
        render = renderer(resource, wanted_form(request.headers.get("Accept", "")), request.query)
        watch = Watch(self.state, resource, namespace, request.query, route.name, render)
        return await _stream(request, watch.lines(), "application/json")

    async def _log(self, request: web.BaseRequest, route: Route, resource: Resource) -> web.StreamResponse:
        pod = write.current(self.state, resource, route.namespace, route.name)
        logs.container_of(pod, request.query)
        return await _stream(request, logs.stream(self.state, pod, request.query), "text/plain")

    async def _other(self, request: web.BaseRequest, user: User) -> web.Response:
        path = request.path.rstrip("/") or "/"
        verb = {"GET": "get", "HEAD": "get", "PUT": "put", "POST": "post"}.get(request.method, request.method.lower())
        rbac.require(self.state.store, user, rbac.Attributes(verb, path=path))
        if path.startswith(("/readyz", "/livez", "/healthz")):
            return web.Response(text="ok")
        if path == "/debug/faults":
            return await self._set_faults(request)
        if path == "/debug/restart" and request.method == "POST":
            self.restart(request.query.get("history") == "lose", _seconds(request.query.get("away", "0")))
            return json_answer({"restarting": True}, 202)
        if path == "/version":
            return json_answer(discovery.VERSION)
        if path == "/openapi/v3":
            return json_answer(self.openapi.index())
        if path.startswith("/openapi/v3/"):
            document = self.openapi.document(path.removeprefix("/openapi/v3/"))
            return (
                page_not_found() if document is None else web.Response(body=document, content_type="application/json")
            )
        return self._discover(path, request.headers.get("Accept", ""), request.host)

    async def _set_faults(self, request: web.BaseRequest) -> web.Response:
        if request.method == "PUT":
            try:
                self.faults.set(json.loads(await request.read() or b"[]"))
            except ValueError as error:
                raise bad_request(f"the body is no JSON: {error}") from error
        return json_answer(self.faults.rules)

    def _discover(self, path: str, accept: str, host: str) -> web.Response:
        registry = self.state.registry
        if path in ("/api", "/apis") and (form := discovery.aggregated_version(accept)):
            body = json.dumps(discovery.aggregated(registry, path == "/api", form), separators=(",", ":")).encode()
            return web.Response(body=body, headers={"Content-Type": discovery.AGGREGATED.format(form)})
        parts = path.split("/")[1:]
        found: dict[str, Any] | None = None
        if path == "/api":
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
            found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        elif path == "/apis":
            found = discovery.group_list(registry)
        elif parts[0] == "api" and len(parts) == 2:
            found = discovery.resource_list(registry, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            found = discovery.api_group(registry, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            found = discovery.resource_list(registry, parts[1], parts[2])
        return page_not_found() if found is None else json_answer(found)


async def _stream(request: web.BaseRequest, chunks: AsyncIterator[bytes], media: str) -> web.StreamResponse:
    """Sends chunks as they come, until there are no more or the client has gone."""
    response = web.StreamResponse(headers={"Content-Type": media, **_STREAM})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        with contextlib.suppress(ConnectionError):
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]
    return response
