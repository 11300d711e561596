"""OpenAPI v3: the index and one document for each API version."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from typing import Any

from .resources import Registry, Resource
from .schema.definitions import META, OBJECT_META, texts
from .schema.node import REFERENCE

_MEDIA = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
_PATCHES = ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"]
_REFERENCES = re.compile(f'"{REFERENCE}([^"]+)"')
_OPTIONS = ("dryRun", "fieldManager", "fieldValidation")


class OpenApi:
    """Serves the documents; a document is made when it is first asked for and kept until its resources change."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._documents: dict[str, tuple[str, bytes]] = {}

    def index(self) -> dict[str, Any]:
        """Where the documents are, with a hash that changes when they do."""
        paths = {}
        for group, versions in self.registry.groups().items():
            for version in versions:
                at = f"apis/{group}/{version}" if group else f"api/{version}"
                paths[at] = {"serverRelativeURL": f"/openapi/v3/{at}?hash={self._state(group, version)}"}
        return {"paths": paths}

    def document(self, path: str) -> bytes | None:
        """The document of `api/v1` or `apis/GROUP/VERSION`; None for one that is not there."""
        parts = path.split("/")
        group, version = (
            ("", parts[1])
            if parts[0] == "api" and len(parts) == 2
            else tuple(parts[1:3])
            if len(parts) == 3
            else ("", "")
        )
        found = [resource for resource in self.registry if (resource.group, resource.version) == (group, version)]
        if not found:
            return None
        state = self._state(group, version)
        kept = self._documents.get(path)
        if kept is None or kept[0] != state:
            kept = self._documents[path] = (state, zlib.compress(_document(found).encode(), 1))
        return zlib.decompress(kept[1])

    def _state(self, group: str, version: str) -> str:
        found = [resource for resource in self.registry if (resource.group, resource.version) == (group, version)]
        text = json.dumps(
            [[resource.plural, resource.node.raw if resource.custom else ""] for resource in found], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest().upper()


def _document(resources: list[Resource]) -> str:
    """The document as text: the published schemas go in as they are, without being parsed."""
    known = texts()
    schemas: dict[str, str] = {}
    paths: dict[str, Any] = {}
    for resource in resources:
        name = _schema_name(resource)
        if resource.custom is not None:
            schemas[name] = _compact(_custom_schema(resource))
        schemas[name + "List"] = _compact(_list_schema(resource, name))
        paths |= _paths(resource, name, name + "List")
    missing = [_schema_name(resource) for resource in resources] + [
        OBJECT_META,
        *(META + kind for kind in ("ListMeta", "DeleteOptions", "Status")),
    ]
    while missing:
        name = missing.pop()
        if name not in schemas and name in known:
            schemas[name] = known[name]
            missing += _REFERENCES.findall(known[name])
    listed = ",".join(f"{_compact(name)}:{text}" for name, text in sorted(schemas.items()))
    info = {"title": "Kubernetes", "version": "v1.32.3"}
    head = f'"openapi":"3.0.0","info":{_compact(info)},"paths":{_compact(paths)}'
    return f'{{{head},"components":{{"schemas":{{{listed}}}}}}}'


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _schema_name(resource: Resource) -> str:
    if resource.custom is None:
        return resource.definition
    reverse = ".".join(reversed(resource.group.split(".")))
    return f"{reverse}.{resource.version}.{resource.kind}"


def _gvk(resource: Resource, kind: str = "") -> dict[str, str]:
    return {"group": resource.group, "kind": kind or resource.kind, "version": resource.version}


def _custom_schema(resource: Resource) -> dict[str, Any]:
    raw = dict(resource.node.raw)
    properties = {
        "apiVersion": {
            "type": "string",
            "description": "APIVersion defines the versioned schema of this representation of an object.",
        },
        "kind": {
            "type": "string",
            "description": "Kind is a string value representing the REST resource this object represents.",
        },
        "metadata": {"allOf": [{"$ref": REFERENCE + OBJECT_META}], "description": "Standard object's metadata."},
    }
    raw["properties"] = {
        **properties,
        **{key: value for key, value in (raw.get("properties") or {}).items() if key not in properties},
    }
    raw["type"] = "object"
    raw["x-kubernetes-group-version-kind"] = [_gvk(resource)]
    return raw


def _list_schema(resource: Resource, name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": REFERENCE + META + "ListMeta"},
            "items": {"type": "array", "items": {"$ref": REFERENCE + name}},
        },
        "x-kubernetes-group-version-kind": [_gvk(resource, resource.list_kind)],
    }


def _paths(resource: Resource, name: str, listed: str) -> dict[str, Any]:
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    home = f"{base}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{base}/{resource.plural}"
    collection = {
        "get": _operation(resource, "list", listed),
        "post": _operation(resource, "post", name, _OPTIONS, body=name),
        "delete": _operation(resource, "deletecollection", META + "Status", ("dryRun",)),
    }
    if resource.verbs == ("create",):
        return {home: {"post": collection["post"]}}
    patches = _PATCHES if resource.custom is not None else [*_PATCHES, "application/strategic-merge-patch+json"]
    item = {
        "get": _operation(resource, "get", name),
        "put": _operation(resource, "put", name, _OPTIONS, body=name),
        "patch": _operation(resource, "patch", name, (*_OPTIONS, "force"), patches=patches),
        "delete": _operation(
            resource, "delete", META + "Status", ("dryRun", "gracePeriodSeconds", "propagationPolicy")
        ),
    }
    found: dict[str, Any] = {home: collection, home + "/{name}": item}
    if resource.namespaced:
        found[f"{base}/{resource.plural}"] = {"get": _operation(resource, "list", listed)}
    for sub in sorted(resource.subresources & {"status", "scale"}):
        found[f"{home}/{{name}}/{sub}"] = {key: value for key, value in item.items() if key != "delete"}
    return found


def _operation(
    resource: Resource,
    action: str,
    answer: str,
    options: tuple[str, ...] = (),
    body: str = "",
    patches: list[str] | None = None,
) -> dict[str, Any]:
    out: dict[str, Any] = {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(resource),
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in options
        ],
        "responses": {
            "200": {
                "description": "OK",
                "content": {media: {"schema": {"$ref": REFERENCE + answer}} for media in _MEDIA},
            }
        },
    }
    if body:
        out["requestBody"] = {"content": {"*/*": {"schema": {"$ref": REFERENCE + body}}}, "required": True}
    if patches:
        out["requestBody"] = {"content": {media: {"schema": {"type": "object"}} for media in patches}, "required": True}
    return out
