"""What the parts of a SweepRun's plan share: the sweep as observed, its counts, its end."""

from __future__ import annotations

from finetune_operator import lifecycle, results, sweepconfig
from finetune_operator.actions import Plan, SetSweepState
from finetune_operator.api import SweepRun, SweepRunStatus
from finetune_operator.api.status import TrialCounts
from finetune_operator.observed import Observed
from finetune_operator.planning import SOON, Planner


class SweepPlanner(Planner[SweepRun, SweepRunStatus]):
    """One planning pass over one SweepRun."""

    def __init__(self, observed: Observed[SweepRun]) -> None:
        super().__init__(observed, observed.resource.status)
        self.spec = observed.resource.spec
        self.tracker = observed.tracker
        self.sweep = observed.tracker.sweep

    @property
    def reserved(self) -> str:
        """A sentence about fields that this version accepts and does not carry out; nothing is ignored in silence."""
        given = [name for name in ("stages", "specialise", "continuous") if getattr(self.spec, name)]
        return f" Not carried out by this version: spec.{', spec.'.join(given)}." if given else ""

    @property
    def counts(self) -> TrialCounts:
        """Trials by state."""
        return self.status.trials or TrialCounts()

    @property
    def sweep_known(self) -> bool:
        """Whether the tracker's state of this round's sweep has been read."""
        return self.sweep is not None and self.status.sweep is not None and self.sweep.id == self.status.sweep.id

    def measure(self) -> None:
        """Counts, best run, cost: what the status says whatever happens next."""
        self.measure_usage()
        self.update(active_agents=sum(pod.active and not pod.deleting for pod in self.pods))
        if not self.sweep_known:
            return
        assert self.sweep is not None
        assert self.status.sweep is not None
        swept = sweepconfig.parameters(self.spec)
        best = results.best(self.sweep.runs, self.spec.metric)
        url = self.sweep.url.replace(f"/sweeps/{self.sweep.id}", f"/runs/{best.id}") if best else ""
        described = results.describe(best, self.spec.metric, swept, url) if best else None
        if described and self.status.best_run and self.status.best_run.id == described.id:
            described = described.model_copy(update={"artifact": self.status.best_run.artifact})
        self.update(
            sweep=self.status.sweep.model_copy(update={"url": self.sweep.url}),
            trials=results.count(self.sweep.runs, swept),
            best_run=described,
        )

    def stop_tracker(self, state: str = "FINISHED") -> None:
        """Sees to it that the tracker hands out no more trials."""
        if self.sweep is not None and not self.sweep.over and self.tracker.problem is None:
            self.actions.append(SetSweepState(self.sweep.id, state))

    def fail(self, reason: str, message: str) -> Plan[SweepRunStatus]:
        """Ends the round without a result."""
        self.stop_tracker("FINISHED")
        self.hold_jobs()
        if self.status.sweep is not None:
            self.update(sweep=self.status.sweep.model_copy(update={"trials": self.spec.trials}))
        self.update(usage=self.usage)
        self.status = lifecycle.failed(self.status, reason, message, self.generation, self.now)
        return self.done(SOON)
