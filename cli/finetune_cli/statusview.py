"""A resource's status as lines for people. Pure: a resource and the time in, text out."""

from __future__ import annotations

from datetime import datetime

from finetune_operator.api import FinetuneJob, SweepRun, SweepRunStatus
from finetune_operator.api.status import PromotionStatus, StageStatus

from finetune_cli import figures
from finetune_cli.progress import Progress
from finetune_cli.reasons import FIXES
from finetune_cli.resources import Resource

Line = tuple[str, str]


def state(resource: Resource) -> str:
    """One word: the reason of the condition that says most."""
    for kind in ("Failed", "Complete", "Suspended"):
        if resource.holds(kind):
            return kind
    ready = resource.condition("Ready")
    return ready.reason if ready and resource.observed else "Waiting for the operator"


def why(resource: Resource) -> str:
    """The sentence that answers `why is it not running?`, or says what is going on."""
    ready = resource.condition("Ready")
    if ready is None or not resource.observed:
        return "The operator has not looked at it yet; if this stays, run `finetune doctor`."
    return ready.message or ready.reason


def lines(resource: Resource, now: datetime, progress: Progress | None = None) -> list[Line]:
    """The whole view: label and text of each line."""
    out: list[Line] = [("State", state(resource)), ("Why", why(resource))]
    ready = resource.condition("Ready")
    if ready is not None and resource.observed and ready.reason in FIXES:
        out.append(("Fix", FIXES[ready.reason]))
    parsed = resource.parsed
    out += _sweep(parsed, now) if isinstance(parsed, SweepRun) else _job(parsed, now, progress)
    status = parsed.status
    if status.usage is not None:
        budget = parsed.spec.budget.gpu_hours if isinstance(parsed, SweepRun) else None
        spent = f"{float(status.usage.gpu_hours):.2f}"
        out.append(("GPU-hours", f"{spent} of {budget}" if budget else spent))
    if parsed.spec.promotion is not None and status.promotion is not None:
        out += promotion(status.promotion)
    return out


def _elapsed(start: datetime | None, end: datetime | None, now: datetime) -> str:
    return figures.duration((end or now) - start) if start else figures.ABSENT


def _sweep(parsed: SweepRun, now: datetime) -> list[Line]:
    spec, status = parsed.spec, parsed.status
    out: list[Line] = []
    if len(status.stages) > 1:
        out += [("Stages" if not place else "", _stage(stage)) for place, stage in enumerate(status.stages)]
    if status.sweep and status.sweep.url:
        out.append(("Sweep", status.sweep.url))
    trials = status.trials
    if trials is not None:
        ended = trials.succeeded + trials.failed + trials.stopped
        tally = f"{ended} of {spec.cap} ended"
        shown = ("running", "succeeded", "failed", "stopped", "preempted", "duplicates")
        counts = [f"{getattr(trials, name)} {name}" for name in shown if getattr(trials, name)]
        out.append(("Trials", f"{tally}: {', '.join(counts)}" if counts else tally))
        left = None if status.completion_time else figures.eta(status.start_time, now, ended, spec.cap)
        took = _elapsed(status.start_time, status.completion_time, now)
        out.append(("Time", f"{took}, about {figures.duration(left)} to go" if left is not None else took))
    if status.active_agents is not None and not status.completion_time:
        out.append(("Agents", f"{status.active_agents} of {spec.parallelism}"))
    if best := status.best_run:
        value = f"{best.metric} {figures.number(best.value)}"
        if best.baseline is not None:
            value += f" (baseline {figures.number(best.baseline)}, {figures.percent(best.relative_improvement)} better)"
        out += [("Best", f"{value}  run {best.id}"), ("", figures.settings(best.hyperparameters))]
    if status.estimate and not status.completion_time:
        out.append(("Estimate", status.estimate.message))
    return out + _outcomes(status)


def _stage(stage: StageStatus) -> str:
    """One stage: how far it is, and what it has found."""
    ended = stage.trials.succeeded + stage.trials.failed + stage.trials.stopped if stage.trials else 0
    text = f"{stage.name}: {stage.state}, {ended} of {stage.cap} trials"
    if stage.best is not None:
        text += f", best {figures.number(stage.best)}"
    return f"{text}, {stage.gpu_hours} GPU-hours" if float(stage.gpu_hours) else text


def _outcomes(status: SweepRunStatus) -> list[Line]:
    """Specialists and rounds of adaptation."""
    out: list[Line] = []
    for entry in status.specialised:
        verdict = f"{figures.percent(entry.relative_improvement)} better" if entry.significant else "no better"
        out.append(("Specialists" if not out else "", f"{entry.error_type}: run {entry.run}, {verdict} than the best"))
    if status.continuous:
        seen = status.continuous.observed_error_cases
        out.append(("Dataset", f"{seen} error cases" if seen is not None else status.continuous.message))
        out += [("", f"round {each.round}: {each.reason or 'running'}") for each in status.continuous.rounds[-3:]]
    return out


def _job(parsed: FinetuneJob, now: datetime, progress: Progress | None) -> list[Line]:
    status = parsed.status
    out: list[Line] = []
    if status.run and status.run.url:
        out.append(("Run", status.run.url))
    if status.start_time:
        took = _elapsed(status.start_time, status.completion_time, now)
        left = f", about {figures.duration(progress.left(now))} of training to go" if progress else ""
        out.append(("Time", took + left))
    if progress:
        out.append(("Trained", figures.percent(progress.share, 0)))
    if status.attempts:
        out.append(("Attempt", f"{status.attempts}" + (f" (Job {status.job_name})" if status.job_name else "")))
    if status.hyperparameters:
        out.append(("Settings", figures.settings(status.hyperparameters)))
    if status.failure and not status.metrics:
        out.append(("Failure", f"{status.failure.failure_class}: {status.failure.message}"))
    if status.metrics and status.metrics.wer is not None:
        out += metrics(parsed)
    return out


def metrics(parsed: FinetuneJob) -> list[Line]:
    """Scores on the held-out test set, and the regression suites."""
    scores, suites = parsed.status.metrics, parsed.status.regression
    if scores is None:
        return []
    text = f"{figures.percent(scores.wer)} (baseline {figures.percent(scores.baseline_wer)}"
    text += f", {figures.percent(scores.relative_improvement)} better"
    text += f", p = {scores.p_value:.3g})" if scores.p_value is not None else ")"
    out = [("WER", text), ("CER", f"{figures.percent(scores.cer)} (baseline {figures.percent(scores.baseline_cer)})")]
    if suites is not None and suites.total:
        out.append(("Regression", f"{suites.passed} of {suites.total} suites passed"))
    return out


def promotion(status: PromotionStatus) -> list[Line]:
    """State of the promotion and the verdict of each gate."""
    what = status.state + (f" {status.version}" if status.version else "")
    out = [("Promotion", f"{what}: {status.reason}" if status.reason else what)]
    for gate in status.gates:
        mark = "passed" if gate.passed else "MISSED"
        out.append(("", f"{mark}  {gate.name}: {figures.number(gate.value)}, bound {figures.number(gate.threshold)}"))
    return out


def text(resource: Resource, now: datetime, progress: Progress | None = None) -> str:
    """The view as plain text."""
    rows = lines(resource, now, progress)
    width = max(len(label) for label, _ in rows)
    head = f"{resource.label} in {resource.namespace}"
    return "\n".join([head, *(f"  {label.ljust(width)}  {value}".rstrip() for label, value in rows)])
