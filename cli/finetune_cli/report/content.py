"""What a report says, drawn from a resource and its runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from finetune_operator.api import SweepRun
from markupsafe import Markup

from finetune_cli import statusview
from finetune_cli.report import svg
from finetune_cli.resources import Resource
from finetune_cli.tracker import Run
from finetune_cli.utterances import Utterance

CURVES = 6
"""Runs whose loss is drawn."""
WORST = 25
"""Utterances that are listed."""


@dataclass(frozen=True)
class Material:
    """What was read from the tracker.

    Attributes:
        runs: All trials, or the one run of a FinetuneJob.
        best: The run that the resource stands for.
        curves: Run name -> (step, loss).
        utterances: Of the best run's test set.
        missing: Why something is not there, for the reader.
    """

    runs: Sequence[Run] = ()
    best: Run | None = None
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    utterances: Sequence[Utterance] = ()
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The report's parts, ready to be laid out."""

    title: str
    namespace: str
    made_at: str
    lines: Sequence[tuple[str, str]]
    gates: Sequence[Any]
    history: Sequence[Any]
    hyperparameters: Mapping[str, Any]
    metric: str
    scatters: Sequence[tuple[str, Markup]]
    parallel: Markup
    losses: Markup
    error_types: Markup
    suites: Sequence[Mapping[str, Any]]
    worst: Sequence[Utterance]
    trials: Sequence[Run]
    swept: Sequence[str]
    best: Run | None
    spec: str
    missing: Sequence[str]


def build(resource: Resource, material: Material, spec: str, now: datetime) -> Report:
    """Draws the charts and picks what is shown."""
    parsed = resource.parsed
    sweep = isinstance(parsed, SweepRun)
    metric, minimise = "eval/wer", True
    if isinstance(parsed, SweepRun):
        metric, minimise = parsed.spec.metric.name, parsed.spec.metric.goal == "minimize"
    scored = [(run, value) for run in material.runs if (value := run.metric(metric)) is not None]
    keys = swept([run for run, _ in scored])
    promotion = parsed.status.promotion
    best = material.best
    return Report(
        title=resource.label,
        namespace=resource.namespace,
        made_at=f"{now:%Y-%m-%d %H:%M} UTC",
        lines=statusview.lines(resource, now),
        gates=promotion.gates if promotion else (),
        history=promotion.history if promotion else (),
        hyperparameters=hyperparameters(resource),
        metric=metric,
        scatters=[(key, chart) for key in keys if (chart := _scatter(scored, key, metric, best))] if sweep else [],
        parallel=svg.parallel([(run.config, value) for run, value in scored], keys, metric, minimise),
        losses=svg.lines(material.curves, "step", "train/loss"),
        error_types=svg.before_after(error_types(best), "WER by error type, before and after"),
        suites=suites(best),
        worst=worst(material.utterances),
        trials=sorted(material.runs, key=lambda run: _rank(run, metric, minimise)) if sweep else [],
        swept=keys,
        best=best,
        spec=spec,
        missing=material.missing,
    )


def worst(scored: Sequence[Utterance]) -> list[Utterance]:
    """Utterances with errors left, those that became worse first."""
    wrong = [utterance for utterance in scored if utterance.errors > 0]
    return sorted(wrong, key=lambda u: (u.errors - u.baseline_errors, u.errors), reverse=True)[:WORST]


def swept(runs: Sequence[Run]) -> list[str]:
    """Hyperparameters that differ between runs."""
    keys = sorted({key for run in runs for key, value in run.config.items() if not isinstance(value, dict | list)})
    return [key for key in keys if len({repr(run.config.get(key)) for run in runs}) > 1]


def hyperparameters(resource: Resource) -> dict[str, Any]:
    """Those of the result."""
    status = resource.parsed.status
    if isinstance(resource.parsed, SweepRun):
        best = resource.parsed.status.best_run
        return dict(best.hyperparameters) if best else {}
    return dict(getattr(status, "hyperparameters", None) or {})


def error_types(run: Run | None) -> list[tuple[str, float | None, float | None]]:
    """(type, WER before, WER after) as the trainer summarised them."""
    prefix = "test/wer_by_type/"
    kinds = sorted(key.removeprefix(prefix) for key in (run.summary if run else {}) if key.startswith(prefix))
    return [(k, run.metric(f"test/baseline_wer_by_type/{k}"), run.metric(prefix + k)) for k in kinds] if run else []


def suites(run: Run | None) -> list[dict[str, Any]]:
    """Each regression suite as the trainer summarised it."""
    names = sorted(
        key.split("/")[1]
        for key in (run.summary if run else {})
        if key.startswith("regression/") and key.endswith("/wer")
    )
    found = []
    for name in names:
        assert run is not None
        wer, baseline = run.metric(f"regression/{name}/wer"), run.metric(f"regression/{name}/baseline_wer")
        found.append(
            {
                "name": name,
                "wer": wer,
                "baseline": baseline,
                "passed": bool(run.summary.get(f"regression/{name}/passed", True)),
            }
        )
    return found


def _scatter(scored: Sequence[tuple[Run, float]], key: str, metric: str, best: Run | None) -> Markup:
    points: list[tuple[float, float, str]] = []
    mark = None
    for run, value in scored:
        x = run.config.get(key)
        if isinstance(x, int | float) and not isinstance(x, bool):
            if best is not None and run.id == best.id:
                mark = len(points)
            points.append((float(x), value, run.name))
    return svg.scatter(points, key, metric, mark)


def _rank(run: Run, metric: str, minimise: bool) -> tuple[bool, float]:
    value = run.metric(metric)
    return (value is None, 0.0 if value is None else value if minimise else -value)
