"""What the planners of both kinds share: one pass in which `status` and `actions` take shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from finetune_operator import lifecycle, promotion, usage
from finetune_operator.actions import Action, DeleteJob, PatchJob, Plan
from finetune_operator.api import FinetuneJob, FinetuneJobStatus, SweepRun, SweepRunStatus
from finetune_operator.api.shared import PromotionSpec
from finetune_operator.facts import JobFacts, PodFacts
from finetune_operator.observed import Observed

ResourceT = TypeVar("ResourceT", SweepRun, FinetuneJob)
StatusT = TypeVar("StatusT", SweepRunStatus, FinetuneJobStatus)

HEARTBEAT = timedelta(seconds=60)
"""A round in progress is looked at this often even if nothing happens: usage and wall clock go on."""
SOON = timedelta(seconds=5)
RETRY = timedelta(seconds=5)
"""Pause before a missing Secret or an unusable tracker is tried again."""
CLOCK_GRAIN = timedelta(seconds=1)
"""Kubernetes writes times in whole seconds."""
MOST_PREEMPTIONS = 10
"""Times that pods may leave as preempted although nobody evicted or deleted them, without anything coming to an end."""
_REGISTRY_RETRY = timedelta(seconds=10)
_USAGE_EVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Decided:
    """Where a promotion stands.

    Attributes:
        requeue: When to look again, None when it needs nothing more by itself.
        news: Whether it has come to another decision.
    """

    state: str
    requeue: timedelta | None
    news: bool


def just_ended(pods: Sequence[PodFacts], now: datetime) -> bool:
    """Whether there were pods, and the last has ended a moment ago."""
    if not pods or any(pod.active for pod in pods):
        return False
    return now - max((pod.finished_at for pod in pods if pod.finished_at), default=now) < SOON


class Planner(Generic[ResourceT, StatusT]):
    """One planning pass over one resource."""

    def __init__(self, observed: Observed[ResourceT], status: StatusT) -> None:
        self.observed: Observed[ResourceT] = observed
        self.status: StatusT = status
        self.actions: list[Action] = []
        self.now = observed.now
        self.generation = observed.identity.generation
        self.trainer = observed.resource.spec.trainer
        self.pods = [pod for pod in observed.pods if pod.round == status.round]
        self.jobs = [job for job in observed.jobs if job.round == status.round]
        self.usage = status.usage
        self.resumed = True
        """False while a suspension that the spec has lifted is still to be lifted elsewhere."""

    def done(self, requeue: timedelta | None) -> Plan[StatusT]:
        """Ends the pass."""
        return Plan(self.status, tuple(self.actions), requeue)

    def progress(self, reason: str, message: str, requeue: timedelta | None = HEARTBEAT) -> Plan[StatusT]:
        """Ends the pass: the round goes on, or waits for what the reason says."""
        self.status = lifecycle.progressing(
            self.status, reason, message, self.generation, self.now, resumed=self.resumed
        )
        return self.done(requeue)

    def stall(self, message: str) -> Plan[StatusT]:
        """Ends the pass: the spec is wrong, and nothing runs until it is put right."""
        self.hold_jobs()
        self.status = lifecycle.stalled(self.status, "InvalidSpec", message, self.generation, self.now)
        return self.done(None)

    def update(self, **fields: Any) -> None:
        """Sets fields of the status."""
        self.status = self.status.model_copy(update=fields)

    def measure_usage(self) -> None:
        """Counts GPU-hours; a status write for them alone is made once a minute, and before a pod is gone."""
        assert self.status.start_time is not None
        gpus = self.trainer.resources.gpus
        gone: list[PodFacts] = [pod for pod in self.observed.departed if pod.round == self.status.round]
        self.usage = usage.advance(self.status.usage, [*self.pods, *gone], gpus, self.status.start_time, self.now)
        leaving = bool(gone) or any(pod.started_at and pod.deleting for pod in self.pods)
        changed = self.status.usage is None or self.status.usage.gpu_hours != self.usage.gpu_hours
        if (leaving and changed) or usage.worth_writing(self.status.usage, self.usage, _USAGE_EVERY):
            self.update(usage=self.usage)

    def judge(self, rule: PromotionSpec, candidate: promotion.Candidate, evidence: promotion.Evidence) -> Decided:
        """Takes the promotion of a result one step on. A regression suite that was not measured has not passed."""
        asked = max(evidence.suites_total, len(self.trainer.regression_suites))
        before, found = self.status.promotion, self.observed.results
        step = promotion.step(
            rule,
            before,
            candidate,
            replace(evidence, suites_total=asked),
            self.observed.annotations,
            found.promoted,
            self.now,
        )
        self.update(promotion=step.status)
        self.status = lifecycle.promoted(self.status, self.generation, self.now)
        if step.action is None:
            return Decided(step.status.state, None, step.status != before)
        if self.observed.credentials is None and not found.problem:
            self.actions.append(step.action)
        return Decided(step.status.state, _REGISTRY_RETRY, news=False)

    def await_registry(self, requeue: timedelta) -> Plan[StatusT]:
        """Ends the pass: the registry's answer makes the next status, and what keeps it from answering is said."""
        if trouble := self.observed.results.problem or self.observed.credentials:
            return self.progress(trouble.reason, trouble.message, requeue)
        return self.done(requeue)

    def job(self) -> JobFacts | None:
        """The Job of the current attempt."""
        return next((job for job in self.jobs if job.attempt == (self.status.attempts or 1)), None)

    def pods_of(self, job: JobFacts) -> list[PodFacts]:
        """The pods of a Job."""
        return [pod for pod in self.pods if pod.job == job.name]

    def hold_jobs(self) -> None:
        """Ends all pods gracefully, and starts none."""
        for job in self.observed.jobs:
            if job.finished or job.deleting:
                continue
            if self.trainer.queue_name:  # Kueue owns spec.suspend of its Jobs, and would lift it
                self.actions.append(DeleteJob(job.name))
            elif not job.suspended:
                self.actions.append(PatchJob(job.name, {"suspend": True}))

    def drop_jobs(self, *, all_rounds: bool) -> bool:
        """Deletes the Jobs of earlier rounds, or of all; tells whether there are any still."""
        doomed = [job for job in self.observed.jobs if all_rounds or job.round != self.status.round]
        self.actions.extend(DeleteJob(job.name) for job in doomed if not job.deleting)
        return bool(doomed)

    def expire_jobs(self) -> None:
        """Gives finished Jobs their time to live, now that their results are in the status."""
        ttl = self.trainer.ttl_seconds_after_finished
        self.actions.extend(
            PatchJob(job.name, {"ttlSecondsAfterFinished": ttl})
            for job in self.observed.jobs
            if job.finished and not job.deleting and job.ttl != ttl
        )
