"""What a request asks for: its path, method and query as verb, resource and name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get", "DELETE": "delete"}


@dataclass(frozen=True)
class Route:
    """A request for a resource.

    Attributes:
        verb: As RBAC names it.
        namespace: None when the path names none.
        name: Empty for collections.
    """

    verb: str
    group: str
    version: str
    resource: str
    subresource: str
    namespace: str | None
    name: str


def parse(method: str, path: str, query: Mapping[str, str]) -> Route | None:
    """The route of a resource request; None for other paths (discovery, health, ...)."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = None
    watch_prefix = rest[0] == "watch" and len(rest) > 1
    if watch_prefix:
        rest = rest[1:]
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = rest[0], rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else ""
    if resource == "namespaces" and not group and name:
        namespace = name
    verb = _VERBS.get(method, "")
    if verb == "get" and (watch_prefix or query.get("watch") in ("true", "1")) and not (name and not watch_prefix):
        verb = "watch"
    elif verb == "get" and not name:
        verb = "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return Route(verb, group, version, resource, subresource, namespace, name)
