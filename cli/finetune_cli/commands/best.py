"""`finetune best`."""

from __future__ import annotations

from typing import Any

import click
from finetune_operator.api import SweepRun

from finetune_cli import figures, options, output, resources, statusview
from finetune_cli.cluster import Cluster
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource


def document(resource: Resource) -> dict[str, Any]:
    """The best result as one document: run, scores, hyperparameters, artifact.

    Raises:
        CliError: There is no result yet.
    """
    parsed, status = resource.parsed, resource.raw.get("status") or {}
    promotion = {"promotion": status["promotion"]} if status.get("promotion") else {}
    if isinstance(parsed, SweepRun):
        if parsed.status.best_run is None:
            raise _nothing(resource)
        return {"kind": resource.kind, "name": resource.name, **status["bestRun"], **promotion}
    if parsed.status.metrics is None:
        raise _nothing(resource)
    keys = ("run", "metrics", "errorTypes", "regression", "hyperparameters", "artifact")
    return {"kind": resource.kind, "name": resource.name, **{k: status[k] for k in keys if k in status}, **promotion}


def text(resource: Resource) -> str:
    """The same for people."""
    found, parsed = document(resource), resource.parsed
    rows: list[tuple[str, str]] = []
    if isinstance(parsed, SweepRun):
        best = parsed.status.best_run
        assert best is not None
        rows += [("Run", f"{best.id}  {best.url}".rstrip()), (best.metric, figures.number(best.value))]
        if best.baseline is not None:
            rows += [
                ("Baseline", f"{figures.number(best.baseline)} ({figures.percent(best.relative_improvement)} better)")
            ]
        if (test := best.test) is not None:
            chance = f", p = {test.p_value:.3g}" if test.p_value is not None else ""
            gain = figures.percent(test.relative_improvement)
            rows.append(
                (
                    "Test WER",
                    f"{figures.percent(test.wer)} "
                    f"(baseline {figures.percent(test.baseline_wer)}, {gain} better{chance})",
                )
            )
            if test.suites_total:
                rows.append(("Regression", f"{test.suites_passed} of {test.suites_total} suites passed"))
    else:
        rows += [("Run", (found.get("run") or {}).get("id", figures.ABSENT)), *statusview.metrics(parsed)]
    rows += [(key, figures.number(value)) for key, value in sorted((found.get("hyperparameters") or {}).items())]
    if found.get("artifact"):
        rows.append(("Artifact", found["artifact"]))
    if parsed.status.promotion is not None:
        rows += statusview.promotion(parsed.status.promotion)
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label.ljust(width)}  {value}" for label, value in rows)


def _nothing(resource: Resource) -> CliError:
    message = f"{resource.label} has no result yet ({statusview.state(resource)}: {statusview.why(resource)})"
    return CliError(message, ExitCode.NOT_FOUND, f"wait for it with `finetune watch {resource.label}`")


@click.command("best")
@options.reference_argument
@options.cluster_options
@options.output_option
def command(reference: str, cluster: Cluster, style: str | None) -> None:
    """The best run of a SweepRun, or the result of a FinetuneJob: scores, hyperparameters, artifact, promotion.

    While a sweep runs it is the best so far. `-o yaml` gives what a FinetuneJob's spec.hyperparameters takes.
    """
    resource = resources.find(cluster, reference)
    if style is not None:
        output.emit(document(resource), style)
    else:
        click.echo(text(resource))
