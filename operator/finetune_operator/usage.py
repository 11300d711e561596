"""GPU-hours, counted from pods."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from finetune_operator.api.status import Usage
from finetune_operator.facts import PodFacts


def advance(usage: Usage | None, pods: Iterable[PodFacts], gpus: int, start: datetime, now: datetime) -> Usage:
    """Usage up to `now`: what was counted until `usage.updated_at`, and each pod's running time since.

    The counted interval moves with `updated_at`, so that no list of pods need be kept, a restart of the operator loses
    nothing, and a pod that has gone was counted until it was last seen.
    """
    since = usage.updated_at if usage and usage.updated_at else start
    seconds = 0.0
    for pod in pods:
        if pod.started_at is None:
            continue
        begin, end = max(pod.started_at, since), min(pod.finished_at or now, now)
        seconds += max(0.0, (end - begin).total_seconds())
    counted = float(usage.gpu_hours) if usage else 0.0
    return Usage(gpu_hours=f"{counted + seconds * gpus / 3600:.4f}".rstrip("0").rstrip("."), updated_at=now)


def worth_writing(old: Usage | None, new: Usage, every: timedelta) -> bool:
    """Whether a status write for usage alone is due: never for a standstill, else each `every`."""
    if old is None or old.updated_at is None:
        return True
    assert new.updated_at is not None
    return old.gpu_hours != new.gpu_hours and new.updated_at - old.updated_at >= every
