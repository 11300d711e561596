"""An API server in the test's own event loop, and a client for it."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from finetune_sandbox.apiserver import ApiServer

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass
class Client:
    """Speaks to a server as one user."""

    server: ApiServer
    session: aiohttp.ClientSession
    token: str

    async def __call__(
        self, method: str, path: str, body: Any = None, media: str = "application/json", **options: Any
    ) -> Any:
        """Makes a request; returns the body, and asserts its code when `expect` is given."""
        expect, headers = options.pop("expect", None), options.pop("headers", {})
        head = {"Content-Type": media, **headers} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        data = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        async with self.session.request(
            method, self.server.url + path, data=data, params=options, headers=head
        ) as answer:
            text = await answer.text()
            found = json.loads(text) if answer.content_type == "application/json" else text
            assert expect is None or answer.status == expect, (answer.status, found)
            return found

    def as_user(self, token: str) -> "Client":
        """The same server as somebody else."""
        return Client(self.server, self.session, token)

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """An open watch; read its lines with `event`."""
        head = {"Authorization": f"Bearer {self.token}"}
        params = {"watch": "true", **query}
        async with self.session.get(self.server.url + path, params=params, headers=head) as answer:
            assert answer.status == 200
            yield answer


async def event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event of a watch."""
    line = await answer.content.readline()
    return json.loads(line) if line else {}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    found = ApiServer(tmp_path)
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=str(server.ca_file))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield Client(server, session, server.admin_token)
