"""How far a training is: its run tells, for as long as the tracker can be reached from here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from finetune_operator.api import FinetuneJob

from finetune_cli.cluster import Cluster
from finetune_cli.errors import CliError
from finetune_cli.resources import Resource
from finetune_cli.tracker import Run, Tracker

_EVERY = 5.0
"""Seconds between two readings of a run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A training under way.

    Attributes:
        share: Optimiser steps done, of all; above 0, at most 1.
        took: Time from the run's start to its latest step.
        at: When that was.
    """

    share: float
    took: timedelta
    at: datetime

    def left(self, now: datetime) -> timedelta:
        """Time that the remaining steps take if they are as fast as those before."""
        return max(timedelta(), self.took * (1 / self.share - 1) - (now - self.at))

    @classmethod
    def of(cls, run: Run) -> Progress | None:
        """Progress by a run's summary; None before the first step is logged."""
        share, took, at = (run.metric(key) for key in ("train/progress", "_runtime", "_timestamp"))
        if not share or took is None or at is None:
            return None
        return cls(min(1.0, share), timedelta(seconds=took), datetime.fromtimestamp(at, UTC))


class Meter:
    """Reads the progress of FinetuneJobs now and then; a tracker that cannot be asked is not asked again.

    Args:
        url: Address of the tracker as this machine reaches it; None takes the resource's.
    """

    def __init__(self, cluster: Cluster, url: str | None) -> None:
        self._cluster = cluster
        self._url = url
        self._tracker: Tracker | None = None
        self._due = 0.0
        self._known: Progress | None = None

    def read(self, resource: Resource) -> Progress | None:
        """How far a resource's training is; None for a SweepRun, or when it is not known."""
        parsed = resource.parsed
        if not isinstance(parsed, FinetuneJob) or parsed.status.run is None or resource.outcome is not None:
            return None
        if time.monotonic() < self._due:
            return self._known
        self._due = time.monotonic() + _EVERY
        try:
            self._tracker = self._tracker or Tracker.of(self._cluster, resource, self._url, patient=False)
            self._known = Progress.of(self._tracker.run(parsed.status.run.id))
        except CliError:
            self._known, self._due = None, float("inf")
        return self._known
