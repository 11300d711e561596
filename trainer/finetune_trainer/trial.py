"""One trial, end to end: train, evaluate, judge, report."""

from __future__ import annotations

import gc
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint import CheckpointStore
from .contract import RegressionCount, TrialMetrics, TrialResult
from .evaluation import Score, by_error_type, judge_suite, outcomes, paired_counts
from .gates import judge, pass_rate
from .hyperparameters import Hyperparameters
from .metrics import Bootstrap, count_operations, paired_bootstrap, relative_improvement
from .models import Base, merged
from .session import Session
from .tracking import Tracker
from .training import Progress, Training

log = logging.getLogger(__name__)


def run_trial(session: Session, values: Mapping[str, Any], tracker: Tracker) -> TrialResult:
    """Runs one trial; the tracker's run stays open, its end is the caller's.

    Args:
        session: The warm part of the process.
        values: Hyperparameters.
        tracker: Run of this trial; a `NullTracker` on all processes but the leader.

    Raises:
        TrialError: The trial has no result; the subclass says why.
    """
    began = time.monotonic()
    config, topology = session.config, session.topology
    hyperparameters = Hyperparameters.parse(values)
    model: Any = None
    try:
        base = session.base_for(hyperparameters)
        baseline = {name: session.baseline(name, precomputed=base.precomputed) for name in session.sets_to_score()}
        _report_inputs(session, tracker, baseline)
        session.precompute(base, session.sets["train"])
        model = base.build(hyperparameters, seed=config.seed).to(topology.device)
        store = None
        if config.checkpoints is not None and (tracker.run_id or topology.size > 1):
            run_id = topology.broadcast(tracker.run_id)
            store = CheckpointStore(
                config.checkpoints.path, str(run_id), session.fingerprint(hyperparameters.model_dump_json())
            )

        def report(progress: Progress) -> None:
            tracker.log(
                {
                    "train/loss": progress.loss,
                    "train/learning_rate": progress.learning_rate,
                    "train/epoch": progress.epoch,
                    "train/progress": progress.step / progress.total_steps,
                    "train/audio_seconds_per_second": progress.audio_seconds / max(progress.seconds, 1e-9),
                },
                step=progress.step,
            )

        validated: dict[int, Score] = {}
        before = _baseline_values(baseline["validation"])

        def validate(step: int, epoch: float) -> tuple[float, float]:
            validation = session.evaluate(model, "validation", with_loss=True, base=base)
            validated[step] = validation
            # The baseline at every epoch makes it a line beside the model's.
            tracker.log(_eval_values(validation) | before | {"train/epoch": epoch}, step=step)
            log.info("Epoch %.2f: validation WER %.4f.", epoch, validation.wer)
            # On a small set many epochs share a word error rate; the loss tells them apart.
            return validation.wer, validation.loss if validation.loss is not None else 0.0

        training = Training(
            model=model,
            base=base,
            examples=session.sets["train"],
            hyperparameters=hyperparameters,
            seed=config.seed,
            topology=topology,
            control=session.control,
            store=store,
            every_steps=config.checkpoints.every_steps if config.checkpoints else 200,
            on_progress=report,
            validate=validate,
        )
        last = training.run()
        trained = time.monotonic()
        assert training.best is not None
        chosen = training.best.step
        scores = {
            name: validated[chosen]
            if name == "validation" and chosen in validated
            else session.evaluate(model, name, with_loss=name == "validation", base=base)
            for name in session.sets_to_score()
        }
        evaluated = time.monotonic()
        result = judge_scores(session, scores, baseline)
        tracker.summarize(
            {
                **_eval_values(scores["validation"]),
                "eval/best_epoch": chosen / training.plan.steps_per_epoch,
                "duration/train_seconds": last.seconds if last else 0.0,
                "duration/evaluation_seconds": evaluated - trained,
                "train/total_steps": training.plan.total_steps,
            }
        )
        model = merged(model, base)
        if topology.leads:
            _report_result(session, tracker, result, scores, baseline)
            result = result.model_copy(
                update={"artifact": _keep_model(session, tracker, model, base, result, hyperparameters)}
            )
        return result.model_copy(
            update={"run_id": tracker.run_id, "run_url": tracker.run_url, "seconds": round(time.monotonic() - began, 3)}
        )
    finally:
        model = None
        release_memory()


def release_memory() -> None:
    """Leaves nothing of a trial behind, whatever ended it."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def judge_scores(session: Session, scores: Mapping[str, Score], baseline: Mapping[str, Score]) -> TrialResult:
    """Compares candidate and baseline on all sets and holds the candidate to the gates."""
    config = session.config
    candidate, before = scores["test"], baseline["test"]
    bootstrap = paired_bootstrap(before.words, candidate.words, seed=config.seed)
    improvement = relative_improvement(before.wer, candidate.wer)
    types = by_error_type(session.error_types("test"), candidate.words, before.words)
    suites = tuple(
        judge_suite(suite, scores[f"regression/{suite.name}"], baseline[f"regression/{suite.name}"])
        for suite, _ in session.suites
    )
    verdicts = judge(
        config.gates,
        relative_improvement=improvement,
        p_value=bootstrap.p_value,
        suites=suites,
        error_types=types,
    )
    log.info(
        "Test WER %.4f against %.4f of the baseline (95 %% interval of the gain %.4f to %.4f, p = %.4f); gates: %s.",
        candidate.wer, before.wer, bootstrap.low, bootstrap.high, bootstrap.p_value,
        ", ".join(f"{verdict.name} {'passed' if verdict.passed else 'failed'}" for verdict in verdicts),
    )  # fmt: skip
    return TrialResult(
        state="finished",
        metrics=TrialMetrics(
            wer=candidate.wer,
            cer=candidate.cer,
            baseline_wer=before.wer,
            baseline_cer=before.cer,
            validation_wer=scores["validation"].wer,
            baseline_validation_wer=baseline["validation"].wer,
            p_value=bootstrap.p_value,
            relative_improvement=improvement,
            real_time_factor=candidate.real_time_factor,
        ),
        error_types={kind: rate for kind, (rate, _) in types.items()},
        suites=suites,
        regression=RegressionCount(passed=sum(suite.passed for suite in suites), total=len(suites)) if suites else None,
        gates=verdicts,
    )


def _eval_values(score: Score) -> dict[str, float]:
    values = {"eval/wer": score.wer, "eval/cer": score.cer}
    return values if score.loss is None else values | {"eval/loss": score.loss}


def _baseline_values(score: Score) -> dict[str, float]:
    return {"baseline/wer": score.wer, "baseline/cer": score.cer}


def _report_inputs(session: Session, tracker: Tracker, baseline: Mapping[str, Score]) -> None:
    sizes = {f"{name}_size": len(examples) for name, examples in session.sets.items()}
    tracker.log_dataset(session.report, sizes, session.error_type_counts)
    tracker.summarize(_baseline_values(baseline["validation"]))
    name = (session.config.artifact or "stt").removesuffix("-model") + "-dataset"
    manifest = session.manifest
    tracker.use_dataset(name, manifest.uri, manifest.fingerprint, manifest.path, manifest.artifact)
    if session.base.artifact is not None:
        tracker.use_model(session.base.artifact)


def _report_result(
    session: Session, tracker: Tracker, result: TrialResult, scores: Mapping[str, Score], baseline: Mapping[str, Score]
) -> None:
    metrics, candidate, before = result.metrics, scores["test"], baseline["test"]
    assert metrics is not None
    bootstrap: Bootstrap = paired_bootstrap(before.words, candidate.words, seed=session.config.seed)
    operations = count_operations(candidate.references, candidate.hypotheses)
    wrong = before.words.errors > 0
    corrected = int((candidate.words.errors[wrong] == 0).sum())
    tracker.summarize(
        {
            "test/wer": metrics.wer,
            "test/cer": metrics.cer,
            "test/baseline_wer": metrics.baseline_wer,
            "test/baseline_cer": metrics.baseline_cer,
            "test/p_value": metrics.p_value,
            "test/relative_improvement": metrics.relative_improvement,
            "test/wer_gain_low": bootstrap.low,
            "test/wer_gain_high": bootstrap.high,
            **{f"test/{kind}": count for kind, count in asdict(operations).items()},
            "test/real_time_factor": metrics.real_time_factor,
            "regression/pass_rate": pass_rate(result.suites),
            "normalizer": session.config.dataset.normalizer,
        }
    )
    tracker.log_backlog(session.report.error_cases, int(wrong.sum()), corrected, session.error_type_counts)
    tracker.log_error_types(by_error_type(session.error_types("test"), candidate.words, before.words))
    validated = by_error_type(
        session.error_types("validation"), scores["validation"].words, baseline["validation"].words
    )
    tracker.summarize({f"eval/wer_by_type/{kind}": rate for kind, (rate, _) in validated.items()})
    if session.config.pairing:
        tracker.summarize(paired_counts(session.error_types("test"), candidate.words))
    tracker.log_suites(result.suites)
    tracker.log_gates(result.gates)
    for name in session.sets_to_score():
        if name != "validation":
            tracker.log_comparison(name, _rows(session, name, scores[name], baseline[name]))


def _rows(session: Session, name: str, candidate: Score, baseline: Score) -> list[dict[str, Any]]:
    examples = session.sets_to_score()[name]
    types: Sequence[str | None] = session.error_types("test") if name == "test" else [None] * len(examples)
    rate = candidate.words.errors / np.maximum(candidate.words.units, 1)
    before = baseline.words.errors / np.maximum(baseline.words.units, 1)
    fates = outcomes(candidate, baseline)
    return [
        {
            "audio": example.utterance.audio.rpartition("/")[2],
            "seconds": round(example.seconds, 3),
            "error_type": types[i],
            "reference": candidate.references[i],
            "baseline": baseline.hypotheses[i],
            "candidate": candidate.hypotheses[i],
            "baseline_wer": float(before[i]),
            "wer": float(rate[i]),
            "outcome": fates[i],
        }
        for i, example in enumerate(examples)
    ]


def _keep_model(
    session: Session, tracker: Tracker, model: Any, base: Base, result: TrialResult, hyperparameters: Hyperparameters
) -> str | None:
    """Saves the model where the configuration wants it: as an artifact, in the output folder, or both."""
    config = session.config
    if config.artifact is None and config.output_dir is None:
        return None
    root = Path(config.output_dir) if config.output_dir else Path(tempfile.mkdtemp(prefix="finetune-model-"))
    folder = root / (tracker.run_id or "model") / "model"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        base.processor.save_pretrained(folder)
        if config.artifact is None:
            return None
        metadata = {
            "base_model": base.name,
            "normalizer": config.dataset.normalizer,
            "dataset": session.manifest.uri,
            "dataset_fingerprint": session.manifest.fingerprint,
            "hyperparameters": hyperparameters.model_dump(),
            "metrics": result.metrics.model_dump(exclude_none=True) if result.metrics else {},
            "gates": {verdict.name: verdict.passed for verdict in result.gates},
        }
        return tracker.log_model(config.artifact, folder, metadata)
    finally:
        if config.output_dir is None:
            shutil.rmtree(root, ignore_errors=True)
