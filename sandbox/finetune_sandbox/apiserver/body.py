"""Request bodies: JSON, YAML or protobuf."""

from __future__ import annotations

import json
from typing import Any

from .errors import bad_request, unsupported_media
from .resources import Resource

PROTOBUF = "application/vnd.kubernetes.protobuf"


class _Duplicates:
    """Notes keys that stand twice in one JSON object."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.found.append(f'duplicate field "{key}"')
                seen.add(key)
        return out


def read(data: bytes, media: str, resource: Resource | None, yaml_allowed: bool = False) -> tuple[Any, list[str]]:
    """The value in a body and the duplicate keys in it.

    Raises:
        ApiError: 400 when it cannot be read, 415 for a type that is not understood.
    """
    kind = resource.kind if resource else "object"
    if media == PROTOBUF:
        from . import protobuf

        return protobuf.decode(data), []
    if media in ("application/yaml", "application/apply-patch+yaml") or yaml_allowed:
        return _yaml(data, kind), []
    if media not in ("application/json", "", "*/*") and not media.endswith("+json"):
        raise unsupported_media()
    duplicates = _Duplicates()
    try:
        return json.loads(data, object_pairs_hook=duplicates), duplicates.found
    except ValueError as error:
        shown = data.decode(errors="replace")
        why = "unexpected end of JSON input" if _is_cut(data) else str(error)
        text = (
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse"
            f" error: {why} ({shown[:60]})"
        )
        raise bad_request(text) from error


def _is_cut(data: bytes) -> bool:
    text = data.decode(errors="replace")
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text.rstrip()) or "Unterminated" in error.msg
    return False


def _yaml(data: bytes, kind: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        pass
    import yaml

    try:
        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - the safe loader in C
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML of a {kind}: {error}") from error
