"""The plan of a SweepRun: from what is observed to what to do and what to say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from finetune_trainer.contract import FailureClass

from finetune_operator import (
    blockers,
    jobs,
    lifecycle,
    names,
    podtemplate,
    promotion,
    results,
    sweepconfig,
    trial,
    usage,
)
from finetune_operator import conditions as c
from finetune_operator.actions import (
    Action,
    Apply,
    CreateSweep,
    DeleteJob,
    PatchJob,
    Plan,
    SetFinalizer,
    SetSweepState,
    StopRun,
)
from finetune_operator.api import SweepRun, SweepRunStatus
from finetune_operator.api.base import parse_duration
from finetune_operator.api.status import SweepStatus, TestScores, TrialCounts
from finetune_operator.api.sweeprun import AgentsStatus
from finetune_operator.facts import JobFacts, PodFacts, RunState
from finetune_operator.observed import Observed

_HEARTBEAT = timedelta(seconds=60)
_SOON = timedelta(seconds=5)
_RELEASE_AFTER = timedelta(seconds=60)
"""A deletion waits this long for the tracker to take note, then goes on without it."""
_USAGE_EVERY = timedelta(seconds=60)
_FRUITLESS_ATTEMPTS = 3
"""Attempts in a row without a finished trial after which a sweep fails."""
_DRAIN = timedelta(seconds=60)
"""Agents have this long to leave after the sweep's end, then they are stopped."""
_READ_AGAIN = timedelta(seconds=2)
_GIVE_UP = timedelta(minutes=5)
_CLOCK_GRAIN = timedelta(seconds=1)
"""Kubernetes writes times in whole seconds."""
_NOT_COUNTED = frozenset({FailureClass.PREEMPTED, FailureClass.TRACKER_UNAVAILABLE})
"""Failures of an attempt that say nothing about the sweep."""


def plan(observed: Observed[SweepRun]) -> Plan[SweepRunStatus]:
    """Decides the next step of a SweepRun."""
    return _Planner(observed).plan()


def attempt_backoff(failures: int) -> timedelta:
    """Pause before the next attempt: 0 at first, then 10 s doubling to 5 minutes."""
    return timedelta(seconds=min(10 * 2 ** (failures - 1), 300)) if failures else timedelta()


def problem(observed: Observed[SweepRun]) -> str | None:
    """A sentence that names the field at fault, or None for a sound spec."""
    spec = observed.resource.spec
    if lifecycle.fingerprint(spec) == observed.resource.status.spec_hash:
        return None  # what has started was sound
    if fault := sweepconfig.problem(spec):
        return fault
    if fault := podtemplate.check(spec.trainer.pod_template):
        return f"spec.trainer.podTemplate: {fault}"
    if (spec.trainer.image or observed.defaults.image) is None:
        return "spec.trainer.image: is required, as the operator was installed without a default"
    return None


@dataclass
class _Planner:
    """One planning pass: `status` and `actions` take shape while it goes through the stages of a sweep's life."""

    observed: Observed[SweepRun]
    status: SweepRunStatus = field(init=False)
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.status = self.observed.resource.status
        self.spec = self.observed.resource.spec
        self.now = self.observed.now
        self.generation = self.observed.identity.generation
        self.tracker = self.observed.tracker
        self.sweep = self.tracker.sweep
        self.round_jobs = [job for job in self.observed.jobs if job.round == self.status.round]
        self.round_pods = [pod for pod in self.observed.pods if pod.round == self.status.round]

    # -- entry ---------------------------------------------------------------------------------------------------------

    def plan(self) -> Plan[SweepRunStatus]:
        if self.observed.deleted_for is not None:
            return self._delete()
        if fault := problem(self.observed):
            return self._invalid(fault)
        if self.status.round is None or self._restart():
            return self._start_round()
        if lifecycle.finished(self.status):
            return self._settle()
        self._measure()
        if self.spec.suspend:
            return self._suspend()
        return self._advance()

    def _done(self, requeue: timedelta | None) -> Plan[SweepRunStatus]:
        return Plan(self.status, tuple(self.actions), requeue)

    def _progress(self, reason: str, message: str, requeue: timedelta | None = _HEARTBEAT) -> Plan[SweepRunStatus]:
        self.status = lifecycle.progressing(self.status, reason, message, self.generation, self.now)
        return self._done(requeue)

    def _update(self, **fields: object) -> None:
        self.status = self.status.model_copy(update=fields)

    # -- the ends of a life --------------------------------------------------------------------------------------------

    def _delete(self) -> Plan[SweepRunStatus]:
        """Cancels the sweep, so that no agent anywhere goes on with it; the children go by their owner reference."""
        if not self.observed.finalizer:
            return Plan(None)
        sweep_id = self.status.sweep.id if self.status.sweep else None
        stopped = sweep_id is None or self.tracker.missing or (self.sweep is not None and self.sweep.over)
        late = self.observed.deleted_for is not None and self.observed.deleted_for >= _RELEASE_AFTER
        unusable = self.observed.credentials is not None
        if stopped or late or unusable:
            return Plan(None, (SetFinalizer(present=False),))
        if self.observed.results.problem or self.tracker.problem:
            return Plan(None, (), _SOON)
        assert sweep_id is not None
        return Plan(None, (SetSweepState(sweep_id, "CANCELED"), SetFinalizer(present=False)))

    def _invalid(self, message: str) -> Plan[SweepRunStatus]:
        self._hold_jobs()
        self.status = lifecycle.stalled(self.status, "InvalidSpec", message, self.generation, self.now)
        return self._done(None)

    def _restart(self) -> bool:
        if self.status.observed_generation == self.generation:
            return False
        if lifecycle.fingerprint(self.spec) != self.status.spec_hash:
            return True
        cap = self.status.sweep.trials if self.status.sweep else None
        return lifecycle.finished(self.status) and cap is not None and self.spec.trials > cap

    def _start_round(self) -> Plan[SweepRunStatus]:
        """Records the intent before anything is done; what an earlier round left is stopped first."""
        self._stop_tracker("FINISHED")
        self.actions.extend(DeleteJob(job.name) for job in self.observed.jobs if not job.deleting)
        old = self.status
        self.status = SweepRunStatus(
            round=(old.round or 0) + 1,
            spec_hash=lifecycle.fingerprint(self.spec),
            start_time=self.now,
            selector=jobs.agent_selector(self.observed.identity),
            active_agents=0,
            trials=TrialCounts(),
            conditions=c.drop(old.conditions, c.COMPLETE, c.FAILED, c.PROMOTED, c.SUSPENDED),
            promotion=old.promotion,
        )
        return self._progress("Accepted", "The search starts.", timedelta())

    def _settle(self) -> Plan[SweepRunStatus]:
        """After the end: agents that do not leave are stopped, Jobs get their time to live, promotions go on."""
        requeue = None
        for job in self.observed.jobs:
            if job.deleting:
                continue
            if job.finished or job.suspended:
                if job.ttl != self.spec.trainer.ttl_seconds_after_finished and job.finished:
                    self.actions.append(
                        PatchJob(job.name, {"ttlSecondsAfterFinished": self.spec.trainer.ttl_seconds_after_finished})
                    )
            elif self.status.completion_time and self.now - self.status.completion_time >= _DRAIN:
                self.actions.append(PatchJob(job.name, {"suspend": True}))
            else:
                requeue = _SOON
        active = sum(pod.active and not pod.deleting for pod in self.round_pods)
        self._update(active_agents=active, observed_generation=self.generation)
        if active:
            requeue = _SOON
        if self.observed.finalizer and not active:
            self.actions.append(SetFinalizer(present=False))
        if c.is_true(self.status.conditions, c.COMPLETE) and self.spec.promotion and self.status.best_run:
            requeue = self._promote() or requeue
        return self._done(requeue)

    # -- a round -------------------------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Counts, best run, cost: what the status says whatever happens next."""
        assert self.status.start_time is not None
        pods, now = self.round_pods, self.now
        measured = usage.advance(self.status.usage, pods, self.spec.trainer.resources.gpus, self.status.start_time, now)
        self.usage = measured
        if usage.worth_writing(self.status.usage, measured, _USAGE_EVERY):
            self._update(usage=measured)
        self._update(active_agents=sum(pod.active and not pod.deleting for pod in pods))
        if self.sweep is None or self.status.sweep is None or self.sweep.id != self.status.sweep.id:
            return
        swept = sweepconfig.parameters(self.spec)
        best = results.best(self.sweep.runs, self.spec.metric)
        url = self.sweep.url.replace(f"/sweeps/{self.sweep.id}", f"/runs/{best.id}") if best else ""
        self._update(
            sweep=self.status.sweep.model_copy(update={"url": self.sweep.url}),
            trials=results.count(self.sweep.runs, swept),
            best_run=results.describe(best, self.spec.metric, swept, url) if best else None,
        )

    def _suspend(self) -> Plan[SweepRunStatus]:
        if self.sweep and not self.sweep.over and not self.sweep.paused and not self.tracker.problem:
            self.actions.append(SetSweepState(self.sweep.id, "PAUSED"))
        self._hold_jobs()
        active = self.status.active_agents or 0
        message = f"Suspended by spec.suspend; {active} agents are leaving." if active else "Suspended by spec.suspend."
        self.status = lifecycle.suspended(self.status, message, self.generation, self.now)
        return self._done(_SOON if active else None)

    def _hold_jobs(self) -> None:
        for job in self.observed.jobs:
            if job.finished or job.deleting:
                continue
            if self.spec.trainer.queue_name:  # Kueue owns spec.suspend of its Jobs, and would lift it
                self.actions.append(DeleteJob(job.name))
            elif not job.suspended:
                self.actions.append(PatchJob(job.name, {"suspend": True}))

    def _stop_tracker(self, state: str) -> None:
        if self.sweep is not None and not self.sweep.over and self.tracker.problem is None:
            self.actions.append(SetSweepState(self.sweep.id, state))

    def _advance(self) -> Plan[SweepRunStatus]:
        made = self.observed.results
        if made.sweep_id is not None and (self.status.sweep is None or self.status.sweep.id is None):
            self._update(sweep=SweepStatus(id=made.sweep_id, url=made.sweep_url))
        if self.tracker.missing and self.status.sweep and self.status.sweep.id:
            return self._fail("SweepDeleted", f"Sweep {self.status.sweep.id} no longer exists in the tracker.")
        if exhausted := self._exhausted():
            return self._stop(exhausted)
        if self._ended():
            return self._finish("Complete")
        self._steer_job()
        if self.observed.credentials is not None:
            missing = self.observed.credentials
            return self._progress(missing.reason, missing.message, timedelta(seconds=10))
        if trouble := self.observed.results.problem or self.tracker.problem:
            return self._progress(trouble.reason, trouble.message, timedelta(seconds=10))
        if leftovers := [job for job in self.observed.jobs if job.round != self.status.round]:
            self.actions.extend(DeleteJob(job.name) for job in leftovers if not job.deleting)
            return self._progress("Replacing", "Waits for the agents of the earlier round to leave.", _SOON)
        if self.status.sweep is None or self.status.sweep.id is None:
            return self._create_sweep()
        self._hold_the_cap()
        if self.sweep and self.sweep.paused:
            if not c.is_true(self.status.conditions, c.SUSPENDED):
                return self._progress("PausedInTracker", "The sweep is paused in W&B; resume it there.")
            self.actions.append(SetSweepState(self.sweep.id, "RUNNING"))
        return self._run_agents()

    def _create_sweep(self) -> Plan[SweepRunStatus]:
        if not self.observed.finalizer:
            self.actions.append(SetFinalizer(present=True))
        identity = self.observed.identity
        assert self.status.round is not None
        token = names.sweep_token(identity.uid, self.status.round, 0)
        config = sweepconfig.build(self.spec, f"{identity.namespace}/{identity.name}", token)
        self.actions.append(CreateSweep(config, token))
        return self._progress("CreatingSweep", "Creates the sweep in W&B.", _SOON)

    def _hold_the_cap(self) -> None:
        """Stops the newest trials beyond the cap, whatever the tracker hands out."""
        if self.sweep is None:
            return
        excess = len(self.sweep.runs) - self.spec.trials
        if excess < 0 or self.sweep.over:
            return
        runs = sorted(self.sweep.runs, key=lambda run: (run.created_at, run.id))
        live = RunState.LIVE | RunState.PREEMPTED
        self.actions.extend(StopRun(run.id) for run in runs[self.spec.trials :] if run.state in live)
        if excess > 0:
            self._stop_tracker("FINISHED")

    def _run_agents(self) -> Plan[SweepRunStatus]:
        attempt, job = self.status.attempts or 1, self._job()
        if job is not None and job.deleting:
            return self._progress("Replacing", f"Waits for Job {job.name} to go.", _SOON)
        if job is not None and job.finished:
            return self._next_attempt(job, attempt)
        if job is None:
            return self._create_job(attempt)
        return self._describe(job)

    def _steer_job(self) -> None:
        """Scaling and resuming need no tracker. Agents without work leave by themselves: only a user scales down."""
        job = self._job()
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

    def _job(self) -> JobFacts | None:
        attempt = self.status.attempts or 1
        return next((job for job in self.round_jobs if job.attempt == attempt), None)

    def _agents_wanted(self) -> int:
        """No more agents than trials are left to do; agents that are there already leave by themselves."""
        trials = self.status.trials or TrialCounts()
        return min(self.spec.parallelism, max(0, self.spec.trials - results.ended(trials)))

    def _create_job(self, attempt: int) -> Plan[SweepRunStatus]:
        identity, trainer = self.observed.identity, self.spec.trainer
        assert self.status.round is not None
        assert self.status.sweep is not None
        assert self.status.sweep.id is not None
        base = names.child_name(identity.name, f"s{self.status.round}")
        name = names.child_name(identity.name, f"s{self.status.round}-{attempt}")
        image = trainer.image or self.observed.defaults.image
        assert image is not None
        document = trial.agent_document(
            self.spec, identity, self.tracker.address, self.status.sweep.id, self.status.round
        )
        request = jobs.JobRequest(
            owner=identity,
            name=name,
            config_map=base,
            mode="agent",
            round=self.status.round,
            stage=0,
            attempt=attempt,
            parallelism=self._agents_wanted(),
            trainer=trainer,
            image=image,
            tracker=self.tracker.address,
            api_key=self.spec.wandb.api_key_secret_ref,
        )
        self.actions += [Apply(jobs.config_map(identity, base, document)), Apply(jobs.job(request))]
        agents = self.status.agents or AgentsStatus()
        if agents.job_name != name:
            done = results.ended(self.status.trials or TrialCounts())
            agents = agents.model_copy(update={"job_name": name, "trials_at_start": done})
        self._update(attempts=attempt, agents=agents)
        return self._progress("Starting", "Agents are starting.", _SOON)

    def _next_attempt(self, job: JobFacts, attempt: int) -> Plan[SweepRunStatus]:
        """All agents have gone before the search was over: why, and what now?"""
        if self.sweep is None or (job.finished_at and self.sweep.read_at <= job.finished_at + _CLOCK_GRAIN):
            return self._progress("Running", "The agents have left; reading the sweep's state.", _SOON)
        trials = self.status.trials or TrialCounts()
        if trials.total >= self.spec.trials and not trials.preempted:
            message = f"Waits for the tracker to give up on {trials.running} trials whose agents are gone."
            return self._progress("Running", message, _SOON)
        pods = [pod for pod in self.round_pods if pod.job == job.name]
        failure, message = _verdict(job, pods)
        if failure in (FailureClass.BAD_CONFIG, FailureClass.BAD_DATA):
            return self._fail(failure.value, message)
        agents = self.status.agents or AgentsStatus()
        fruitless = results.ended(trials) <= agents.trials_at_start and failure not in _NOT_COUNTED
        failures = agents.failures + 1 if fruitless else 0
        if failures >= _FRUITLESS_ATTEMPTS:
            return self._fail(failure.value if failure else "AgentsExited", message)
        pause = attempt_backoff(max(failures, 1) if failure else 0)
        waited = self.now - (job.finished_at or self.now)
        if waited < pause:
            reason = failure.value if failure else "AgentsExited"
            return self._progress(reason, f"{message}; new agents start in a moment.", pause - waited)
        self._update(agents=agents.model_copy(update={"failures": failures}))
        return self._create_job(attempt + 1)

    def _describe(self, job: JobFacts) -> Plan[SweepRunStatus]:
        pods = [pod for pod in self.round_pods if pod.job == job.name]
        running = sum(pod.phase == "Running" for pod in pods)
        blocked = blockers.of_job(job, pods, self.spec.trainer.queue_name, self.observed.creation_error)
        if job.suspended and not self.spec.trainer.queue_name:
            return self._progress("Starting", "Agents are being resumed.", _SOON)
        if blocked and not running:
            return self._progress(blocked.reason, blocked.message, _SOON)
        if self.spec.parallelism == 0:
            return self._progress("ScaledToZero", "spec.parallelism is 0: no agent may run.")
        if not running:
            return self._progress("Starting", "Agents are starting.", _SOON)
        trials = self.status.trials or TrialCounts()
        message = f"{results.ended(trials)} of {self.spec.trials} trials done, {running} agents running."
        if blocked:
            message += f" Another waits: {blocked.message}"
        return self._progress("Running", message)

    # -- the end of a round --------------------------------------------------------------------------------------------

    def _exhausted(self) -> str | None:
        budget = self.spec.budget
        assert self.status.start_time is not None
        if budget.gpu_hours is not None and float(self.usage.gpu_hours) >= float(budget.gpu_hours):
            return f"budget.gpuHours of {budget.gpu_hours} is used up"
        if budget.wall_clock and self.now - self.status.start_time >= parse_duration(budget.wall_clock):
            return f"budget.wallClock of {budget.wall_clock} has passed"
        failed = self.status.trials.failed if self.status.trials else 0
        if budget.failed_trials is not None and failed >= budget.failed_trials:
            return f"budget.failedTrials of {budget.failed_trials} is reached"
        return None

    def _stop(self, why: str) -> Plan[SweepRunStatus]:
        """A ceiling is reached: no more trials, agents leave now, results are kept."""
        self._stop_tracker("FINISHED")
        self._hold_jobs()
        waits = (self.status.active_agents or 0) > 0 or any(
            not job.suspended and not job.finished for job in self.observed.jobs
        )
        if waits:
            return self._progress("BudgetExhausted", f"{why}; the agents are leaving.", _SOON)
        if not self._final():
            return self._progress("BudgetExhausted", f"{why}; reading the last results.", _READ_AGAIN)
        return self._finish("BudgetExhausted", why)

    def _final(self) -> bool:
        """Whether what the tracker has said is all there will be: read after the last agent left, with nothing running.

        Runs whose agents were killed the tracker gives up on after some time, which is not waited for without end.
        """
        if self.sweep is None or self.tracker.problem:
            return self.tracker.problem is None
        left = max((pod.finished_at for pod in self.round_pods if pod.finished_at), default=None)
        if left is None or self.now - left >= _GIVE_UP:
            return True
        return self.sweep.read_at > left + _CLOCK_GRAIN and not (self.status.trials or TrialCounts()).running

    def _ended(self) -> bool:
        if self.sweep is None or self.status.sweep is None or self.sweep.id != self.status.sweep.id:
            return False
        counts = self.status.trials or TrialCounts()
        if self.sweep.over:
            return counts.running == 0
        return counts.total >= self.spec.trials and counts.running == 0 and counts.preempted == 0

    def _finish(self, reason: str, why: str = "") -> Plan[SweepRunStatus]:
        self._stop_tracker("FINISHED")
        counts, best = self.status.trials or TrialCounts(), self.status.best_run
        tally = (
            f"{counts.succeeded} trials finished, {counts.failed} failed, {counts.stopped} stopped early"
            + (f", {counts.preempted} preempted" if counts.preempted else "")
            + (f"; {why}" if why else "")
        )
        if best is None:
            code = reason if reason == "BudgetExhausted" else "NoFinishedTrial"
            return self._fail(code, f"No trial finished with a value of {self.spec.metric.name}: {tally}.")
        assert self.status.sweep is not None
        self._update(usage=self.usage, sweep=self.status.sweep.model_copy(update={"trials": self.spec.trials}))
        if self.spec.promotion and (requeue := self._promote()) is not None:
            return self._progress("Promoting", "Promotes the best run.", requeue)
        self._publish()
        gain = f", {best.relative_improvement:.1%} better than the baseline" if best.relative_improvement else ""
        message = f"Best {best.metric} {best.value:g}{gain}; {tally}."
        self.status = lifecycle.complete(self.status, reason, message, self.generation, self.now)
        return self._done(_SOON)

    def _fail(self, reason: str, message: str) -> Plan[SweepRunStatus]:
        self._stop_tracker("FINISHED")
        self._hold_jobs()
        if self.status.sweep is not None:
            self._update(sweep=self.status.sweep.model_copy(update={"trials": self.spec.trials}))
        self._update(usage=self.usage)
        self.status = lifecycle.failed(self.status, reason, message, self.generation, self.now)
        return self._done(_SOON)

    def _promote(self) -> timedelta | None:
        """Takes the promotion one step on; returns when to look again, None when it needs nothing more by itself."""
        best = self.status.best_run
        assert best is not None
        assert self.spec.promotion is not None
        before, scores = self.status.promotion, best.test or TestScores()
        step = promotion.step(
            self.spec.promotion,
            before,
            promotion.Candidate(best.id, best.artifact),
            promotion.Evidence(
                scores.relative_improvement,
                scores.p_value,
                scores.suites_passed,
                scores.suites_total,
                scores.worst_error_type_degradation,
            ),
            self.observed.annotations,
            self.observed.results.promoted,
            self.now,
        )
        self._update(promotion=step.status)
        self.status = lifecycle.promoted(self.status, self.generation, self.now)
        if step.action is None:
            if lifecycle.finished(self.status) and step.status != before:
                self._publish()
            return None
        if self.observed.credentials is None and not self.observed.results.problem:
            self.actions.append(step.action)
        return timedelta(seconds=10)

    def _publish(self) -> None:
        best = self.status.best_run
        assert best is not None
        data = {
            "hyperparameters.json": best.hyperparameters,
            "metric": best.metric,
            "value": f"{best.value:g}",
            "run": best.id,
            **({"artifact": best.artifact} if best.artifact else {}),
            **({"promotion": self.status.promotion.state} if self.status.promotion else {}),
        }
        self.actions.append(Apply(jobs.best_config_map(self.observed.identity, data), optional=True))


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
