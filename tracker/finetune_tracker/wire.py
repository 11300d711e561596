"""A small client of W&B's wire protocol, for handing data over to another server."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

_ATTEMPTS = 6
_TIMEOUT = 120.0


class WireError(RuntimeError):
    """The other server refused, or could not be reached after several attempts."""


class WireClient:
    """GraphQL, file streams and uploads, with retries on what is worth retrying."""

    def __init__(self, base_url: str, api_key: str) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"the address must begin with http:// or https://, not {base_url!r}")
        self._base_url = base_url.rstrip("/")
        self._authorization = "Basic " + base64.b64encode(f"api:{api_key}".encode()).decode()

    def call(self, query: str, **variables: Any) -> dict[str, Any]:
        """The `data` of a GraphQL answer.

        Raises:
            WireError: Refused, with the server's reason.
        """
        answer = self._post("/graphql", {"query": query, "variables": variables, "operationName": None})
        if answer.get("errors"):
            raise WireError(str(answer["errors"][0].get("message")))
        data: dict[str, Any] = answer["data"]
        return data

    def stream(self, entity: str, project: str, run: str, body: dict[str, Any]) -> None:
        """Post to a run's file stream; offsets make it idempotent."""
        path = "/".join(quote(part, safe="") for part in (entity, project, run))
        self._post(f"/files/{path}/file_stream", body)

    def upload(self, url: str, source: Path | bytes, headers: list[str] | None = None) -> None:
        """PUT a content to a link the server gave."""
        given = dict(h.split(":", 1) for h in headers or [])
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        url = self._base_url + url if url.startswith("/") else url

        def attempt() -> bytes:
            data: bytes | IO[bytes] = source if isinstance(source, bytes) else source.open("rb")
            try:
                fields = {"content-length": str(size), "content-type": "application/octet-stream", **given}
                request = urllib.request.Request(url, data=data, headers=fields, method="PUT")  # noqa: S310
                return _send(request)
            finally:
                if not isinstance(data, bytes):
                    data.close()

        _retry(attempt)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"authorization": self._authorization, "content-type": "application/json"}
        data = json.dumps(body).encode()
        answer = _retry(
            lambda: _send(urllib.request.Request(self._base_url + path, data=data, headers=headers))  # noqa: S310
        )
        found: dict[str, Any] = json.loads(answer or b"{}")
        return found


def _send(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
        body: bytes = response.read()
        return body


def _retry(attempt: Any) -> bytes:
    reason = ""
    for number in range(_ATTEMPTS):
        try:
            answer: bytes = attempt()
            return answer
        except urllib.error.HTTPError as e:
            reason = f"HTTP {e.code}: {e.read(500).decode(errors='replace')}"
            if e.code not in (408, 409, 429) and e.code < 500:
                raise WireError(reason) from e
        except (OSError, http.client.HTTPException) as e:
            reason = str(e)
        if number + 1 < _ATTEMPTS:
            time.sleep(min(30.0, 0.5 * 2**number))
    raise WireError(f"gave up after {_ATTEMPTS} attempts: {reason}")
