"""The form of answers: JSON, Tables, metadata alone, warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from .resources import Resource
from .store import Obj
from .tables import partial, table

_AS = re.compile(r"application/json;([^,]*)\bas=(Table|PartialObjectMetadataList|PartialObjectMetadata)\b([^,]*)")


def wanted_form(accept: str) -> str:
    """`Table`, `PartialObjectMetadata`, or empty for plain objects."""
    found = _AS.search(accept.replace(" ", ""))
    return found[2].removesuffix("List") if found else ""


def present(resource: Resource, body: Obj, form: str, query: Mapping[str, str]) -> Obj:
    """An object or a list in the form that the client wants."""
    if not form or body.get("kind") == "Status":
        return body
    listed = body["items"] if body.get("kind") == resource.list_kind and "items" in body else None
    objects: Sequence[Obj] = [body] if listed is None else listed
    if form == "Table":
        meta = {"resourceVersion": body["metadata"]["resourceVersion"]} if listed is None else body["metadata"]
        return table(resource, [_named(resource, obj) for obj in objects], meta, query.get("includeObject", "Metadata"))
    if listed is None:
        return partial(body)
    items = [partial(obj) for obj in objects]
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": body["metadata"],
        "items": items,
    }


def _named(resource: Resource, obj: Obj) -> Obj:
    """Items of typed lists come without kind; tables may carry them whole."""
    return obj if "kind" in obj else {"kind": resource.kind, "apiVersion": resource.api_version, **obj}


def renderer(resource: Resource, form: str, query: Mapping[str, str]) -> Callable[[Obj], Any] | None:
    """How a watch shows objects; None for the objects themselves."""
    if not form:
        return None
    if form == "PartialObjectMetadata":
        return partial
    first = True

    def render(obj: Obj) -> Any:
        nonlocal first
        headers, first = first, False
        meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        rows = [] if set(obj) == {"kind", "apiVersion", "metadata"} and "name" not in obj["metadata"] else [obj]
        return table(
            resource, rows, obj["metadata"] if not rows else meta, query.get("includeObject", "Metadata"), headers
        )

    return render


def json_answer(body: Any, code: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    """An answer in JSON, with `Warning` headers."""
    data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    response = web.Response(body=data, status=code, headers={"Content-Type": "application/json"})
    for text in dict.fromkeys(warnings):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    if code == 429 and isinstance(body, dict):
        response.headers["Retry-After"] = str((body.get("details") or {}).get("retryAfterSeconds", 1))
    return response


def page_not_found() -> web.Response:
    """The answer for paths that nothing is served at."""
    return web.Response(text="404 page not found\n", status=404)
