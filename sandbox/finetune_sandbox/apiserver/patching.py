"""PATCH: reads the patch, works out the wanted object and writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import write
from .apply.request import apply
from .body import read as read_body
from .errors import bad_request, rejected, unsupported_media
from .options import Options
from .patches import PatchError, json_patch, merge_patch, strategic_merge
from .resources import Resource
from .store import Obj

if TYPE_CHECKING:
    from .state import State

Guard = Callable[[Obj], None]

JSON, MERGE, STRATEGIC, APPLY = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def patch(
    state: State,
    resource: Resource,
    namespace: str | None,
    name: str,
    data: bytes,
    media: str,
    options: Options,
    sub: str,
    guard: Guard,
) -> tuple[Obj, bool]:
    """Carries out a PATCH; returns the object and whether it was created.

    Args:
        state: The server's state.
        resource: What is patched.
        namespace: None for cluster-scoped resources.
        name: Of the object.
        data: The patch.
        media: Its content type.
        options: Of the request.
        sub: The subresource, or empty.
        guard: Refuses a wanted object that the user may not write.

    Raises:
        ApiError: 415 for a type that is no patch, 422 for a patch that does not fit, and all that an update raises.
    """
    if media not in (JSON, MERGE, STRATEGIC, APPLY):
        raise unsupported_media()
    if media == STRATEGIC and resource.custom is not None:
        raise unsupported_media([JSON, MERGE, APPLY])
    if media == APPLY:
        body, _ = read_body(data, media, resource)
        return apply(state, resource, namespace, name, body, options, sub, guard)
    old = write.current(state, resource, namespace, name)
    wanted, options.patch, options.duplicates = patched(resource, old, data, media)
    if not isinstance(wanted.get("metadata"), dict):
        raise rejected()
    new = write.decode(resource, wanted, options, patch=True)
    write.fit_path(resource, new, namespace, name)
    guard(new)
    return write.update(state, resource, old, new, options, sub), False


def patched(resource: Resource, old: Obj, data: bytes, media: str) -> tuple[Obj, Any, list[str]]:
    """The object with a patch applied, the patch, and duplicate keys in it."""
    try:
        json.loads(data)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    body, duplicates = read_body(data, "application/json", resource)
    try:
        if media == JSON:
            wanted = json_patch(old, body)
        elif not isinstance(body, dict):
            raise bad_request("error decoding patch: a patch of this type is a JSON object")
        elif media == MERGE:
            wanted = merge_patch(old, body)
        else:
            wanted = strategic_merge(old, body, resource.node)
    except PatchError as error:
        raise rejected() from error
    if not isinstance(wanted, dict):
        raise rejected()
    return wanted, body, duplicates
