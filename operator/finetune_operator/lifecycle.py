"""Rounds and conditions: the part of a resource's life that both kinds share."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, TypeVar

from finetune_operator import conditions as c
from finetune_operator.api import FinetuneJobSpec, SweepRunSpec
from finetune_operator.api.finetunejob import FinetuneJobStatus
from finetune_operator.api.status import CommonStatus, Condition
from finetune_operator.api.sweeprun import SweepRunStatus

AnyStatus = TypeVar("AnyStatus", bound=CommonStatus)

_LIVE_FIELDS = {"suspend", "parallelism", "trials", "budget", "promotion", "continuous", "retry"}
"""Fields that act on a round, or on its result, without making a new one."""


def fingerprint(spec: SweepRunSpec | FinetuneJobSpec) -> str:
    """Hash of what makes a round. Defaults are left out, so that a later version's new fields change nothing."""
    document: dict[str, Any] = spec.model_dump(mode="json", exclude=_LIVE_FIELDS, exclude_defaults=True)
    document["trainer"].pop("ttl_seconds_after_finished", None)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def inputs(spec: FinetuneJobSpec, hyperparameters: dict[str, Any]) -> str:
    """Digest of all that a training's Job is made from; what `hyperparametersFrom` has led to is a part of it."""
    document = json.dumps([fingerprint(spec), hyperparameters], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def finished(status: SweepRunStatus | FinetuneJobStatus) -> bool:
    """Whether the round has ended, well or not."""
    return c.is_true(status.conditions, c.COMPLETE) or c.is_true(status.conditions, c.FAILED)


def _base(
    conditions: tuple[Condition, ...],
    ready: bool,
    reconciling: bool,
    stalled: bool,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    for kind, holds in ((c.READY, ready), (c.RECONCILING, reconciling), (c.STALLED, stalled)):
        conditions = c.set_condition(conditions, kind, holds, reason, message, generation, now)
    return conditions


def progressing(
    status: AnyStatus, reason: str, message: str, generation: int, now: datetime, resumed: bool = True
) -> AnyStatus:
    """The round goes on; the reason says with what, or what it waits for.

    Unless it is `resumed`, a suspension stays on record: lifting it is still to be done.
    """
    conditions = _base(status.conditions, False, True, False, reason, message, generation, now)
    if resumed and c.is_true(conditions, c.SUSPENDED):
        conditions = c.set_condition(conditions, c.SUSPENDED, False, "Resumed", "", generation, now)
    return status.model_copy(update={"conditions": conditions, "observed_generation": generation})


def suspended(status: AnyStatus, message: str, generation: int, now: datetime) -> AnyStatus:
    """The round is on hold by spec.suspend."""
    conditions = _base(status.conditions, False, False, False, "Suspended", message, generation, now)
    conditions = c.set_condition(conditions, c.SUSPENDED, True, "Suspended", message, generation, now)
    return status.model_copy(update={"conditions": conditions, "observed_generation": generation})


def stalled(status: AnyStatus, reason: str, message: str, generation: int, now: datetime) -> AnyStatus:
    """Nothing will happen until the spec changes."""
    conditions = _base(status.conditions, False, False, True, reason, message, generation, now)
    return status.model_copy(update={"conditions": conditions, "observed_generation": generation})


def complete(status: AnyStatus, reason: str, message: str, generation: int, now: datetime) -> AnyStatus:
    """The round has ended with a result."""
    conditions = _base(status.conditions, True, False, False, reason, message, generation, now)
    conditions = c.set_condition(conditions, c.COMPLETE, True, reason, message, generation, now)
    conditions = c.drop(conditions, c.FAILED, c.SUSPENDED)
    return status.model_copy(
        update={
            "conditions": conditions,
            "observed_generation": generation,
            "completion_time": status.completion_time or now,
        }
    )


def failed(status: AnyStatus, reason: str, message: str, generation: int, now: datetime) -> AnyStatus:
    """The round has ended without a result."""
    conditions = _base(status.conditions, False, False, True, reason, message, generation, now)
    conditions = c.set_condition(conditions, c.FAILED, True, reason, message, generation, now)
    conditions = c.drop(conditions, c.COMPLETE, c.SUSPENDED)
    return status.model_copy(
        update={
            "conditions": conditions,
            "observed_generation": generation,
            "completion_time": status.completion_time or now,
        }
    )


def promoted(status: AnyStatus, generation: int, now: datetime) -> AnyStatus:
    """Mirrors status.promotion in the Promoted condition."""
    promotion = status.promotion
    if promotion is None:
        return status.model_copy(update={"conditions": c.drop(status.conditions, c.PROMOTED)})
    holds = promotion.state == "Promoted"
    conditions = c.set_condition(
        status.conditions, c.PROMOTED, holds, promotion.state, promotion.reason, generation, now
    )
    return status.model_copy(update={"conditions": conditions})
