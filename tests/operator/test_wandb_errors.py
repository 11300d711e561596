"""What the tracker's refusals become: the server's own words, for they are what the user reads in the status."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from finetune_operator.errors import ThrottledError, TrackerError, UnauthorizedError
from finetune_operator.wandb import WandbClient

FULL = json.dumps({"errors": [{"message": "the database cannot write: disk is full"}]})


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (503, FULL, TrackerError, "answers HTTP 503: the database cannot write: disk is full"),
        (502, "<html>Bad Gateway</html>", TrackerError, "answers HTTP 502"),
        (500, '{"errors": null}', TrackerError, "answers HTTP 500"),
        (500, "[]", TrackerError, "answers HTTP 500"),
        (200, FULL, TrackerError, "Viewer: the database cannot write: disk is full"),
        (200, '{"errors": ["broken"]}', TrackerError, "Viewer: broken"),
        (200, "<html>", TrackerError, "without JSON; is it a W&B server?"),
        (401, FULL, UnauthorizedError, "does not accept the API key"),
        (429, "", ThrottledError, "asks for a pause"),
    ],
)
def test_a_refusal_says_why(status, body, kind, said):
    async def ask() -> str:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, text=body)

        application = web.Application()
        application.router.add_post("/graphql", answer)
        async with TestServer(application) as server, aiohttp.ClientSession() as session:
            client = WandbClient(
                session, str(server.make_url("")).rstrip("/"), "k" * 40, lambda _operation, _outcome: None
            )
            with pytest.raises(kind) as error:
                await client.default_entity()
        return str(error.value)

    told = asyncio.run(ask())
    assert told.endswith(said) or (kind is not TrackerError and said in told)
    assert "k" * 40 not in told
