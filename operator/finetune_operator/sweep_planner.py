"""What the parts of a SweepRun's plan share: its stages, the sweep as observed, its counts, its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from finetune_operator import costs, lifecycle, results, stages
from finetune_operator.actions import Plan, ReadRun, SetSweepState
from finetune_operator.api import SweepRun, SweepRunStatus
from finetune_operator.api.status import BestRun, Savings, StageStatus, TrialCounts
from finetune_operator.facts import RunFacts, RunState
from finetune_operator.observed import Observed
from finetune_operator.planning import RETRY, SOON, Planner
from finetune_operator.search import ending
from finetune_operator.stages import Stage


def tally(counts: TrialCounts | None) -> str:
    """How trials have ended, in a sentence."""
    trials = counts or TrialCounts()
    return f"{trials.succeeded} trials finished, {trials.failed} failed, {trials.stopped} stopped early."


class SweepPlanner(Planner[SweepRun, SweepRunStatus]):
    """One planning pass over one SweepRun."""

    def __init__(self, observed: Observed[SweepRun]) -> None:
        super().__init__(observed, observed.resource.status)
        self.spec = observed.resource.spec
        self.tracker = observed.tracker
        self.sweep = observed.tracker.sweep
        state = self.status.continuous
        self.adapting = state is not None and state.active
        in_service = self.status.best_run.hyperparameters if self.status.best_run else {}
        self.stages = stages.adaptation(self.spec, in_service) if self.adapting else stages.of(self.spec)
        self.round_cap = sum(stage.trials for stage in self.stages) if self.adapting else self.spec.cap

    # -- the current stage ---------------------------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """Number of the current stage, from 0."""
        return min(self.status.sweep.stage, len(self.stages) - 1) if self.status.sweep else 0

    @property
    def stage(self) -> Stage:
        """The current stage as it is searched: narrowed, and within what the cap has left."""
        narrowed = self.stage_status.parameters
        stage = self.stages[self.index]
        return replace(stage, trials=self.cap, parameters=narrowed or stage.parameters)

    @property
    def cap(self) -> int:
        """Trials that the current stage may run."""
        return stages.cap(self.stages, self.index, self.round_cap, self.status.stages[: self.index])

    @property
    def stage_status(self) -> StageStatus:
        """Status of the current stage."""
        known = self.status.stages
        return known[self.index] if self.index < len(known) else stages.initial(self.stages)[self.index]

    def update_stage(self, **fields: Any) -> None:
        """Sets fields of the current stage's status."""
        known = self.status.stages or stages.initial(self.stages)
        current = known[self.index].model_copy(update=fields)
        self.update(stages=(*known[: self.index], current, *known[self.index + 1 :]))

    @property
    def counts(self) -> TrialCounts:
        """Trials of the current stage by state."""
        return self.stage_status.trials or TrialCounts()

    @property
    def total(self) -> TrialCounts:
        """Trials of all stages by state."""
        return self.status.trials or TrialCounts()

    @property
    def sweep_known(self) -> bool:
        """Whether the tracker's state of this stage's sweep has been read."""
        return self.sweep is not None and self.status.sweep is not None and self.sweep.id == self.status.sweep.id

    @property
    def own_runs(self) -> list[RunFacts]:
        """The runs of this stage's sweep, without those of earlier stages that seeded it."""
        seeds = set(self.stage_status.prior_runs)
        return [run for run in self.sweep.runs if run.id not in seeds] if self.sweep is not None else []

    # -- what the status says whatever happens next --------------------------------------------------------------------

    def measure(self) -> None:
        """Counts, best run, cost."""
        self.measure_usage()
        self.update(active_agents=sum(pod.active and not pod.deleting for pod in self.pods))
        self._share_usage()
        self.update_stage(cap=self.cap)
        self.estimate()
        if not self.sweep_known:
            return
        assert self.sweep is not None
        assert self.status.sweep is not None
        swept, ordered = self.stage.parameters, results.ranked(self.own_runs, self.spec.metric)
        values = [value for run in ordered if (value := run.metric(self.spec.metric.name)) is not None]
        counts = results.count(self.own_runs, swept)
        gain = ending.expected_gain(values, max(0, self.cap - results.ended(counts)), self.spec.metric.goal)
        self.update(sweep=self.status.sweep.model_copy(update={"url": self.sweep.url}))
        self.update_stage(
            state="Running" if self.stage_status.completion_time is None else "Complete",
            sweep=self.sweep.id,
            url=self.sweep.url,
            trials=counts,
            best=round(values[0], 6) if values else None,
            best_run=ordered[0].id if ordered else None,
            expected_gain=round(gain, 4) if gain is not None else None,
        )
        self.update_stage(saved=self._saved())
        self.update(trials=results.total(stage.trials for stage in self.status.stages))
        if not self.adapting:  # what is in service stays named until the round's verdict
            self.update(best_run=self._best(ordered[0] if ordered else None))

    def settle_usage(self) -> None:
        """Writes down the cost up to now: the pods that it was counted from are about to go."""
        self.update(usage=self.usage)
        self._share_usage()

    def _share_usage(self) -> None:
        """The cost of this stage is what the round has cost, less the earlier stages: one has agents at a time."""
        if self.status.usage is not None:
            spent = sum(float(stage.gpu_hours) for stage in self.status.stages[: self.index])
            here = max(0.0, float(self.status.usage.gpu_hours) - spent)
            self.update_stage(gpu_hours=f"{here:.4f}".rstrip("0").rstrip("."))

    def estimate(self) -> None:
        """What the round is expected to cost."""
        cases = self.observed.dataset.cases if self.observed.dataset else None
        self.update(estimate=costs.estimate(self.spec, self.stages, self.round_cap, self.status, cases))

    def _saved(self) -> Savings | None:
        stopped = [run for run in self.own_runs if run.state in RunState.STOPPED]
        ended_early = self.stage_status.completion_time is not None or (self.sweep is not None and self.sweep.over)
        skipped = max(0, self.cap - self.counts.total) if ended_early else 0
        return costs.savings(stopped, skipped, self.stage_status, self.trainer.resources.gpus)

    def run_url(self, run: str) -> str:
        """Page of a run of the current sweep's project."""
        return self.sweep.url.replace(f"/sweeps/{self.sweep.id}", f"/runs/{run}") if self.sweep is not None else ""

    def read(self, wanted: Iterable[str]) -> Plan[SweepRunStatus] | None:
        """Sees to it that runs are read one by one, with all that they have logged; None once they are."""
        made = self.observed.results
        missing = [run for run in dict.fromkeys(wanted) if run not in made.runs]
        if not missing:
            return None
        if trouble := self.observed.credentials or made.problem:
            return self.progress(trouble.reason, trouble.message, RETRY)
        self.actions.extend(ReadRun(run) for run in missing)
        return self.done(SOON)

    def _best(self, found: RunFacts | None) -> BestRun | None:
        """The best run of all stages: that of this stage, or the one from before."""
        assert self.sweep is not None
        metric, before = self.spec.metric, self.status.best_run
        if self.index == 0 or (before is not None and before.id in {run.id for run in self.own_runs}):
            before = before if before is not None and found is not None and before.id == found.id else None
        if found is None:
            return before
        sign = 1 if metric.goal == "minimize" else -1
        value = found.metric(metric.name)
        assert value is not None
        if before is not None and before.id != found.id and sign * before.value <= sign * value:
            return before
        described = results.describe(found, metric, self.stage.parameters, self.run_url(found.id))
        if before is not None and before.id == described.id:
            described = described.model_copy(update={"artifact": before.artifact})
        return described

    # -- ends ----------------------------------------------------------------------------------------------------------

    def stop_tracker(self, state: str = "FINISHED") -> None:
        """Sees to it that the tracker hands out no more trials."""
        if self.sweep is not None and not self.sweep.over and self.tracker.problem is None:
            self.actions.append(SetSweepState(self.sweep.id, state))

    def close_stages(self, why: str = "") -> None:
        """Notes that the round is over for the current stage and later ones; `why`, if it was cut short."""
        known = self.status.stages or stages.initial(self.stages)
        self.update(
            stages=tuple(
                stage
                if place < self.index or stage.completion_time
                else stage.model_copy(
                    update={
                        "state": "Complete" if stage.sweep else "Skipped",
                        "reason": stage.reason or why or (tally(stage.trials) if stage.sweep else "No trial was left."),
                        "completion_time": self.now,
                    }
                )
                for place, stage in enumerate(known)
            )
        )

    def fail(self, reason: str, message: str) -> Plan[SweepRunStatus]:
        """Ends the round without a result."""
        self.stop_tracker("FINISHED")
        self.hold_jobs()
        if self.status.sweep is not None:
            self.update(sweep=self.status.sweep.model_copy(update={"trials": self.spec.cap}))
        self.settle_usage()
        self.close_stages(message)
        self.status = lifecycle.failed(self.status, reason, message, self.generation, self.now)
        return self.done(SOON)
