"""The plan of a FinetuneJob: from what is observed to what to do and what to say. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_trainer.contract import FailureClass, TrialResult

from finetune_operator import blockers, hyperparameters, jobs, lifecycle, names, podtemplate, promotion, results, trial
from finetune_operator import conditions as c
from finetune_operator.actions import Apply, PatchJob, Plan, Problem, ReadRun
from finetune_operator.api import FinetuneJob, FinetuneJobStatus
from finetune_operator.api.finetunejob import FailureStatus, MetricsStatus, RegressionStatus, RunStatus
from finetune_operator.api.status import Usage
from finetune_operator.facts import JobFacts, PodFacts, RunFacts
from finetune_operator.observed import Observed
from finetune_operator.planning import MOST_PREEMPTIONS, RETRY, SOON, Planner, just_ended

_STARTING = "The training is starting."
_RETRIES: dict[FailureClass, int | None] = {
    FailureClass.BAD_CONFIG: 0,
    FailureClass.BAD_DATA: 0,
    FailureClass.DIVERGED: 0,  # the seed is fixed: it would diverge again
    FailureClass.OUT_OF_MEMORY: 1,  # once: a neighbour on the same GPU may have been the cause
    FailureClass.TRACKER_UNAUTHORIZED: None,  # until the key is put right; pauses grow
    FailureClass.TRACKER_UNAVAILABLE: None,
    FailureClass.PREEMPTED: None,
}
"""Retries that a failure class allows at most, beside spec.retry.limit; None: any number, and none of them counts."""


def plan(observed: Observed[FinetuneJob]) -> Plan[FinetuneJobStatus]:
    """Decides the next step of a FinetuneJob."""
    return _Planner(observed).plan()


def retry_pause(failure: FailureClass, attempts: int) -> timedelta:
    """Pause before the next attempt: none after a preemption, else 5 s doubling to 5 minutes."""
    if failure is FailureClass.PREEMPTED:
        return timedelta()
    return timedelta(seconds=min(5 * 2 ** max(0, attempts - 1), 300))


def problem(observed: Observed[FinetuneJob]) -> str | None:
    """A sentence that names the field at fault, or None for a sound spec."""
    spec = observed.resource.spec
    for key, value in spec.hyperparameters.items():
        if key not in hyperparameters.NAMES:
            known = ", ".join(sorted(hyperparameters.NAMES))
            return f"spec.hyperparameters.{key}: unknown hyperparameter; known are {known}"
        if isinstance(value, (dict, list)) or value is None:
            return f"spec.hyperparameters.{key}: must be a number, a text or a boolean"
    if spec.hyperparameters and spec.hyperparameters_from:
        return "spec.hyperparametersFrom: excludes spec.hyperparameters"
    if fault := podtemplate.check(spec.trainer.pod_template):
        return f"spec.trainer.podTemplate: {fault}"
    if (spec.trainer.image or observed.defaults.image) is None:
        return "spec.trainer.image: is required, as the operator was installed without a default"
    return None


class _Planner(Planner[FinetuneJob, FinetuneJobStatus]):
    """The stages of a training's life."""

    def __init__(self, observed: Observed[FinetuneJob]) -> None:
        super().__init__(observed, observed.resource.status)
        self.spec = observed.resource.spec

    def plan(self) -> Plan[FinetuneJobStatus]:
        """Where in its life the resource is, and what comes next."""
        if self.observed.deleted_for is not None:
            return Plan(None)
        if fault := problem(self.observed):
            return self.stall(fault)
        changed = lifecycle.fingerprint(self.spec) != self.status.spec_hash
        if self.status.round is None or (self.status.observed_generation != self.generation and changed):
            return self._start_round()
        if lifecycle.finished(self.status):
            return self._settle()
        self.measure_usage()
        if self.spec.suspend:
            return self._suspend()
        return self._advance()

    def _start_round(self) -> Plan[FinetuneJobStatus]:
        """Begins a round: what an earlier one left is stopped, else the first Job is made at once.

        That Job is the intent: if a crash comes before the status tells of it, it is known again by its inputs.
        """
        old = self.status
        number = (old.round or 0) + 1
        self.status = FinetuneJobStatus(
            round=number,
            spec_hash=lifecycle.fingerprint(self.spec),
            start_time=self.now,
            usage=Usage(updated_at=self.now),
            run=RunStatus(id=names.run_id(self.observed.identity.uid, number)),
            conditions=c.drop(old.conditions, c.COMPLETE, c.FAILED, c.PROMOTED, c.SUSPENDED),
            promotion=old.promotion,
        )
        if (begun := self._begun(number)) is not None:
            since = begun.created_at or self.now
            self.update(attempts=begun.attempt, job_name=begun.name, start_time=since, usage=Usage(updated_at=since))
            return self.progress("Starting", _STARTING, timedelta())
        self.drop_jobs(all_rounds=True)
        if self.spec.suspend or self.observed.jobs:
            return self.progress("Accepted", "The training starts.", timedelta())
        if blocked := self._blocked():
            return self.progress(blocked.reason, blocked.message, RETRY)
        return self._create_job(1)

    def _begun(self, number: int) -> JobFacts | None:
        """The Job of this very round that a crash has left before the status could tell of it; its latest attempt."""
        mine = [job for job in self.observed.jobs if job.round == number and job.inputs and not job.deleting]
        if not mine or self._resolve() is not None:
            return None
        made = [job for job in mine if job.inputs == self._inputs]
        return max(made, key=lambda job: job.attempt, default=None)

    @property
    def _inputs(self) -> str:
        return lifecycle.inputs(self.spec, self.status.hyperparameters or {})

    def _settle(self) -> Plan[FinetuneJobStatus]:
        """After the end: Jobs get their time to live, promotions go on."""
        self.expire_jobs()
        self.update(observed_generation=self.generation)
        if c.is_true(self.status.conditions, c.COMPLETE) and self.spec.promotion:
            return self.done(self._promote())
        return self.done(None)

    def _suspend(self) -> Plan[FinetuneJobStatus]:
        self.hold_jobs()
        active = any(pod.active for pod in self.pods)
        message = "Suspended by spec.suspend" + ("; the pod is leaving." if active else ".")
        self.status = lifecycle.suspended(self.status, message, self.generation, self.now)
        return self.done(SOON if active else None)

    # -- a round -------------------------------------------------------------------------------------------------------

    def _advance(self) -> Plan[FinetuneJobStatus]:
        if self.drop_jobs(all_rounds=False):
            return self.progress("Replacing", "Waits for the pods of the earlier round to leave.", SOON)
        attempt, job = self.status.attempts or 1, self.job()
        if job is not None and job.deleting:
            return self.progress("Replacing", f"Waits for Job {job.name} to go.", SOON)
        if job is not None and job.finished:
            return self._ended(job, attempt)
        if blocked := self._blocked():
            return self.progress(blocked.reason, blocked.message, RETRY)
        if job is None:
            return self._create_job(attempt)
        if job.suspended and not self.spec.trainer.queue_name:
            self.actions.append(PatchJob(job.name, {"suspend": False}))
            return self.progress("Starting", "The training is being resumed.", SOON)
        return self._describe(job)

    def _blocked(self) -> Problem | None:
        """What must be there before a pod may start; a running pod is not disturbed by it."""
        if self.status.hyperparameters is None and (waiting := self._resolve()):
            return waiting
        if self.status.attempts and any(pod.phase == "Running" for pod in self.pods):
            return None
        return self.observed.credentials or self.observed.results.problem or self.observed.tracker.problem

    def _resolve(self) -> Problem | None:
        """Fixes the hyperparameters of this round, or says what they wait for."""
        if self.spec.hyperparameters_from is None:
            self.update(hyperparameters=dict(self.spec.hyperparameters))
            return None
        wanted, source = self.spec.hyperparameters_from.sweep_run_ref.name, self.observed.source
        if source is None:
            return Problem("SweepRunNotFound", f"SweepRun {wanted} does not exist in this namespace.")
        if source.failed:
            return Problem("SweepRunFailed", f"SweepRun {wanted} has failed ({source.state}): it has no best run.")
        if not source.complete:
            return Problem("WaitingForSweep", f"Waits for SweepRun {wanted} ({source.state}).")
        if source.hyperparameters is None:
            return Problem("SweepRunFailed", f"SweepRun {wanted} is complete but names no best run.")
        self.update(hyperparameters=dict(source.hyperparameters))
        return None

    def _create_job(self, attempt: int) -> Plan[FinetuneJobStatus]:
        identity, trainer = self.observed.identity, self.spec.trainer
        assert self.status.round is not None
        image = trainer.image or self.observed.defaults.image
        assert image is not None
        name = names.child_name(identity.name, f"t{self.status.round}-{attempt}")
        document = trial.train_document(
            self.spec, identity, self.observed.tracker.address, self.status.hyperparameters or {}, self.status.round
        )
        request = jobs.JobRequest(
            owner=identity,
            name=name,
            document=document,
            mode="train",
            round=self.status.round,
            stage=0,
            attempt=attempt,
            parallelism=trainer.nodes,
            trainer=trainer,
            image=image,
            tracker=self.observed.tracker.address,
            api_key=self.spec.wandb.api_key_secret_ref,
            inputs=self._inputs,
        )
        if trainer.nodes > 1:
            self.actions.append(Apply(jobs.headless_service(identity, name)))
        self.actions.append(Apply(jobs.job(request)))
        self.update(attempts=attempt, job_name=name)
        return self.progress("Starting", _STARTING, SOON)

    def _describe(self, job: JobFacts) -> Plan[FinetuneJobStatus]:
        pods = self.pods_of(job)
        running = sum(pod.phase == "Running" and not pod.deleting for pod in pods)
        times = sum(pod.preempted_itself for pod in pods)
        if times >= MOST_PREEMPTIONS:
            message = f"The pod has left as preempted {times} times, evicted by nobody, and does not come to an end"
            self.hold_jobs()
            self.update(usage=self.usage)
            self.status = lifecycle.failed(self.status, "Preempted", message, self.generation, self.now)
            return self.done(SOON)
        if running == job.parallelism:
            return self.progress("Running", f"Training in Job {job.name}, attempt {self.status.attempts}.")
        blocked = blockers.of_job(job, pods, self.spec.trainer.queue_name, self.observed.creation_error)
        if blocked:
            return self.progress(blocked.reason, blocked.message, SOON)
        if just_ended(pods, self.now):
            return self.done(SOON)  # its Job's end follows, and says more
        if pods and not any(pod.active for pod in pods):
            return self.progress("Finishing", "The training has ended; its Job is about to.", SOON)
        return self.progress("Starting", _STARTING, SOON)

    # -- the end of an attempt -----------------------------------------------------------------------------------------

    def _ended(self, job: JobFacts, attempt: int) -> Plan[FinetuneJobStatus]:
        pods = self.pods_of(job)
        if job.complete:
            return self._succeeded(pods)
        failure, message = _verdict(job, pods)
        counted = _RETRIES.get(failure, self.spec.retry.limit)
        failures = (self.status.failures or 0) + (counted is not None)
        self.update(failure=FailureStatus.model_validate({"class": failure.value, "message": message}))
        if counted is not None and failures > min(counted, self.spec.retry.limit):
            self.update(failures=failures, usage=self.usage)
            self.status = lifecycle.failed(self.status, failure.value, message, self.generation, self.now)
            return self.done(SOON)
        waited = self.now - (job.finished_at or self.now)
        pause = retry_pause(failure, attempt)
        if waited < pause:
            return self.progress(failure.value, f"{message}; attempt {attempt + 1} follows.", pause - waited)
        if blocked := self._blocked():
            return self.progress(blocked.reason, blocked.message, RETRY)
        self.update(failures=failures)
        return self._create_job(attempt + 1)

    @property
    def _run_id(self) -> str:
        assert self.status.run is not None
        return self.status.run.id

    def _succeeded(self, pods: list[PodFacts]) -> Plan[FinetuneJobStatus]:
        result = next((pod.result for pod in pods if pod.result and pod.result.metrics), None)
        if self.status.metrics is None:
            if result is not None:
                self._take(result)
            elif (run := self.observed.results.runs.get(self._run_id)) is not None:
                self._take_run(run)
            elif self._run_id in self.observed.results.runs:
                message = "The training ended, but neither its pod nor the tracker has its result."
                self.status = lifecycle.failed(self.status, "ResultLost", message, self.generation, self.now)
                return self.done(SOON)
            else:
                trouble = self.observed.credentials or self.observed.results.problem or self.observed.tracker.problem
                if trouble:
                    return self.progress(trouble.reason, trouble.message, RETRY)
                self.actions.append(ReadRun(self._run_id))
                return self.done(SOON)
        self.update(usage=self.usage, failure=None)
        if self.spec.promotion and (requeue := self._promote()) is not None:
            return self.await_registry(requeue)
        self._publish()
        reason = self.status.promotion.state if self.status.promotion and self.spec.promotion else "Trained"
        self.status = lifecycle.complete(self.status, reason, self._summary(), self.generation, self.now)
        return self.done(SOON)

    def _take(self, result: TrialResult) -> None:
        assert result.metrics is not None
        assert self.status.run is not None
        measured = result.metrics.model_dump(exclude_none=True)
        metrics = MetricsStatus(**{name: round(value, 6) for name, value in measured.items()})
        if metrics.relative_improvement is None and metrics.baseline_wer and metrics.wer is not None:
            gain = (metrics.baseline_wer - metrics.wer) / metrics.baseline_wer
            metrics = metrics.model_copy(update={"relative_improvement": round(gain, 6)})
        worst = next((gate.value for gate in result.gates if gate.name == promotion.ERROR_TYPE_GATE), None)
        if worst is not None:
            metrics = metrics.model_copy(update={"worst_error_type_degradation": round(worst, 6)})
        regression = result.regression
        self.update(
            metrics=metrics,
            error_types=dict(sorted(result.error_types.items())[:32]) or None,
            regression=RegressionStatus(passed=regression.passed, total=regression.total) if regression else None,
            run=self.status.run.model_copy(update={"url": result.run_url}),
            artifact=result.artifact,
        )

    def _take_run(self, run: RunFacts) -> None:
        """The same from the run's summary, when the pod with its termination message is gone."""
        keys = {
            "wer": "test/wer",
            "cer": "test/cer",
            "baseline_wer": "test/baseline_wer",
            "baseline_cer": "test/baseline_cer",
            "validation_wer": "eval/wer",
            "baseline_validation_wer": "baseline/wer",
            "p_value": "test/p_value",
            "relative_improvement": "test/relative_improvement",
        }
        suites = [key for key in run.summary if key.startswith("regression/") and key.endswith("/wer")]
        passed = round((run.metric("regression/pass_rate") or 0.0) * len(suites))
        measured = {name: run.metric(key) for name, key in keys.items()}
        measured["worst_error_type_degradation"] = results.worst_error_type(run)
        self.update(
            metrics=MetricsStatus(**{name: round(value, 6) for name, value in measured.items() if value is not None}),
            regression=RegressionStatus(passed=passed, total=len(suites)) if suites else None,
            artifact=run.artifact,
        )

    def _summary(self) -> str:
        metrics = self.status.metrics
        assert metrics is not None
        if metrics.wer is None:
            return "Trained."
        text = f"WER {metrics.wer:.4g}"
        if metrics.baseline_wer is not None:
            text += f" (baseline {metrics.baseline_wer:.4g})"
        if self.spec.promotion and self.status.promotion:
            text += f". {self.status.promotion.reason}"
        return text

    def _promote(self) -> timedelta | None:
        """Takes the promotion one step on; returns when to look again, None when it needs nothing more by itself."""
        metrics, suites = self.status.metrics, self.status.regression or RegressionStatus()
        assert metrics is not None
        assert self.status.run is not None
        assert self.spec.promotion is not None
        evidence = promotion.Evidence(
            metrics.relative_improvement,
            metrics.p_value,
            suites.passed,
            suites.total,
            metrics.worst_error_type_degradation,
        )
        candidate = promotion.Candidate(self.status.run.id, self.status.artifact)
        decided = self.judge(self.spec.promotion, candidate, evidence)
        if decided.news and lifecycle.finished(self.status):
            self._publish()
            self.status = lifecycle.complete(self.status, decided.state, self._summary(), self.generation, self.now)
        return decided.requeue

    def _publish(self) -> None:
        metrics = self.status.metrics
        assert metrics is not None
        assert self.status.run is not None
        data: dict[str, Any] = {
            "hyperparameters.json": self.status.hyperparameters or {},
            "metrics.json": metrics.to_wire(),
            "run": self.status.run.id,
            **({"artifact": self.status.artifact} if self.status.artifact else {}),
        }
        if self.spec.promotion and self.status.promotion:
            data["promotion"] = self.status.promotion.state
            if self.status.promotion.version:
                data["version"] = self.status.promotion.version
        self.actions.append(Apply(jobs.best_config_map(self.observed.identity, data), optional=True))


def _verdict(job: JobFacts, pods: list[PodFacts]) -> tuple[FailureClass, str]:
    """Why a training's Job has failed: the class and sentence of the failed pod that tells most, the latest of these.

    Where several pods train together, the failure of one is the end of all: the others are preempted when the Job ends,
    or see no more than a broken connection.
    """
    failed = [pod for pod in pods if pod.failure is not None]
    if not failed:
        return FailureClass.ERROR, f"Job {job.name} failed: {job.failure_reason}: {job.failure_message}"

    vague = {FailureClass.PREEMPTED: 0, FailureClass.ERROR: 1}

    def telling(pod: PodFacts) -> tuple[int, datetime]:
        return vague.get(pod.failure or FailureClass.ERROR, 2), pod.finished_at or datetime.min.replace(tzinfo=UTC)

    told = max(failed, key=telling)
    assert told.failure is not None
    return told.failure, told.failure_message
