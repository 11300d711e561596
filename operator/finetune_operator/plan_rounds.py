"""The part of a SweepRun's plan that is about continuous adaptation: rounds as the data grows. Pure."""

from __future__ import annotations

from datetime import timedelta

from finetune_operator import lifecycle, results
from finetune_operator.actions import Plan
from finetune_operator.api import SweepRunStatus
from finetune_operator.api.status import AdaptationRound, BestRun, ContinuousStatus
from finetune_operator.api.sweeprun import ContinuousSpec
from finetune_operator.facts import RunFacts
from finetune_operator.plan_specialise import SpecialistsPlanner
from finetune_operator.planning import SOON
from finetune_operator.search import rounds
from finetune_operator.search.significance import Utterances

WATCH_EVERY = timedelta(seconds=60)
"""The dataset of a finished search is looked at this often."""
_MOST_ROUNDS = 10
_REPLACED = "a better configuration replaces that in service"
_RETRAINED = "the configuration in service stays, with the model that it gives on the grown data"
_STAYS = "configuration and model in service stay"


class RoundsPlanner(SpecialistsPlanner):
    """When a round of adaptation is due, and what comes of it."""

    @property
    def continuous(self) -> ContinuousStatus:
        """Where continuous adaptation stands."""
        return self.status.continuous or ContinuousStatus()

    def watch_dataset(self) -> bool:
        """Takes note of the dataset as it is now; tells whether a round of adaptation is due."""
        spec, seen = self.spec.continuous, self.observed.dataset
        if spec is None or seen is None:
            return False
        state = self.continuous.model_copy(
            update={"observed_error_cases": seen.cases, "version": seen.version, "message": seen.problem or ""}
        )
        shrunk = seen.cases is not None and seen.cases < (state.error_cases or 0)
        if state.error_cases is None or shrunk:  # counted from here on
            state = state.model_copy(update={"error_cases": seen.cases})
        self.update(continuous=state)
        due = rounds.due(seen.cases, state.error_cases, spec.new_error_cases)
        return due and self.status.best_run is not None and not self.spec.suspend

    def open_round(self, number: int) -> ContinuousStatus:
        """The status of continuous adaptation at the beginning of its next round."""
        state, seen = self.continuous, self.observed.dataset
        assert seen is not None
        assert seen.cases is not None
        record = AdaptationRound(
            round=number,
            error_cases=seen.cases,
            new_error_cases=seen.cases - (state.error_cases or 0),
            start_time=self.now,
        )
        kept = (*state.rounds, record)[-_MOST_ROUNDS:]
        return state.model_copy(update={"active": True, "error_cases": seen.cases, "rounds": kept})

    def conclude(self, reason: str, why: str) -> Plan[SweepRunStatus]:
        """Ends a round of adaptation: the challenger replaces the configuration in service, or that stays.

        A configuration that stays has been trained on the grown data meanwhile, and that model takes the place of the
        one trained on less; not if the gates of the promotion refuse it.
        """
        first, second = (stage.best_run for stage in self.status.stages[:2])
        if waits := self.read(run for run in (first, second) if run is not None):
            return waits
        read = self.observed.results.runs
        incumbent, challenger = read.get(first or ""), read.get(second or "")
        metric, spec = self.spec.metric, self.spec.continuous or ContinuousSpec(new_error_cases=1)
        verdict = rounds.judge(
            incumbent.metric(metric.name) if incumbent else None,
            challenger.metric(metric.name) if challenger else None,
            results.utterances(incumbent) if incumbent else Utterances(),
            results.utterances(challenger) if challenger else Utterances(),
            min_improvement=float(spec.min_improvement),
            significance=self.significance,
            goal=metric.goal,
        )
        result = challenger if verdict.replaces else incumbent
        found = self._as_best(result) if result is not None and result.metric(metric.name) is not None else None
        taken = found is not None and (verdict.replaces or self.passes(found))
        if taken:
            self.update(best_run=found)
        self._close(
            incumbent=results.rounded(incumbent.metric(metric.name)) if incumbent else None,
            challenger=results.rounded(challenger.metric(metric.name)) if challenger else None,
            incumbent_run=incumbent.id if incumbent else None,
            run=challenger.id if challenger else None,
            relative_improvement=results.rounded(verdict.relative_improvement),
            p_value=results.rounded(verdict.p_value),
            replaced=verdict.replaces,
            reason=verdict.reason,
        )
        if taken and self.spec.promotion and (requeue := self.promote()) is not None:
            return self.await_registry(requeue)
        if taken:
            self.publish()
        outcome = _REPLACED if verdict.replaces else _RETRAINED if taken else _STAYS
        message = f"Adaptation to {self.continuous.error_cases} error cases: {outcome}. {verdict.reason}"
        return self._settle_round(reason, f"{message} {why}".strip())

    def _as_best(self, run: RunFacts) -> BestRun:
        swept = self.stages[-1].parameters
        best = results.describe(run, self.spec.metric, swept, self.run_url(run.id))
        return best.model_copy(update={"artifact": run.artifact})

    def keep(self, reason: str, why: str) -> Plan[SweepRunStatus]:
        """Ends a round of adaptation that brought no result: what is in service stays, and the resource complete."""
        self._close(reason=f"{reason}: {why}"[:512])
        return self._settle_round("AdaptationFailed", f"The configuration in service stays. {reason}: {why}")

    def fail(self, reason: str, message: str) -> Plan[SweepRunStatus]:
        """Ends the round without a result; after a failed adaptation what is in service stays there."""
        if not self.adapting:
            return super().fail(reason, message)
        self.stop_tracker()
        self.hold_jobs()
        return self.keep(reason, message)

    def _close(self, **fields: object) -> None:
        self.settle_usage()
        known = {
            "completion_time": self.now,
            "trials": self.total.total,
            "gpu_hours": self.status.usage.gpu_hours if self.status.usage else "0",
        }
        record = self.continuous.rounds[-1].model_copy(update=known | fields)
        self.update(continuous=self.continuous.model_copy(update={"rounds": (*self.continuous.rounds[:-1], record)}))

    def _settle_round(self, reason: str, message: str) -> Plan[SweepRunStatus]:
        self.stop_tracker()
        self.close_stages()
        if self.status.sweep is not None:
            self.update(sweep=self.status.sweep.model_copy(update={"trials": self.spec.cap}))
        self.update(continuous=self.continuous.model_copy(update={"active": False}))
        self.status = lifecycle.complete(self.status, reason, message, self.generation, self.now)
        return self.done(SOON)
