"""How long the Job controller waits after failures before it makes the next pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finetune_sandbox.controllers.job_rules import finished_at
from finetune_sandbox.objects import Object

BACKOFF_BASE, BACKOFF_MAX = 10.0, 600.0


class Backoff(NamedTuple):
    """Failures since the last success, and when the last one was."""

    failures: int = 0
    last: float = 0.0

    def remaining(self, now: float) -> float:
        """Seconds until the next pod may be made: 10, 20, 40 ... after the last failure."""
        return self.last + backoff_delay(self.failures) - now if self.failures else 0.0


NO_FAILURES = Backoff()


def backoff_delay(failures: int) -> float:
    """Delay after so many failures in a row."""
    return float(min(BACKOFF_BASE * 2 ** min(failures - 1, 30), BACKOFF_MAX))


def next_backoff(record: Backoff, succeeded: Sequence[Object], failed: Sequence[Object]) -> Backoff:
    """A success ends the series of failures; only failures after it count."""
    last_success = max(map(finished_at, succeeded), default=0.0)
    failures, last = (0, 0.0) if succeeded else record
    for when in sorted(map(finished_at, failed)):
        if when > last_success:
            failures, last = failures + 1, max(last, when)
    return Backoff(failures, last)
