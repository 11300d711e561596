"""What the server serves: versions, groups and resources, in the old form and aggregated."""

from __future__ import annotations

from typing import Any

from .resources import Registry, Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
"""Content type of the aggregated form in a version; clients compare it literally."""

VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.3+sandbox",
    "gitCommit": "32cc146f75aad04beaaa245a7157eb35063a9f99",
    "gitTreeState": "clean",
    "buildDate": "2025-03-11T19:58:59Z",
    "goVersion": "go1.23.6",
    "compiler": "gc",
    "platform": "linux/amd64",
}

_CUSTOM_VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
_SUB_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_SUB_VERBS = {
    "binding": ["create"],
    "eviction": ["create"],
    "token": ["create"],
    "log": ["get"],
    "finalize": ["update"],
}
_READ_WRITE = ["get", "patch", "update"]
_PREFERRED = ["", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch"]


def group_names(registry: Registry) -> list[str]:
    """The groups in the order that decides which one a short name means."""
    rank = {group: at for at, group in enumerate(_PREFERRED)}
    custom = {resource.group for resource in registry if resource.custom is not None}
    return sorted(
        (group for group in registry.groups() if group), key=lambda group: (group in custom, rank.get(group, 99), group)
    )


def api_group(registry: Registry, group: str) -> dict[str, Any] | None:
    """One `APIGroup`; None for a group that is not there."""
    versions = registry.groups().get(group)
    if not versions:
        return None
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": listed, "preferredVersion": listed[0]}


def group_list(registry: Registry) -> dict[str, Any]:
    """The `APIGroupList`."""
    groups = []
    for group in group_names(registry):
        found = api_group(registry, group)
        assert found is not None
        groups.append({key: value for key, value in found.items() if key not in ("kind", "apiVersion")})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def resource_list(registry: Registry, group: str, version: str) -> dict[str, Any] | None:
    """The `APIResourceList` of a version; None for one that is not there."""
    found = [resource for resource in registry if (resource.group, resource.version) == (group, version)]
    if not found:
        return None
    listed: list[dict[str, Any]] = []
    for resource in found:
        entry: dict[str, Any] = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": verbs(resource),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        for sub in sorted(resource.subresources):
            kind = _SUB_KINDS.get(sub)
            name = f"{resource.plural}/{sub}"
            entry = {
                "name": name,
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind[2] if kind else resource.kind,
            }
            if kind and kind[0]:
                entry |= {"group": kind[0], "version": kind[1]}
            listed.append({**entry, "verbs": _SUB_VERBS.get(sub, _READ_WRITE)})
    api_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": listed}


def verbs(resource: Resource) -> list[str]:
    """The verbs of a resource as discovery lists them."""
    return _CUSTOM_VERBS if resource.custom is not None else list(resource.verbs)


def aggregated_version(accept: str) -> str:
    """The version of the aggregated form that a client understands; empty for clients that want the old form."""
    wanted = accept.replace(" ", "")
    return next((version for version in ("v2", "v2beta1") if AGGREGATED.format(version) in wanted), "")


def aggregated(registry: Registry, core: bool, form: str) -> dict[str, Any]:
    """The `APIGroupDiscoveryList` of the core group, or of all others."""
    groups = registry.groups()
    items = []
    for group in [""] if core else group_names(registry):
        versions = []
        for version in groups[group]:
            found = [
                _discovered(resource) for resource in registry if (resource.group, resource.version) == (group, version)
            ]
            versions.append({"version": version, "resources": found, "freshness": "Current"})
        items.append(
            {
                "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                "versions": versions,
            }
        )
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{form}",
        "metadata": {},
        "items": items,
    }


def _discovered(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": verbs(resource),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subs = []
    for sub in sorted(resource.subresources):
        group, version, kind = _SUB_KINDS.get(sub, (resource.group, resource.version, resource.kind))
        subs.append(
            {
                "subresource": sub,
                "responseKind": {"group": group, "version": version, "kind": kind},
                "verbs": _SUB_VERBS.get(sub, _READ_WRITE),
            }
        )
    if subs:
        entry["subresources"] = subs
    return entry
