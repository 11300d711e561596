"""The plan of a SweepRun: from what is observed to what to do and what to say. Pure."""

from __future__ import annotations

from datetime import timedelta

from finetune_operator import conditions as c
from finetune_operator import jobs, lifecycle, names, podtemplate, stages, sweepconfig
from finetune_operator.actions import CancelSweeps, PatchJob, Plan, SetFinalizer, SetSweepState, StopRun
from finetune_operator.api import SweepRun, SweepRunStatus
from finetune_operator.api.status import ContinuousStatus, TrialCounts, Usage
from finetune_operator.facts import RunState
from finetune_operator.observed import Observed
from finetune_operator.plan_agents import AgentsPlanner
from finetune_operator.plan_outcome import OutcomePlanner
from finetune_operator.plan_rounds import WATCH_EVERY
from finetune_operator.planning import RETRY, SOON

_RELEASE_AFTER = timedelta(seconds=60)
"""A deletion waits this long for the tracker to take note, then goes on without it."""
_DRAIN = timedelta(seconds=60)
"""Agents have this long to leave after the sweep's end, then they are stopped."""


def plan(observed: Observed[SweepRun]) -> Plan[SweepRunStatus]:
    """Decides the next step of a SweepRun."""
    return _Planner(observed).plan()


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


class _Planner(AgentsPlanner, OutcomePlanner):
    """The stages of a sweep's life."""

    def plan(self) -> Plan[SweepRunStatus]:
        """Where in its life the resource is, and what comes next."""
        if self.observed.deleted_for is not None:
            return self._delete()
        if fault := problem(self.observed):
            return self.stall(fault)
        if self.status.round is None or self._restart():
            return self._start_round()
        if lifecycle.finished(self.status):
            return self._settle()
        self.measure()
        if self.spec.suspend:
            return self._suspend()
        return self._advance()

    def _delete(self) -> Plan[SweepRunStatus]:
        """Cancels its sweeps, so that no agent anywhere goes on with them; the children go by their owner reference.

        They are found by their mark and not by the status, which a crash may have left without one that was created.
        """
        if not self.observed.finalizer:
            return Plan(None)
        late = self.observed.deleted_for is not None and self.observed.deleted_for >= _RELEASE_AFTER
        unusable = self.observed.credentials is not None
        if late or unusable:
            return Plan(None, (SetFinalizer(present=False),))
        if self.observed.results.problem or self.tracker.problem:
            return Plan(None, (), SOON)
        mark = names.sweep_mark(self.observed.identity.uid)
        return Plan(None, (CancelSweeps(mark), SetFinalizer(present=False)))

    def _restart(self) -> bool:
        if self.status.observed_generation == self.generation:
            return False
        if lifecycle.fingerprint(self.spec) != self.status.spec_hash:
            return True
        cap = self.status.sweep.trials if self.status.sweep else None
        return lifecycle.finished(self.status) and cap is not None and self.spec.cap > cap

    def _start_round(self, *, adapting: bool = False) -> Plan[SweepRunStatus]:
        """Records the intent before anything is done; what an earlier round left is stopped first.

        A round of adaptation keeps what is in service until its verdict.
        """
        self.stop_tracker()
        self.drop_jobs(all_rounds=True)
        old, number = self.status, (self.status.round or 0) + 1
        continuous = self.open_round(number) if adapting else None
        if self.spec.continuous and not adapting:
            self.status = SweepRunStatus(continuous=ContinuousStatus(rounds=self.continuous.rounds))
            self.watch_dataset()
            continuous = self.continuous
        self.adapting = adapting
        in_service = old.best_run.hyperparameters if adapting and old.best_run else {}
        self.stages = stages.adaptation(self.spec, in_service) if adapting else stages.of(self.spec)
        self.round_cap = sum(stage.trials for stage in self.stages) if adapting else self.spec.cap
        self.status = SweepRunStatus(
            round=number,
            spec_hash=lifecycle.fingerprint(self.spec),
            start_time=self.now,
            usage=Usage(updated_at=self.now),
            selector=jobs.agent_selector(self.observed.identity),
            active_agents=0,
            trials=TrialCounts(),
            stages=stages.initial(self.stages),
            conditions=c.drop(old.conditions, c.COMPLETE, c.FAILED, c.PROMOTED, c.SUSPENDED),
            promotion=old.promotion,
            best_run=old.best_run if adapting else None,
            specialised=old.specialised if adapting else (),
            continuous=continuous,
        )
        self.estimate()
        if adapting:
            return self.progress("Accepted", "The data has grown: a round of adaptation starts.", timedelta())
        return self.progress("Accepted", "The search starts.", timedelta())

    def _settle(self) -> Plan[SweepRunStatus]:
        """After the end: agents that do not leave are stopped, Jobs get their time to live, promotions go on."""
        requeue = WATCH_EVERY if self.spec.continuous else None
        complete = c.is_true(self.status.conditions, c.COMPLETE)
        if complete and self.watch_dataset():
            return self._start_round(adapting=True)
        self.expire_jobs()
        for job in self.observed.jobs:
            if job.deleting or job.finished or job.suspended:
                continue
            if self.status.completion_time and self.now - self.status.completion_time >= _DRAIN:
                self.actions.append(PatchJob(job.name, {"suspend": True}))
            else:
                requeue = SOON
        active = sum(pod.active and not pod.deleting for pod in self.pods)
        self.update(observed_generation=self.generation)
        if not active:
            self.update(active_agents=0)  # said once, when all have left
        if active:
            requeue = SOON
        if self.observed.finalizer and not active:
            self.actions.append(SetFinalizer(present=False))
        if complete and self.spec.promotion and self.status.best_run:
            requeue = self.promote() or requeue
        return self.done(requeue)

    def _suspend(self) -> Plan[SweepRunStatus]:
        if self.sweep and not self.sweep.over and not self.sweep.paused and not self.tracker.problem:
            self.actions.append(SetSweepState(self.sweep.id, "PAUSED"))
        self.hold_jobs()
        active = self.status.active_agents or 0
        message = f"Suspended by spec.suspend; {active} agents are leaving." if active else "Suspended by spec.suspend."
        self.status = lifecycle.suspended(self.status, message, self.generation, self.now)
        return self.done(SOON if active else None)

    def _advance(self) -> Plan[SweepRunStatus]:
        self.take_sweep()
        created = self.status.sweep is not None and self.status.sweep.id is not None
        resuming = created and c.is_true(self.status.conditions, c.SUSPENDED)
        self.resumed = not resuming
        if self.tracker.missing and self.status.sweep and self.status.sweep.id:
            return self.fail("SweepDeleted", f"Sweep {self.status.sweep.id} no longer exists in the tracker.")
        if exhausted := self.exhausted():
            return self.stop(exhausted)
        if self.ended():
            return self.next_stage() or self.finish("Complete")
        self.end_early()
        self.steer_job()
        if self.observed.credentials is not None:
            missing = self.observed.credentials
            return self.progress(missing.reason, missing.message, RETRY)
        if trouble := self.observed.results.problem or self.tracker.problem:
            return self.progress(trouble.reason, trouble.message, RETRY)
        if self.drop_jobs(all_rounds=False) or self.drop_ended_agents():
            return self.progress("Replacing", "Waits for the agents of what was before to leave.", SOON)
        if self.status.sweep is None or self.status.sweep.id is None:
            return self.create_sweep()
        self._hold_the_cap()
        if resuming:
            if self.sweep is None:
                return self.progress("Resuming", "Waits for what the tracker says of the paused sweep.", SOON)
            if not self.sweep.over:  # whatever was read of it last, which may be older than the pause
                self.actions.append(SetSweepState(self.sweep.id, "RUNNING"))
        elif self.sweep and self.sweep.paused:
            return self.progress("PausedInTracker", "The sweep is paused in W&B; resume it there.")
        self.resumed = True
        return self.run_agents()

    def _hold_the_cap(self) -> None:
        """Stops the newest trials beyond the cap, whatever the tracker hands out."""
        if self.sweep is None:
            return
        own = self.own_runs
        excess = len(own) - self.cap
        if excess < 0 or self.sweep.over:
            return
        runs = sorted(own, key=lambda run: (run.created_at, run.id))
        live = RunState.LIVE | RunState.PREEMPTED
        self.actions.extend(StopRun(run.id) for run in runs[self.cap :] if run.state in live)
        if excess > 0:
            self.stop_tracker()
