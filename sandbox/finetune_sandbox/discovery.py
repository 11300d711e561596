"""Which types a server serves."""

from __future__ import annotations

import asyncio

from finetune_sandbox.client import ApiClient, ApiError, Resource
from finetune_sandbox.objects import Object


async def served(client: ApiClient, verbs: set[str]) -> list[Resource]:
    """Every type that can do those verbs, in its group's preferred version."""
    groups = (await client.request("GET", "/apis")).get("groups") or []
    versions = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
    found: list[Resource] = []
    for path, listing in zip(
        versions, await asyncio.gather(*(_listing(client, path) for path in versions)), strict=True
    ):
        group, _, version = path.removeprefix("/apis/").removeprefix("/api/").rpartition("/")
        found += [
            Resource(group, version, entry["name"], entry["namespaced"], entry["kind"])
            for entry in listing
            if "/" not in entry["name"] and verbs <= set(entry["verbs"])
        ]
    return found


async def _listing(client: ApiClient, path: str) -> list[Object]:
    try:
        return (await client.request("GET", path)).get("resources") or []
    except ApiError as error:
        if error.code in (404, 503):  # a group that just went, or whose aggregated server is away
            return []
        raise
