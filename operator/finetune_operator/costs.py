"""What a round is expected to cost, and what its early ends have saved, as the status says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from finetune_operator.api import SweepRunSpec, SweepRunStatus, presets
from finetune_operator.api.status import Estimate, Savings, StageStatus
from finetune_operator.facts import RunFacts
from finetune_operator.results import ended
from finetune_operator.search import cost
from finetune_operator.stages import Stage

_ASSUMED_CASES = 1000


def number(value: float) -> str:
    """A cost as a decimal string without digits that mean nothing."""
    if value < 1:
        return f"{value:.2g}" if value >= 1e-4 else "0"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 100 else f"{value:.0f}"


def estimate(
    spec: SweepRunSpec, stages: Sequence[Stage], cap: int, status: SweepRunStatus, cases: int | None
) -> Estimate:
    """What the round is expected to cost: by the trials that have ended, before that by the size of the model.

    Args:
        spec: The search.
        stages: Its stages, or those of an adaptation.
        cap: Trials of the round.
        status: How far it is.
        cases: Error cases of the dataset, if they are known.
    """
    trials = min(cap, sum(stage.trials for stage in stages))
    if not spec.trainer.resources.gpus:
        return Estimate(trials=trials, gpu_hours="0", message=f"{trials} trials, which ask for no GPU.")
    done, spent = ended(status.trials) if status.trials else 0, float(status.usage.gpu_hours) if status.usage else 0.0
    if done and spent:
        hours = number(spent / done * max(trials, done))
        pace = number(spent / done)
        message = f"About {hours} GPU-hours for {trials} trials, at the {pace} each that {done} have taken."
        return Estimate(trials=trials, gpu_hours=hours, basis="Measured", message=message)
    model = spec.trainer.model.name
    least = spec.trainer.dataset.min_error_cases
    utterances = cases or (least if least > 1 else _ASSUMED_CASES)
    source = "counted" if cases else "dataset.minErrorCases" if least > 1 else "assumed"
    training = utterances * spec.trainer.dataset.split.train
    each = [
        cost.gpu_hours_per_trial(model, presets.family(model), cost.mean_epochs(stage.parameters), training)
        for stage in stages
    ]
    epochs = sum(cost.mean_epochs(stage.parameters) * stage.trials for stage in stages) / sum(s.trials for s in stages)
    what = f"{trials} trials of about {epochs:.3g} epochs over {utterances} error cases ({source})"
    if None in each:
        message = f"{what}; GPU-hours are known once a trial has ended, as the model's name does not tell its size."
        return Estimate(trials=trials, message=message)
    left, total = trials, 0.0
    for stage, per_trial in zip(stages, each, strict=True):
        total += (per_trial or 0.0) * min(stage.trials, left)
        left -= min(stage.trials, left)
    message = f"About {number(total)} GPU-hours: {what}, on a GPU of an A100's kind; right within a small factor."
    return Estimate(trials=trials, gpu_hours=number(total), message=message)


def savings(stopped: Iterable[RunFacts], skipped: int, stage: StageStatus, gpus: int) -> Savings | None:
    """What a stage's early ends have saved; None when it had none.

    Args:
        stopped: Runs that were stopped before their time.
        skipped: Trials that were not begun.
        stage: Status of the stage: its cost and its trials.
        gpus: GPUs of a trial.
    """
    runs = [(run.config, run.metric("train/epoch"), run.metric("_runtime")) for run in stopped]
    found = cost.saving(runs)
    if not found.trials and not skipped:
        return None
    done = ended(stage.trials) if stage.trials else 0
    each = float(stage.gpu_hours) / done if done else 0.0
    return Savings(
        stopped_trials=found.trials,
        epochs=number(found.epochs),
        skipped_trials=skipped,
        gpu_hours=number(found.seconds * gpus / 3600 + skipped * each),
    )
