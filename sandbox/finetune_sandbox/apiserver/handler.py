"""Answers requests: who asks, for what, and the answer in the form they accept."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import web

from . import deletion, discovery, read, write
from .body import read as read_body
from .errors import ApiError, bad_request, method_not_allowed
from .options import Options, read_options
from .patching import patch
from .resources import Resource
from .routing import Route, parse
from .state import State
from .store import Obj
from .watch import Watch

MAX_BODY = 3 * 1024 * 1024


class Handler:
    """Turns requests into answers."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; every failure becomes a `Status`."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return _json(error.status(), error.code, error.warnings)
        except (asyncio.CancelledError, ConnectionError):
            raise

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        route = parse(request.method, request.path, request.query)
        if route is None:
            return self._other(request)
        resource = self.state.registry.get(route.group, route.version, route.resource)
        if resource is None or (route.subresource and route.subresource not in resource.subresources):
            return _not_found()
        data = await request.read() if request.can_read_body else b""
        if route.verb == "watch":
            return await self._watch(request, route, resource)
        return self._resource(request, route, resource, data)

    def _resource(self, request: web.BaseRequest, route: Route, resource: Resource, data: bytes) -> web.StreamResponse:
        namespace = route.namespace if resource.namespaced else None
        state, query = self.state, request.query
        if route.verb == "list":
            return _json(read.list_objects(state, resource, namespace, query))
        if route.verb == "get":
            return _json(write.current(state, resource, namespace, route.name))
        media = request.headers.get("Content-Type", "").partition(";")[0].strip()
        options = read_options(route.verb, query, request.headers.get("User-Agent", ""), None, "apply-patch" in media)
        if route.verb == "patch":
            obj, created = patch(state, resource, namespace, route.name, data, media, options, route.subresource)
            return _json(obj, 201 if created else 200, options.warnings)
        body, options.duplicates = read_body(data, media, resource) if data else ({}, [])
        if route.verb in ("delete", "deletecollection"):
            return self._delete(request, route, resource, body, options)
        if route.verb == "create":
            if route.name and not route.subresource:
                raise method_not_allowed()
            return _json(write.create(state, resource, namespace, body, options), 201, options.warnings)
        if route.verb == "update":
            obj, created = write.replace(state, resource, namespace, route.name, body, options, route.subresource)
            return _json(obj, 201 if created else 200, options.warnings)
        raise method_not_allowed()

    def _delete(self, request: web.BaseRequest, route: Route, resource: Resource, body: Any, options: Options) -> web.Response:
        wanted = {**body} if isinstance(body, dict) else {}
        for key in ("propagationPolicy", "gracePeriodSeconds"):
            if key in request.query:
                wanted[key] = int(request.query[key]) if key == "gracePeriodSeconds" else request.query[key]
        options = read_options("delete", request.query, "", wanted)
        namespace = route.namespace if resource.namespaced else None
        if route.verb == "delete":
            obj = write.current(self.state, resource, namespace, route.name)
            new, gone = deletion.delete(self.state, resource, obj, wanted, options)
            return _json(deletion.answer(resource, write.show(resource, new), gone), 200, options.warnings)
        listed = read.list_objects(self.state, resource, namespace, request.query)
        for item in listed["items"]:
            meta = item["metadata"]
            found = self.state.store.get(resource.storage, meta.get("namespace"), meta["name"])
            if found is not None:
                deletion.delete(self.state, resource, found, wanted, options)
        return _json(listed, 200, options.warnings)

    async def _watch(self, request: web.BaseRequest, route: Route, resource: Resource) -> web.StreamResponse:
        namespace = route.namespace if resource.namespaced else None
        watch = Watch(self.state, resource, namespace, request.query, route.name, None)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        lines = watch.lines()
        try:
            with contextlib.suppress(ConnectionError):
                async for line in lines:
                    await response.write(line)
                await response.write_eof()
        finally:
            await lines.aclose()  # type: ignore[attr-defined]
        return response

    def _other(self, request: web.BaseRequest) -> web.Response:
        path, registry = request.path.rstrip("/"), self.state.registry
        accepts = request.headers.get("Accept", "")
        if path in ("/readyz", "/livez", "/healthz") or path.startswith(("/readyz/", "/livez/", "/healthz/")):
            return web.Response(text="ok")
        if path == "/version":
            return _json(discovery.VERSION)
        if path in ("/api", "/apis") and "APIGroupDiscoveryList" in accepts:
            body = json.dumps(discovery.aggregated(registry, path == "/api")).encode()
            return web.Response(body=body, headers={"Content-Type": discovery.AGGREGATED})
        parts = path.split("/")[1:]
        found: dict[str, Any] | None = None
        if path == "/api":
            address = f"{request.host}"
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
            found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        elif path == "/apis":
            found = discovery.group_list(registry)
        elif parts[0] == "api" and len(parts) == 2:
            found = discovery.resource_list(registry, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            found = discovery.api_group(registry, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            found = discovery.resource_list(registry, parts[1], parts[2])
        return _json(found) if found is not None else _not_found()


def _json(body: Obj, code: int = 200, warnings: Any = ()) -> web.Response:
    data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    response = web.Response(body=data, status=code, headers={"Content-Type": "application/json"})
    for text in warnings:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


def _not_found() -> web.Response:
    return web.Response(text="404 page not found\n", status=404)
