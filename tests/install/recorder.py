"""A proxy in front of an API server that notes which rights its clients make use of, and what they were refused."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from aiohttp import web
from finetune_sandbox.apiserver.routing import parse

Right = tuple[str, str]
"""Verb and resource, such as (`patch`, `sweepruns/status`)."""


class Recorder:
    """Notes of the requests that went through."""

    def __init__(self, server: str, pki: Path) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._listen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._listen.load_cert_chain(pki / "server.crt", pki / "server.key")
        self.port = 0
        self.used: set[Right] = set()
        self.refused: set[Right] = set()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        hop = {"host", "content-length", "transfer-encoding", "connection"}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in hop}
        async with self._session.request(
            request.method,
            self._server + str(request.rel_url),
            data=await request.read(),
            headers=headers,
            ssl=self._tls,
        ) as answer:
            if route := parse(request.method, request.path, request.query):
                resource = f"{route.resource}/{route.subresource}" if route.subresource else route.resource
                (self.refused if answer.status == 403 else self.used).add((route.verb, resource))
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
            )
            await response.prepare(request)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._forward)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as self._session:
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._listen)
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set()
            await stop.wait()
            await runner.cleanup()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Recorder]:
        """Serves from a thread of its own."""
        loop, ready = asyncio.new_event_loop(), threading.Event()
        stop = asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(self._serve(ready, stop),), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            loop.close()
