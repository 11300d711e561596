"""What a plan is made from: one resource and the state of the world around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from finetune_operator.actions import Problem, Results
from finetune_operator.api import FinetuneJob, SweepRun
from finetune_operator.facts import DatasetFacts, JobFacts, PodFacts, SweepFacts
from finetune_operator.trial import Defaults, Identity, TrackerAddress

ResourceT = TypeVar("ResourceT", SweepRun, FinetuneJob)
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TrackerView:
    """The tracker as this resource sees it.

    Attributes:
        address: Where it is; its entity is resolved once the tracker has answered.
        problem: Why it cannot be used now.
        sweep: The sweep of the current round, as last read.
        missing: The tracker has answered that the sweep does not exist.
    """

    address: TrackerAddress
    problem: Problem | None = None
    sweep: SweepFacts | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """The SweepRun that a FinetuneJob takes its hyperparameters from."""

    name: str
    complete: bool
    failed: bool
    state: str
    hyperparameters: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Observed(Generic[ResourceT]):
    """One resource and what belongs to it.

    Attributes:
        deleted_for: Time since deletion was asked for; None if it was not.
        departed: Pods that are gone, whose last time is not yet counted.
        credentials: Why the API key cannot be read; None when it was.
        creation_error: Why the Job controller cannot create pods, from its events.
        source: SweepRun named by hyperparametersFrom; None when there is none of that name.
        dataset: The dataset as it is now, where somebody tells or asks.
        now: The time, in whole seconds.
        leads_since: When this operator took over the work, in whole seconds.
    """

    identity: Identity
    resource: ResourceT
    defaults: Defaults
    tracker: TrackerView
    now: datetime
    leads_since: datetime = _EVER
    deleted_for: timedelta | None = None
    finalizer: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    jobs: tuple[JobFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    departed: tuple[PodFacts, ...] = ()
    credentials: Problem | None = None
    creation_error: str | None = None
    source: Source | None = None
    dataset: DatasetFacts | None = None
    results: Results = field(default_factory=Results)
