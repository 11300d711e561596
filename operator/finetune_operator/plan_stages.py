"""The part of a SweepRun's plan that is about stages: when one ends, and what the next one takes over. Pure."""

from __future__ import annotations

from datetime import timedelta

from finetune_operator import names, results, stages, sweepconfig
from finetune_operator.actions import CreateSweep, DeleteJob, Plan, SetFinalizer
from finetune_operator.api import SweepRunStatus
from finetune_operator.api.status import SweepStatus
from finetune_operator.api.sweeprun import AgentsStatus
from finetune_operator.planning import SOON
from finetune_operator.search import ending
from finetune_operator.sweep_planner import SweepPlanner, tally

_DRAIN = timedelta(seconds=60)
"""Agents have this long to leave an ended stage, then they are stopped."""
_UNDER_WAY = timedelta(seconds=10)
"""A tracker may take this long to carry out a request of an operator that has died since."""


class StagesPlanner(SweepPlanner):
    """From one stage to the next."""

    def create_sweep(self) -> Plan[SweepRunStatus]:
        """Creates the sweep of the current stage, or finds the one that was created before a crash."""
        if not self.observed.finalizer:
            self.actions.append(SetFinalizer(present=True))
        config = sweepconfig.build(self.spec, self.stage, self._title(), self.token)
        intended, leads_since = self.stage_status.start_time or self.status.start_time, self.observed.leads_since
        inherited = intended is None or intended < leads_since
        early = inherited and self.now - leads_since < _UNDER_WAY
        self.actions.append(CreateSweep(config, self.token, self.stage_status.prior_runs, only_find=early))
        if not early:
            self.update_stage(start_time=self.stage_status.start_time or self.now)
        return self.done(SOON)

    def take_sweep(self) -> None:
        """Takes note of the sweep that this reconcile has found or created, if it is that of the current stage."""
        made = self.observed.results
        current = self.status.sweep or SweepStatus()
        if made.sweep_id is not None and made.sweep_token == self.token and current.id is None:
            self.update(sweep=current.model_copy(update={"id": made.sweep_id, "url": made.sweep_url}))
            self.update_stage(state="Running", sweep=made.sweep_id, url=made.sweep_url)

    @property
    def token(self) -> str:
        """Mark of the current stage's sweep."""
        assert self.status.round is not None
        return names.sweep_token(self.observed.identity.uid, self.status.round, self.index)

    @property
    def of_stage(self) -> str:
        """Which stage, as part of a sentence; nothing for a search that has one alone."""
        return f" of stage {self.stages[self.index].name}" if len(self.stages) > 1 else ""

    def _title(self) -> str:
        identity = self.observed.identity
        title = f"{identity.namespace}/{identity.name}"
        return f"{title} {self.stages[self.index].name}" if len(self.stages) > 1 else title

    def end_early(self) -> None:
        """Lets the tracker hand out no more trials when those that are left are expected to gain too little."""
        if not self.sweep_known or self.sweep is None or self.sweep.over or self.tracker.problem is not None:
            return
        threshold, counts = self.stage.min_expected_gain, self.counts
        values = [run.metric(self.spec.metric.name) for run in results.ranked(self.own_runs, self.spec.metric)]
        remaining = self.cap - results.ended(counts)
        known = [value for value in values if value is not None]
        if ending.exhausted(known, remaining, threshold, self.spec.metric.goal):
            gain = ending.expected_gain(known, remaining, self.spec.metric.goal) or 0.0
            self.stop_tracker()
            reason = f"The {remaining} trials left were expected to gain {gain:.2%}, less than {threshold:.2%}."
            self.update_stage(reason=reason)

    def next_stage(self) -> Plan[SweepRunStatus] | None:
        """Goes on to the next stage once the agents have left; None when there is none."""
        following = self.index + 1
        known = self.status.stages[:following]
        if following == len(self.stages) or not stages.cap(self.stages, following, self.round_cap, known):
            return None
        self.resumed = True  # an ended sweep has nothing to be resumed
        self.stop_tracker()
        ended = self.stage_status.completion_time or self.now
        self.update_stage(
            state="Complete", completion_time=ended, reason=self.stage_status.reason or tally(self.counts)
        )
        staying = [job for job in self.jobs if not job.finished and not job.suspended]
        if staying or self.status.active_agents:
            if self.now - ended >= _DRAIN:
                self.hold_jobs()
            message = f"Stage {self.stages[self.index].name} has ended; its agents are leaving."
            return self.progress("StageEnding", message, SOON)
        self._begin(following)
        return self.progress("StageStarting", f"Stage {self.stages[self.index].name} begins.", timedelta())

    def drop_ended_agents(self) -> bool:
        """Deletes the Jobs of earlier stages whose agents had to be stopped; tells whether there are any still."""
        doomed = [job for job in self.jobs if job.stage < self.index and not job.finished]
        self.actions.extend(DeleteJob(job.name) for job in doomed if not job.deleting)
        return bool(doomed)

    def _begin(self, place: int) -> None:
        """Records the next stage with all that it takes over, before anything is done for it."""
        ordered = results.ranked(self.own_runs, self.spec.metric)
        best, previous = self.status.best_run, self.stage.parameters
        older = best is not None and best.id not in {run.id for run in ordered}
        first = best.hyperparameters if best is not None and older else None
        searched, seeds = stages.following(self.stages[place], previous, ordered, first)
        self.settle_usage()
        self.update(sweep=SweepStatus(stage=place), agents=AgentsStatus(), attempts=(self.status.attempts or 0) + 1)
        self.update_stage(
            parameters=searched if self.stages[place].refine else {},
            prior_runs=seeds,
            start_time=self.now,
            cap=self.cap,
        )
