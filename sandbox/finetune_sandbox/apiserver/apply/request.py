"""A server-side apply from request to stored object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from finetune_sandbox.apiserver import write
from finetune_sandbox.apiserver.errors import ApiError, bad_request, conflict, not_found
from finetune_sandbox.apiserver.options import Options
from finetune_sandbox.apiserver.resources import Resource

from .fieldset import Fields, Path, TypedError
from .manager import applied, entries_of, owned, schema_of, with_entries
from .merge import merge, remove

if TYPE_CHECKING:
    from finetune_sandbox.apiserver.state import State

Obj = dict[str, Any]


def apply(
    state: State,
    resource: Resource,
    namespace: str | None,
    name: str,
    body: Any,
    options: Options,
    sub: str,
    guard: Callable[[Obj], None],
) -> tuple[Obj, bool]:
    """Applies a configuration; returns the object and whether it was created.

    Raises:
        ApiError: 400 for a configuration of something else, 500 for one that breaks its schema, 409 for a conflict.
    """
    config = _checked(resource, namespace, name, body)
    try:
        fields = owned(config, resource, sub, strict=True)
    except TypedError as error:
        where = (body.get("metadata") or {}).get("namespace", "")
        text = (
            f"failed to create typed patch object ({where}/{name}; {resource.api_version}, Kind={resource.kind}):"
            f" {error}"
        )
        raise ApiError(500, "", text) from error
    live = state.store.get(resource.storage, namespace if resource.namespaced else None, name)
    if live is None:
        if sub:
            raise not_found(resource.group, resource.plural, name)
        if uid := config["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(resource.group, resource.plural, name, why)
        guard(config)
        managed = lambda obj: with_entries(obj, applied(resource, None, obj, fields, options, sub))  # noqa: E731
        return write.create(state, resource, namespace, config, options, managed), True
    live = write.show(resource, live)
    merged = _merged(resource, live, config, fields, options, sub)
    entries = applied(resource, live, merged, fields, options, sub)
    new = write.decode(resource, merged, options)
    guard(new)
    return write.update(state, resource, live, new, options, sub, lambda obj: with_entries(obj, entries)), False


def _checked(resource: Resource, namespace: str | None, name: str, body: Any) -> Obj:
    if not isinstance(body, dict):
        raise bad_request("error decoding YAML: the configuration is no object")
    meta = body.get("metadata") or {}
    if not body.get("apiVersion") or not body.get("kind"):
        raise bad_request("invalid object: apiVersion and kind must be set")
    if body["apiVersion"] != resource.api_version or body["kind"] != resource.kind:
        found = f"{body['apiVersion']}, Kind={body['kind']}"
        raise bad_request(
            f"incorrect object type: expected {resource.api_version}, Kind={resource.kind}, found {found}"
        )
    if meta.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if meta.get("name", name) != name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    if resource.namespaced and meta.get("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return {**body, "metadata": {**meta, "name": name}}


def _merged(resource: Resource, live: Obj, config: Obj, fields: Fields, options: Options, sub: str) -> Obj:
    """The live object with the configuration laid over it and without what this manager no longer applies."""
    node = schema_of(resource)
    merged: Obj = merge(live, config, node)
    last: frozenset[Path] = frozenset()
    others: set[Path] = set()
    for entry in entries_of(live):
        if (entry.manager, entry.operation, entry.sub) == (options.manager, "Apply", sub):
            last = entry.paths
        else:
            others |= entry.paths
    kept = others | set(fields)
    held = {path[:length] for path in kept for length in range(1, len(path) + 1)}
    gone = {path for path in last if path not in held}
    if gone:
        merged = remove(merged, node, gone, kept)
    return merged
