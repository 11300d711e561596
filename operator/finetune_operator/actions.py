"""What a plan can ask for. Every action is idempotent: carried out twice, it does nothing the second time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from finetune_operator.api.finetunejob import FinetuneJobStatus
from finetune_operator.api.shared import RegistrySpec
from finetune_operator.api.sweeprun import SweepRunStatus
from finetune_operator.facts import RunFacts

StatusT = TypeVar("StatusT", SweepRunStatus, FinetuneJobStatus)


@dataclass(frozen=True, slots=True)
class SetFinalizer:
    """Puts our finalizer on the resource, or takes it off."""

    present: bool


@dataclass(frozen=True, slots=True)
class Apply:
    """Creates a child; when it exists, brings `data` of a ConfigMap up to date (Jobs and Services stay as they are).

    Attributes:
        optional: Go on without it when its name belongs to something else.
    """

    manifest: dict[str, Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class PatchJob:
    """Merge-patches a child Job's spec."""

    name: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Deletes a child Job with its pods."""

    name: str


@dataclass(frozen=True, slots=True)
class CreateSweep:
    """Finds the sweep with this token in its description, or creates it.

    Attributes:
        prior_runs: Runs that the search engine takes for its first observations.
        only_find: Whether it is too early to create one: an earlier operator's request may still be under way.
    """

    config: dict[str, Any]
    token: str
    prior_runs: tuple[str, ...] = ()
    only_find: bool = False


@dataclass(frozen=True, slots=True)
class SetSweepState:
    """Sets a sweep's state: RUNNING, PAUSED, FINISHED (running trials end) or CANCELED (they are killed)."""

    sweep_id: str
    state: str


@dataclass(frozen=True, slots=True)
class CancelSweeps:
    """Cancels every sweep that carries this mark, or a token that begins with it, and is not over."""

    mark: str


@dataclass(frozen=True, slots=True)
class StopRun:
    """Stops one run of a sweep."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Links an artifact to a registered model and moves the aliases to it.

    Attributes:
        artifact: `name:version` or `entity/project/name:version` of the artifact to link.
        registry: The registered model.
        version: When given, the aliases move to this version of the registered model instead (rollback).
    """

    registry: RegistrySpec
    artifact: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ReadRun:
    """Reads one run of the tracker, for a result that Kubernetes no longer has."""

    run_id: str


TrackerAction = CreateSweep | SetSweepState | CancelSweeps | StopRun | Promote | ReadRun
Action = SetFinalizer | Apply | PatchJob | DeleteJob | TrackerAction


@dataclass(frozen=True, slots=True)
class Plan(Generic[StatusT]):
    """Decision of one reconcile.

    Attributes:
        status: The status to write; None leaves it alone.
        actions: What to do first, in order.
        requeue: Look again after this long even if nothing happens.
    """

    status: StatusT | None
    actions: tuple[Action, ...] = ()
    requeue: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something cannot go on: one word, one sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Promoted:
    """What the registry answered to a `Promote`."""

    version: str
    previous: str | None


@dataclass(frozen=True, slots=True)
class Results:
    """What the actions of this reconcile brought, for the plan that follows them.

    Attributes:
        sweep_token: Token of the sweep that was found or created.
        runs: Runs that were read, by id; None for one that does not exist.
        problem: Why an action of this reconcile did not succeed.
    """

    sweep_id: str | None = None
    sweep_url: str | None = None
    sweep_token: str | None = None
    promoted: Promoted | None = None
    runs: Mapping[str, RunFacts | None] = field(default_factory=dict)
    problem: Problem | None = None
