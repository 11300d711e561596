"""What shape an argument must have, in place of the types that a GraphQL schema would declare.

Everything is a scalar but the few lists named here, so that below this check a value can be bound to SQL, and a list
can be walked, without another look.
"""

from __future__ import annotations

from typing import Any

from finetune_tracker.errors import BadRequest

_OBJECT_LISTS = frozenset(
    {
        "aliases",
        "artifact_files",
        "artifact_types",
        "completed_parts",
        "entries",
        "tags_to_add",
        "tags_to_delete",
        "upload_parts_input",
    }
)
_SCALAR_LISTS = frozenset(
    {"files", "names", "keys", "specs", "live_keys", "collection_types", "artifact_collection_names", "fields"}
)
_MIXED_LISTS = frozenset({"tags"})  # names of a run's tags, objects for those of an artifact
_NUMBERS = frozenset({"history_step", "ttl_duration_seconds", "metric_value", "part_number", "run_cap"})
_LARGEST = 2**63 - 1


def check_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments (keys in snake case), if their shapes are right; JSON strings are not looked into.

    Raises:
        BadRequest: One is not; the message names it.
    """
    for key, value in given.items():
        if value is None:
            continue
        if key == "input":
            if not isinstance(value, dict):
                raise BadRequest("input must be an object")
        elif key in _OBJECT_LISTS | _SCALAR_LISTS | _MIXED_LISTS:
            _check_list(key, value)
        elif key in _NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
                raise BadRequest(f"{key} must be a number")
        else:
            _check_scalar(key, value)
    return given


def _check_list(key: str, value: object) -> None:
    if not isinstance(value, list):
        raise BadRequest(f"{key} must be a list")
    for item in value:
        if isinstance(item, dict) and key not in _SCALAR_LISTS:
            check_arguments(item)
        elif key in _OBJECT_LISTS:
            raise BadRequest(f"{key} must be a list of objects")
        else:
            _check_scalar(key, item)


def _check_scalar(key: str, value: object) -> None:
    if isinstance(value, dict | list):
        raise BadRequest(f"{key} must be a single value")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        raise BadRequest(f"{key} is out of range")
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise BadRequest(f"{key} is not valid Unicode")
