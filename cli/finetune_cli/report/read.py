"""Reads a report's material from the tracker; what cannot be read is told in the report, not an error."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files

import jinja2
import yaml
from finetune_operator.api import SweepRun

from finetune_cli import figures, utterances
from finetune_cli.cluster import Cluster
from finetune_cli.errors import CliError
from finetune_cli.report.content import CURVES, Material, build
from finetune_cli.resources import Resource
from finetune_cli.tracker import Run, Tracker


def material(cluster: Cluster, resource: Resource, tracker_url: str | None) -> Material:
    """Runs, loss curves and the best run's utterances."""
    try:
        return _read(resource, Tracker.of(cluster, resource, tracker_url))
    except CliError as error:
        fix = f" Fix: {error.fix}." if error.fix else ""
        return Material(missing=[f"Nothing could be read from the tracker: {error.message}.{fix}"])


def _read(resource: Resource, tracker: Tracker) -> Material:
    parsed = resource.parsed
    if isinstance(parsed, SweepRun):
        sweep = parsed.status.sweep
        runs = tracker.runs(sweep.id) if sweep and sweep.id else []
        wanted = parsed.status.best_run.id if parsed.status.best_run else None
    else:
        wanted = parsed.status.run.id if parsed.status.run else None
        runs = [tracker.run(wanted)] if wanted else []
    best = next((run for run in runs if run.id == wanted), None)
    missing = [] if runs else ["There is no run yet."]
    scored: list[utterances.Utterance] = []
    if best is not None:
        scored = utterances.parse(tracker.table(best, utterances.KEY).records())
        if not scored:
            missing.append("The best run has logged no table of utterances.")
    drawn: list[Run] = [*([best] if best else []), *(run for run in runs if run is not best)][:CURVES]
    curves = {run.name: _curve(tracker, run) for run in drawn}
    return Material(runs, best, curves, scored, missing)


def _curve(tracker: Tracker, run: Run) -> list[tuple[float, float]]:
    points = tracker.history(run.id, ["train/loss", "train/step"], samples=200)
    return [(float(p["train/step"]), float(p["train/loss"])) for p in points if "train/loss" in p and "train/step" in p]


def page(resource: Resource, found: Material) -> str:
    """The HTML."""
    spec = {key: resource.raw[key] for key in ("apiVersion", "kind", "metadata", "spec")}
    spec["metadata"] = {key: spec["metadata"][key] for key in ("name", "namespace")}
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    report = build(resource, found, text, datetime.now(UTC))
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"percent": figures.percent, "number": figures.number}
    template = files("finetune_cli.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(report=report)
