"""What a user's watch shows of our resources: every reason that Ready has carried."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

from finetune_sandbox.testing import Cluster

PLURALS = ("sweepruns", "finetunejobs")


class Seen:
    """Reasons of the resources in a namespace, as a watch on each kind tells them.

    Attributes:
        reasons: Every reason so far, in order.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.reasons: list[str] = []
        self._access = cluster.access
        self._namespace = namespace
        self._sockets: list[socket.socket] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[Seen]:
        """Watches until the end of the block."""
        connections = [self._open(plural) for plural in PLURALS]
        threads = [threading.Thread(target=self._read, args=(answer,), daemon=True) for answer in connections]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for connection in self._sockets:
                connection.close()

    def _open(self, plural: str) -> http.client.HTTPResponse:
        server = urlsplit(self._access.url)
        assert server.hostname
        assert self._access.tls
        connection = http.client.HTTPSConnection(server.hostname, server.port or 443, context=self._access.tls)
        path = f"/apis/finetune.dev/v1alpha1/namespaces/{self._namespace}/{plural}"
        query = urlencode({"watch": "true", "timeoutSeconds": "600"})
        headers = {"Authorization": f"Bearer {self._access.token}"} if self._access.token else {}
        connection.request("GET", f"{path}?{query}", headers=headers)
        assert connection.sock is not None
        self._sockets.append(connection.sock)
        return connection.getresponse()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            for line in answer:
                event = json.loads(line)
                for condition in event["object"].get("status", {}).get("conditions", ()):
                    if condition["type"] == "Ready":
                        self.reasons.append(condition["reason"])
