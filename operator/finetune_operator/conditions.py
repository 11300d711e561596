"""Conditions and the minimal status patch."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from finetune_operator.api.status import Condition

READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"
COMPLETE, FAILED, SUSPENDED, PROMOTED = "Complete", "Failed", "Suspended", "Promoted"
_ORDER = (READY, RECONCILING, STALLED, COMPLETE, FAILED, SUSPENDED, PROMOTED)
_MESSAGE_LIMIT = 1024


def timestamp(moment: datetime) -> str:
    """RFC 3339 with seconds, as Kubernetes writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether the condition of a type holds."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


def set_condition(
    conditions: tuple[Condition, ...], kind: str, holds: bool, reason: str, message: str, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """`conditions` with one set; its transition time moves only when its status does."""
    old = find(conditions, kind)
    status = "True" if holds else "False"
    new = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:_MESSAGE_LIMIT],
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old and old.status == status else timestamp(now),
    )
    others = [condition for condition in conditions if condition.type != kind]
    return tuple(sorted([*others, new], key=lambda condition: _ORDER.index(condition.type)))


def drop(conditions: tuple[Condition, ...], *kinds: str) -> tuple[Condition, ...]:
    """`conditions` without those of some types."""
    return tuple(condition for condition in conditions if condition.type not in kinds)


def merge_patch(current: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The smallest JSON merge patch (RFC 7386) that turns one document into the other; {} when they are equal."""
    patch: dict[str, Any] = {key: None for key in current if key not in wanted}
    for key, value in wanted.items():
        if key not in current:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(current[key], dict):
            if inner := merge_patch(current[key], value):
                patch[key] = inner
        elif current[key] != value:
            patch[key] = value
    return patch
