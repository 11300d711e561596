"""A thin asynchronous Kubernetes client: JSON in, JSON out, over the connection that kopf's login gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aiohttp
import kopf

from finetune_operator.errors import ClusterError, ConflictError, ExpiredError, ForbiddenError, NotFoundError

_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_WATCH_SECONDS = 300
_SILENCE = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=75)
"""A watch says something at least once a minute (a bookmark); one that does not is dead, whatever TCP believes."""
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

    async def snapshot(self, plural: str, namespace: str | None, selector: str) -> tuple[Sequence[dict[str, Any]], str]:
        """All objects with some labels, in a namespace or (None) everywhere, and the version to watch from."""
        answer = await self._request("GET", self._path(plural, namespace), params={"labelSelector": selector})
        return answer["items"], str(answer["metadata"]["resourceVersion"])

    async def watch(
        self, plural: str, namespace: str | None, version: str, selector: str
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events (ADDED, MODIFIED, DELETED, BOOKMARK) after a version, until the server ends the stream.

        Raises:
            ExpiredError: The version is too old: take a snapshot again.
            ClusterError: The stream broke off, or went silent.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
            "resourceVersion": version,
            "labelSelector": selector,
        }
        session = await self._connect(None)
        url = self._server + self._path(plural, namespace)
        try:
            async with session.get(url, params=params, timeout=_SILENCE) as response:
                if response.status == 401:
                    await self._connect(session)
                if response.status >= 400:
                    await _answer(response)
                async for line in _lines(response.content):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _refusal(event["object"].get("code", 500), event["object"])
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ClusterError(0, "Unreachable", f"{type(error).__name__}: {error}") from error

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
    def _path(plural: str, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        where = f"namespaces/{namespace}" if namespace else None
        parts = [_GROUPS[plural], where, plural, name, subresource]
        return "/".join(part for part in parts if part)

    async def _connect(self, stale: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
        async with self._lock:
            if self._session is None or self._session is stale:
                await self.close()
                info = await asyncio.to_thread(self._login)
                self._server = info.server.rstrip("/")
                connector = aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context())  # each watch holds one
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
        status = dict(json.loads(text))
    except (TypeError, ValueError):
        status = {"reason": response.reason, "message": text[:200]}
    raise _refusal(response.status, status)


def _refusal(code: int, status: dict[str, Any]) -> ClusterError:
    kind = {403: ForbiddenError, 404: NotFoundError, 409: ConflictError, 410: ExpiredError}.get(code, ClusterError)
    return kind(code, status.get("reason") or "", status.get("message") or "")


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: the reader's own `readline` gives up on large objects."""
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
