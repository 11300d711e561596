"""The part of a SweepRun's plan that is about its end: budgets, results, promotion."""

from __future__ import annotations

from datetime import timedelta

from finetune_operator import lifecycle, results
from finetune_operator.actions import Plan
from finetune_operator.api import SweepRunStatus
from finetune_operator.api.base import parse_duration
from finetune_operator.api.sweeprun import AgentsStatus
from finetune_operator.plan_rounds import RoundsPlanner
from finetune_operator.planning import CLOCK_GRAIN, MOST_PREEMPTIONS, SOON

_READ_AGAIN = timedelta(seconds=2)
_GIVE_UP = timedelta(minutes=5)
"""The tracker has this long to give up on trials whose agents are gone, then the round ends with what there is."""


class OutcomePlanner(RoundsPlanner):
    """How a round ends."""

    def exhausted(self) -> str | None:
        """Which ceiling is reached, in a few words; None while there is room."""
        budget = self.spec.budget
        assert self.status.start_time is not None
        if budget.gpu_hours is not None and self.usage and float(self.usage.gpu_hours) >= float(budget.gpu_hours):
            return f"budget.gpuHours of {budget.gpu_hours} is used up"
        if budget.wall_clock and self.now - self.status.start_time >= parse_duration(budget.wall_clock):
            return f"budget.wallClock of {budget.wall_clock} has passed"
        failed = self.status.trials.failed if self.status.trials else 0
        if budget.failed_trials is not None and failed >= budget.failed_trials:
            return f"budget.failedTrials of {budget.failed_trials} is reached"
        if (times := self._fruitless_preemptions()) >= MOST_PREEMPTIONS:
            return f"agents have left as preempted {times} times in a row, evicted by nobody, and no trial ended"
        return None

    def _fruitless_preemptions(self) -> int:
        """Agents that left as preempted since a trial last ended: one that always does would be handed out for ever.

        Those that Kubernetes evicted, or somebody deleted, are not among them.
        """
        agents, ended = self.status.agents or AgentsStatus(), results.ended(self.total)
        times = sum(pod.preempted_itself for pod in self.pods)
        if times > agents.preemptions_at_progress and ended > agents.trials_at_progress:
            agents = agents.model_copy(update={"preemptions_at_progress": times, "trials_at_progress": ended})
            self.update(agents=agents)
        return times - agents.preemptions_at_progress

    def stop(self, why: str) -> Plan[SweepRunStatus]:
        """A ceiling is reached: no more trials, agents leave now, results are kept."""
        self.settle_usage()
        self.stop_tracker()
        self.hold_jobs()
        waits = (self.status.active_agents or 0) > 0 or any(
            not job.suspended and not job.finished for job in self.observed.jobs
        )
        if waits:
            return self.progress("BudgetExhausted", f"{why}; the agents are leaving.", SOON)
        if not self._final():
            return self.progress("BudgetExhausted", f"{why}; reading the last results.", _READ_AGAIN)
        return self.finish("BudgetExhausted", why)

    def _final(self) -> bool:
        """Whether what the tracker has said is all there will be: read after the last agent left, with nothing running.

        Runs whose agents were killed the tracker gives up on after some time, which is not waited for without end.
        """
        if self.sweep is None or self.tracker.problem:
            return self.tracker.problem is None
        left = max((pod.finished_at for pod in self.pods if pod.finished_at), default=None)
        if left is None or self.now - left >= _GIVE_UP:
            return True
        return self.sweep.read_at > left + CLOCK_GRAIN and not self.counts.running

    def ended(self) -> bool:
        """Whether all trials of the stage have been, as far as the tracker has told."""
        if self.sweep is None or self.status.sweep is None or self.sweep.id != self.status.sweep.id:
            return False
        counts = self.counts
        if self.sweep.over:
            return counts.running == 0
        return counts.total >= self.cap and counts.running == 0 and counts.preempted == 0

    def finish(self, reason: str, why: str = "") -> Plan[SweepRunStatus]:
        """Ends the round: with its best run, promoted if that was asked for, or without a result."""
        self.stop_tracker()
        if self.adapting:
            return self.conclude(reason, why)
        counts, best = self.total, self.status.best_run
        tally = (
            f"{counts.succeeded} trials finished, {counts.failed} failed, {counts.stopped} stopped early"
            + (f", {counts.preempted} preempted" if counts.preempted else "")
            + (f"; {why}" if why else "")
        )
        if best is None:
            code = reason if reason == "BudgetExhausted" else "NoFinishedTrial"
            return self.fail(code, f"No trial finished with a value of {self.spec.metric.name}: {tally}.")
        if best.artifact is None:
            if waits := self.read([best.id]):
                return waits
            run = self.observed.results.runs[best.id]
            best = best.model_copy(update={"artifact": run.artifact if run else None})
            self.update(best_run=best)
        if waits := self.judge_specialists():
            return waits
        assert self.status.sweep is not None
        self.settle_usage()
        self.close_stages(why)
        self.update(sweep=self.status.sweep.model_copy(update={"trials": self.spec.cap}))
        if self.spec.promotion and (requeue := self.promote()) is not None:
            return self.await_registry(requeue)
        self.publish()
        gain = f", {best.relative_improvement:.1%} better than the baseline" if best.relative_improvement else ""
        message = f"Best {best.metric} {best.value:g}{gain}; {tally}.{self._specialists()}"
        self.status = lifecycle.complete(self.status, reason, message, self.generation, self.now)
        return self.done(SOON)

    def _specialists(self) -> str:
        if self.spec.specialise is None:
            return ""
        better = [entry.error_type for entry in self.status.specialised if entry.significant]
        if better:
            return f" Specialists that are better for their error type: {', '.join(better)}."
        return " No specialist is significantly better than the best run."
