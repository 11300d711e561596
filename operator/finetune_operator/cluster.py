"""A thin asynchronous Kubernetes client: JSON in, JSON out, over the connection that kopf's login gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf

from finetune_operator.errors import ClusterError, ConflictError, ForbiddenError, NotFoundError

_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_GROUPS = {
    "configmaps": "/api/v1",
    "services": "/api/v1",
    "secrets": "/api/v1",
    "pods": "/api/v1",
    "events": "/api/v1",
    "jobs": "/apis/batch/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "sweepruns": "/apis/finetune.dev/v1alpha1",
    "finetunejobs": "/apis/finetune.dev/v1alpha1",
}
FIELD_MANAGER = "finetune-operator"


class Cluster:
    """The Kubernetes API, as far as the operator needs it.

    Args:
        login: Returns the connection; called again when the API server no longer accepts its credentials.
    """

    def __init__(self, login: Callable[[], kopf.ConnectionInfo]) -> None:
        self._login = login
        self._session: aiohttp.ClientSession | None = None
        self._server = ""
        self._lock = asyncio.Lock()

    async def get(self, plural: str, namespace: str, name: str) -> dict[str, Any]:
        """Reads an object."""
        return await self._request("GET", self._path(plural, namespace, name))

    async def list(self, plural: str, namespace: str, **params: str) -> list[dict[str, Any]]:
        """Lists objects; `labelSelector` and `fieldSelector` as the API knows them."""
        answer = await self._request("GET", self._path(plural, namespace), params=params)
        return list(answer["items"])

    async def create(self, plural: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Creates an object."""
        path = self._path(plural, manifest["metadata"]["namespace"])
        return await self._request("POST", path, body=manifest)

    async def replace(self, plural: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Replaces an object; fails with ConflictError if its resourceVersion is stale."""
        metadata = manifest["metadata"]
        return await self._request("PUT", self._path(plural, metadata["namespace"], metadata["name"]), body=manifest)

    async def patch(
        self, plural: str, namespace: str, name: str, patch: dict[str, Any], subresource: str | None = None
    ) -> dict[str, Any]:
        """Merge-patches an object or its subresource."""
        path = self._path(plural, namespace, name, subresource)
        return await self._request("PATCH", path, body=patch, content_type="application/merge-patch+json")

    async def delete(self, plural: str, namespace: str, name: str) -> None:
        """Deletes an object with its dependants; one that is gone is fine."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            await self._request("DELETE", self._path(plural, namespace, name), body=options)
        except NotFoundError:
            return

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @staticmethod
    def _path(plural: str, namespace: str, name: str | None = None, subresource: str | None = None) -> str:
        parts = [_GROUPS[plural], "namespaces", namespace, plural, name, subresource]
        return "/".join(part for part in parts if part)

    async def _connect(self, stale: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
        async with self._lock:
            if self._session is None or self._session is stale:
                await self.close()
                info = await asyncio.to_thread(self._login)
                self._server = info.server.rstrip("/")
                connector = aiohttp.TCPConnector(limit=32, ssl=info.as_ssl_context())
                self._session = aiohttp.ClientSession(
                    connector=connector, headers=info.as_http_headers(), timeout=_TIMEOUT, proxy=info.proxy_url
                )
            return self._session

    async def _request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        params = {**(params or {}), **({"fieldManager": FIELD_MANAGER} if method in ("POST", "PATCH", "PUT") else {})}
        data = json.dumps(body) if body is not None else None
        session = await self._connect(None)
        for last in (False, True):
            try:
                async with session.request(
                    method, self._server + path, params=params, data=data, headers={"Content-Type": content_type}
                ) as response:
                    if response.status == 401 and not last:
                        session = await self._connect(session)
                        continue
                    return await _answer(response)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise ClusterError(0, "Unreachable", f"{type(error).__name__}: {error}") from error
        raise AssertionError("unreachable")


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    text = await response.text()
    if response.status < 400:
        return dict(json.loads(text))
    try:
        status = json.loads(text)
        reason, message = status.get("reason", ""), status.get("message", "")
    except ValueError:
        reason, message = response.reason or "", text[:200]
    kind = {403: ForbiddenError, 404: NotFoundError, 409: ConflictError}.get(response.status, ClusterError)
    raise kind(response.status, reason, message)
