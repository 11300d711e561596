"""The API server: starts, listens, stops."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import weakref
from pathlib import Path
from typing import Any

from aiohttp import web

from . import bootstrap
from .builtin.quota import QuotaStatus
from .crds import CustomResources
from .handler import Handler
from .state import State
from .tls import Pki
from .tokens import Tokens

MAX_BODY = 3 * 1024 * 1024
CONTEXT = "finetune-sandbox"


class ApiServer:
    """A Kubernetes API server on loopback, with everything in memory.

    Attributes:
        admin_token: Bearer token of a user that may do everything.
        ca_file: Certificate of the authority that signed the server's certificate.
        port: The port; known once started when 0 was asked for.

    Args:
        data_dir: Holds the keys and the logs of pods.
        host: Address to listen on.
        port: 0 takes a free one.
    """

    def __init__(self, data_dir: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        self.data_dir, self.host, self.port = data_dir, host, port
        self.pki = Pki(data_dir / "pki", host)
        self.ca_file = self.pki.ca_file
        self.admin_token = secrets.token_urlsafe(32)
        self.state = State(data_dir, Tokens(self.pki.signer, self.admin_token))
        CustomResources(self.state)
        QuotaStatus(self.state)
        self.handler = Handler(self.state, self.restart)
        self._restarting: asyncio.Task[None] | None = None
        bootstrap.fill(self.state)
        self._runner: web.ServerRunner | None = None
        self._folder = os.open(data_dir, os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._folder)

    @property
    def socket(self) -> str:
        """A socket for clients in this process, without TLS, in the folder that nobody else can enter.

        The path goes through a descriptor because paths of sockets may not be longer than 107 characters.
        """
        return f"/proc/self/fd/{self._folder}/apiserver.sock"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listens; answers from the moment this returns."""
        server = web.Server(self.handler, request_factory=_request, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self.pki.context(), backlog=1024)
        await site.start()
        await web.UnixSite(self._runner, self.socket).start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Drops all connections and stops listening."""
        self.state.store.close_watches()
        await asyncio.sleep(0)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def restart(self, forget: bool, away: float = 0.0) -> None:
        """Drops all connections and listens again on the same port, as an API server that is replaced does.

        Args:
            forget: Also lose the history of watches: those that resume are answered with 410.
            away: Seconds in between in which nothing listens.
        """

        async def again() -> None:
            await asyncio.sleep(0.05)  # the answer to who asked for it goes out first
            await self.stop()
            if forget:
                self.state.store.forget_history()
            await asyncio.sleep(away)
            await self.start()

        self._restarting = asyncio.get_running_loop().create_task(again())

    def kubeconfig(self) -> dict[str, Any]:
        """A kubeconfig of the administrator."""
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": CONTEXT,
            "clusters": [{"name": CONTEXT, "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": "admin", "user": {"token": self.admin_token}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": "admin", "namespace": "default"}}],
        }


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=MAX_BODY
    )
