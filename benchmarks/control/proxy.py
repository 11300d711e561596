"""Counts what a process asks of a server: a proxy in between, that shares nothing with either."""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web
from finetune_sandbox.client import Access
from yarl import URL

_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive", "content-encoding"}


class Proxy:
    """Forwards requests, and counts them by method and what they are about.

    Attributes:
        counts: Requests by `METHOD kind`, such as `PATCH finetunejobs/status`; watches are `WATCH jobs`.
        url: Where it listens.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self.counts: Counter[str] = Counter()
        self.url = ""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Proxy"]:
        """Serves on a free port of loopback."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self._access.tls or True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=16 << 20)
            app.router.add_route("*", "/{path:.*}", self._forward)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
            try:
                yield self
            finally:
                await runner.cleanup()

    def kubeconfig(self, path: Path) -> Path:
        """Writes a kubeconfig that leads here."""
        cluster, user = {"server": self.url}, {"token": self._access.token or "none"}
        context = {"cluster": "bench", "user": "bench"}
        config = {
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": user}],
            "contexts": [{"name": "bench", "context": context}],
            "current-context": "bench",
        }
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
        return path

    def total(self, *methods: str) -> int:
        """Requests with one of these methods."""
        return sum(number for what, number in self.counts.items() if what.split()[0] in methods)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        self.counts[describe(request)] += 1
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        body = await request.read()
        async with self._session.request(
            request.method, URL(self._access.url + request.raw_path, encoded=True), headers=headers, data=body or None
        ) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
            if coding := answer.headers.get("Content-Encoding"):
                kept["Content-Encoding"] = coding
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response


def describe(request: web.Request) -> str:
    """What a request is, in two words."""
    if request.path.endswith("/graphql"):
        return "POST graphql"
    parts = request.path.strip("/").split("/")
    if "namespaces" in parts and len(parts) > parts.index("namespaces") + 2:
        parts = parts[parts.index("namespaces") + 2 :]
    else:
        parts = parts[3:] if parts[0] == "apis" else parts[2:]
    what = "/".join([*parts[:1], *parts[2:]]) or "discovery"
    return f"{'WATCH' if request.query.get('watch') == 'true' else request.method} {what}"
