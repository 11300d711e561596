"""The part of a SweepRun's plan that takes its result into service: promotion, and the ConfigMap. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from finetune_operator import jobs, lifecycle, promotion
from finetune_operator.actions import Apply
from finetune_operator.api.status import BestRun, SpecialisedRun, TestScores
from finetune_operator.sweep_planner import SweepPlanner


class PromotionPlanner(SweepPlanner):
    """From the best run to what is in service."""

    def promote(self) -> timedelta | None:
        """Takes the promotion one step on; returns when to look again, None when it needs nothing more by itself."""
        best = self.status.best_run
        assert best is not None
        assert self.spec.promotion is not None
        candidate = promotion.Candidate(best.id, best.artifact)
        decided = self.judge(self.spec.promotion, candidate, self._evidence(best))
        if decided.news and lifecycle.finished(self.status):
            self.publish()
        return decided.requeue

    def passes(self, run: BestRun) -> bool:
        """Whether a run meets all gates of the promotion, if there is any."""
        rule = self.spec.promotion
        return rule is None or all(gate.passed for gate in promotion.evaluate(rule, self._evidence(run)))

    def _evidence(self, run: BestRun) -> promotion.Evidence:
        """What a run measured. A regression suite that was not measured has not passed."""
        scores = run.test or TestScores()
        return promotion.Evidence(
            scores.relative_improvement,
            scores.p_value,
            scores.suites_passed,
            max(scores.suites_total, len(self.trainer.regression_suites)),
            scores.worst_error_type_degradation,
        )

    def publish(self) -> None:
        """Writes the best configuration to the ConfigMap NAME-best, where other tools read it."""
        best = self.status.best_run
        assert best is not None
        data = {
            "hyperparameters.json": best.hyperparameters,
            "metric": best.metric,
            "value": f"{best.value:g}",
            "run": best.id,
            **({"artifact": best.artifact} if best.artifact else {}),
            **({"specialised.json": _specialists(self.status.specialised)} if self.status.specialised else {}),
            **({"promotion": self.status.promotion.state} if self.status.promotion else {}),
        }
        self.actions.append(Apply(jobs.best_config_map(self.observed.identity, data), optional=True))


def _specialists(entries: Iterable[SpecialisedRun]) -> dict[str, Any]:
    """The configurations that are better for their error type than the general one."""
    return {entry.error_type: entry.hyperparameters for entry in entries if entry.significant}
