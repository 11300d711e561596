"""The result: what every model scores, whether the demo's claims hold, and the summary for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune_demo.snapshot import Resource, holds

TRIALS = 8
BEST_BELOW_DEFAULT = 0.2
"""Least relative reduction of the word error rate, best run against default hyperparameters, that the demo claims."""


@dataclass(frozen=True)
class Scores:
    """One model on the held-out test set and the regression suite; rates are fractions, None is not known."""

    wer: float
    cer: float | None = None
    by_type: Mapping[str, float] = field(default_factory=dict)
    suite_wer: float | None = None


@dataclass(frozen=True)
class Outcome:
    """All that the demo found.

    Attributes:
        peak: Most trials that ran at the same time.
    """

    sweep: Resource
    job: Resource
    baseline: Scores
    default: Scores
    best: Scores
    promoted: Scores
    peak: int
    seconds: Mapping[str, float]

    def document(self) -> dict[str, Any]:
        """The summary as JSON."""
        return {
            "sweepRun": self.sweep,
            "finetuneJob": self.job,
            "wer": {
                "baseline": self.baseline.wer,
                "default": self.default.wer,
                "best": self.best.wer,
                "promoted": self.promoted.wer,
            },
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }

    def claims(self) -> list[tuple[str, bool]]:
        """What the demo claims to show, each with whether it did."""
        gain = 1 - self.best.wer / self.default.wer if self.default.wer else 0.0
        trials = self.sweep["status"]["trials"]
        return [
            (f"the sweep ran exactly {TRIALS} trials: {trials['total']}", trials["total"] == TRIALS),
            (f"at least two trials ran at the same time: {self.peak}", self.peak >= 2),
            (
                f"the best run's WER is at least {BEST_BELOW_DEFAULT:.0%} below the default one: {gain:.0%}",
                gain >= BEST_BELOW_DEFAULT,
            ),
            ("the promoted model's WER is below the baseline's", self.promoted.wer < self.baseline.wer),
            ("SweepRun and FinetuneJob are Complete", holds(self.sweep, "Complete") and holds(self.job, "Complete")),
            (f"the FinetuneJob's model is Promoted{self._objection()}", holds(self.job, "Promoted")),
        ]

    def _objection(self) -> str:
        """Why the model was not promoted; empty if it was."""
        promotion = self.job["status"].get("promotion", {})
        return "" if holds(self.job, "Promoted") else f": {promotion.get('state', 'no')} {promotion.get('reason', '')}"

    def table(self) -> Table:
        """The comparison, one row per model."""
        kinds = sorted({kind for scores in self._rows().values() for kind in scores.by_type})
        table = Table(
            title="Test set of the new voice (WER also by error type), WER of the known voices",
            box=SIMPLE_HEAD,
            padding=0,
            title_justify="left",
        )
        table.add_column("", no_wrap=True)
        for heading in ("WER", "CER", *kinds, "known voices"):
            table.add_column(heading, justify="right")
        for name, scores in self._rows().items():
            types = [_percent(scores.by_type.get(kind)) for kind in kinds]
            table.add_row(name, _percent(scores.wer), _percent(scores.cer), *types, _percent(scores.suite_wer))
        return table

    def _rows(self) -> dict[str, Scores]:
        return {
            "base model": self.baseline,
            "default hyperparameters": self.default,
            "best run of the sweep": self.best,
            "promoted model": self.promoted,
        }


def scores_of(summary: Mapping[str, Any], suite: str, *, baseline: bool = False) -> Scores:
    """Scores from a W&B run's summary.

    Args:
        summary: The run's summary, slashes in its keys.
        suite: Name of the regression suite.
        baseline: Take the untouched model's numbers, which each run has beside its own.
    """
    prefix = "test/baseline_" if baseline else "test/"
    types = f"{prefix}wer_by_type/"
    return Scores(
        wer=float(summary[f"{prefix}wer"]),
        cer=summary.get(f"{prefix}cer"),
        by_type={key.removeprefix(types): value for key, value in summary.items() if key.startswith(types)},
        suite_wer=summary.get(f"regression/{suite}/{'baseline_' if baseline else ''}wer"),
    )


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"
