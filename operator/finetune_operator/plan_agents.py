"""The part of a SweepRun's plan that is about agents: one Job at a time, steered, replaced, described."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from finetune_trainer.contract import FailureClass

from finetune_operator import blockers, jobs, names, results, trial
from finetune_operator.actions import Apply, PatchJob, Plan
from finetune_operator.api import SweepRunStatus
from finetune_operator.api.sweeprun import AgentsStatus
from finetune_operator.facts import JobFacts, PodFacts
from finetune_operator.plan_stages import StagesPlanner
from finetune_operator.planning import CLOCK_GRAIN, SOON, just_ended

_FRUITLESS_ATTEMPTS = 3
"""Attempts in a row without a finished trial after which a sweep fails."""
_NOT_COUNTED = frozenset({FailureClass.PREEMPTED, FailureClass.TRACKER_UNAVAILABLE})
"""Failures of an attempt that say nothing about the sweep."""


def attempt_backoff(failures: int) -> timedelta:
    """Pause before the next attempt after so many failures in a row (from 1): 10 s doubling to 5 minutes."""
    return timedelta(seconds=min(10 * 2 ** (failures - 1), 300))


class AgentsPlanner(StagesPlanner):
    """Agents, from the first Job to the last attempt."""

    def run_agents(self) -> Plan[SweepRunStatus]:
        """Sees to it that the sweep has its agents, and says how they are."""
        attempt, job = self.status.attempts or 1, self.job()
        if job is not None and job.deleting:
            return self.progress("Replacing", f"Waits for Job {job.name} to go.", SOON)
        if job is not None and job.finished:
            return self._next_attempt(job, attempt)
        if job is None:
            return self._create_job(attempt)
        return self._describe(job)

    def steer_job(self) -> None:
        """Scaling and resuming need no tracker. Agents without work leave by themselves: only a user scales down."""
        job = self.job()
        if job is None or job.finished or job.deleting:
            return
        patch: dict[str, object] = {}
        if job.suspended and not self.spec.trainer.queue_name:
            patch["suspend"] = False
        wanted = min(self.spec.parallelism, max(job.parallelism, self._agents_wanted()))
        if wanted != job.parallelism:
            patch["parallelism"] = wanted
        if patch:
            self.actions.append(PatchJob(job.name, patch))

    def _agents_wanted(self) -> int:
        """No more agents than trials are left to do; agents that are there already leave by themselves."""
        trials = self.counts
        return min(self.spec.parallelism, max(0, self.cap - results.ended(trials)))

    def _create_job(self, attempt: int) -> Plan[SweepRunStatus]:
        identity, trainer = self.observed.identity, self.spec.trainer
        assert self.status.round is not None
        assert self.status.sweep is not None
        assert self.status.sweep.id is not None
        name = names.child_name(identity.name, f"s{self.status.round}-{attempt}")
        image = trainer.image or self.observed.defaults.image
        assert image is not None
        document = trial.agent_document(
            self.spec, identity, self.tracker.address, self.status.sweep.id, self.status.round
        )
        request = jobs.JobRequest(
            owner=identity,
            name=name,
            document=document,
            mode="agent",
            round=self.status.round,
            stage=self.index,
            attempt=attempt,
            parallelism=self._agents_wanted(),
            trainer=trainer,
            image=image,
            tracker=self.tracker.address,
            api_key=self.spec.wandb.api_key_secret_ref,
        )
        self.actions.append(Apply(jobs.job(request)))
        agents = self.status.agents or AgentsStatus()
        if agents.job_name != name:
            done = results.ended(self.counts)
            agents = agents.model_copy(update={"job_name": name, "trials_at_start": done})
        self.update(attempts=attempt, agents=agents)
        return self.progress("Starting", "Agents are starting.", SOON)

    def _next_attempt(self, job: JobFacts, attempt: int) -> Plan[SweepRunStatus]:
        """All agents have gone before the search was over: why, and what now?"""
        if self.sweep is None or (job.finished_at and self.sweep.read_at <= job.finished_at + CLOCK_GRAIN):
            if job.finished_at and self.now - job.finished_at < SOON:
                return Plan(None, tuple(self.actions), SOON)  # the tracker is being asked, and says more
            return self.progress("Running", "The agents have left; reading the sweep's state.", SOON)
        trials = self.counts
        if trials.total >= self.cap and not trials.preempted:
            message = f"Waits for the tracker to give up on {trials.running} trials whose agents are gone."
            return self.progress("Running", message, SOON)
        pods = self.pods_of(job)
        failure, message = _verdict(job, pods)
        if failure in (FailureClass.BAD_CONFIG, FailureClass.BAD_DATA):
            return self.fail(failure.value, message)
        agents = self.status.agents or AgentsStatus()
        fruitless = results.ended(trials) <= agents.trials_at_start and failure not in _NOT_COUNTED
        failures = agents.failures + 1 if fruitless else 0
        if failures >= _FRUITLESS_ATTEMPTS:
            return self.fail(failure.value if failure else "AgentsExited", message)
        pause, waited = attempt_backoff(max(failures, 1)), self.now - (job.finished_at or self.now)
        if failure and waited < pause:
            return self.progress(failure.value, f"{message}; new agents start in a moment.", pause - waited)
        self.update(agents=agents.model_copy(update={"failures": failures}))
        return self._create_job(attempt + 1)

    def _describe(self, job: JobFacts) -> Plan[SweepRunStatus]:
        pods = self.pods_of(job)
        running = sum(pod.phase == "Running" for pod in pods)
        blocked = blockers.of_job(job, pods, self.spec.trainer.queue_name, self.observed.creation_error)
        if job.suspended and not self.spec.trainer.queue_name:
            return self.progress("Starting", "Agents are being resumed.", SOON)
        if blocked and not running:
            return self.progress(blocked.reason, blocked.message, SOON)
        if self.spec.parallelism == 0:
            return self.progress("ScaledToZero", "spec.parallelism is 0: no agent may run.")
        if not running and just_ended(pods, self.now):
            return self.done(SOON)  # their Job's end follows, and says more
        if not running:
            return self.progress("Starting", "Agents are starting.", SOON)
        trials = self.counts
        message = f"{results.ended(trials)} of {self.cap} trials{self.of_stage} done, {running} agents running."
        if blocked:
            message += f" Another waits: {blocked.message}"
        return self.progress("Running", message)


def _verdict(job: JobFacts, pods: Sequence[PodFacts]) -> tuple[FailureClass | None, str]:
    """Why an agents' Job has ended: the class and sentence of its latest failed pod; None if no pod failed."""
    failed = [pod for pod in pods if pod.failure is not None]
    if not failed:
        if job.complete:
            return None, "All agents have left although trials remain"
        return FailureClass.ERROR, f"Job {job.name} failed: {job.failure_reason}: {job.failure_message}"
    final = [pod for pod in failed if pod.failure in (FailureClass.BAD_CONFIG, FailureClass.BAD_DATA)]
    latest = max(final or failed, key=lambda pod: (pod.finished_at is not None, pod.finished_at or job.created_at))
    return latest.failure, latest.failure_message
