"""The part of a SweepRun's plan that is about specialists: the best configuration for each error type. Pure."""

from __future__ import annotations

from finetune_operator import results
from finetune_operator.actions import Plan
from finetune_operator.api import SweepRunStatus
from finetune_operator.api.status import SpecialisedRun
from finetune_operator.plan_promotion import PromotionPlanner
from finetune_operator.search import specialise

_MOST_TYPES = 16
_SIGNIFICANCE = 0.05


class SpecialistsPlanner(PromotionPlanner):
    """One best configuration per error type beside the general one."""

    @property
    def significance(self) -> float:
        """Largest p-value that counts."""
        return float(self.spec.promotion.gates.significance) if self.spec.promotion else _SIGNIFICANCE

    def measure(self) -> None:
        """Also ranks the trials for each error type."""
        super().measure()
        best = self.status.best_run
        if self.spec.specialise is None or self.adapting or not self.sweep_known or best is None:
            return
        ordered = results.ranked(self.own_runs, self.spec.metric)
        runs = {run.id: run for run in ordered}
        rates = {run.id: results.rates_by_type(run) for run in ordered}
        before = {entry.run: entry for entry in self.status.specialised if entry.run not in runs}
        for entry in self.status.specialised:  # chosen in an earlier stage, whose runs are not at hand any more
            if entry.run in before:
                rates.setdefault(entry.run, {})[entry.error_type] = entry.value
        chosen = specialise.choose(best.id, rates)
        swept = sorted(self.stage.parameters)
        settings = {run.id: {key: run.config[key] for key in swept if key in run.config} for run in ordered}
        settings |= {run: entry.hyperparameters for run, entry in before.items()}
        self.update(
            specialised=tuple(
                SpecialisedRun(
                    error_type=kind,
                    run=run,
                    url=self.run_url(run),
                    value=round(rates[run][kind], 6),
                    hyperparameters=settings[run],
                )
                for kind, run in list(chosen.items())[:_MOST_TYPES]
            )
        )

    def judge_specialists(self) -> Plan[SweepRunStatus] | None:
        """Holds each specialist against the general best run on the test set; None once that is done."""
        best, entries = self.status.best_run, self.status.specialised
        if self.spec.specialise is None or best is None or not entries:
            return None
        if waits := self.read([best.id, *(entry.run for entry in entries)]):
            return waits
        found = {
            run: results.utterances_by_type(facts) if facts is not None else {}
            for run, facts in self.observed.results.runs.items()
        }
        others = {entry.error_type: found[entry.run] for entry in entries if entry.run != best.id}
        verdicts = specialise.judge(found[best.id], others, self.significance)
        self.update(
            specialised=tuple(
                entry.model_copy(update=_numbers(verdicts[entry.error_type])) if entry.error_type in verdicts else entry
                for entry in entries
            )
        )
        return None


def _numbers(verdict: specialise.Verdict) -> dict[str, float | bool | None]:
    return {
        "wer": results.rounded(verdict.wer),
        "general_wer": results.rounded(verdict.general_wer),
        "relative_improvement": results.rounded(verdict.relative_improvement),
        "p_value": results.rounded(verdict.p_value),
        "significant": verdict.significant,
    }
