"""What the runs of a sweep say: counts, and the best of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from finetune_operator.api.status import BestRun, TestScores, TrialCounts
from finetune_operator.api.sweeprun import MetricSpec
from finetune_operator.facts import RunFacts, RunState
from finetune_operator.search.significance import Utterances


def count(runs: Sequence[RunFacts], swept: Iterable[str]) -> TrialCounts:
    """Trials by state; `swept` names the parameters that tell whether two trials are the same."""

    def of(states: frozenset[str]) -> int:
        return sum(run.state in states for run in runs)

    swept = sorted(swept)
    settings = [json.dumps([run.config.get(key) for key in swept], sort_keys=True) for run in runs if run.config]
    return TrialCounts(
        total=len(runs),
        running=of(RunState.LIVE),
        succeeded=of(RunState.SUCCEEDED),
        failed=of(RunState.FAILED),
        stopped=of(RunState.STOPPED),
        preempted=of(RunState.PREEMPTED),
        duplicates=len(settings) - len(set(settings)),
    )


def ended(counts: TrialCounts) -> int:
    """Trials that will not change any more."""
    return counts.succeeded + counts.failed + counts.stopped


def best(runs: Sequence[RunFacts], metric: MetricSpec) -> RunFacts | None:
    """The best finished run with a finite value of the metric; the earlier one (then the smaller id) wins a tie."""
    return next(iter(ranked(runs, metric)), None)


def ranked(runs: Sequence[RunFacts], metric: MetricSpec) -> list[RunFacts]:
    """The finished runs that have a finite value of the metric, the best first, as `best` has it."""
    sign = 1 if metric.goal == "minimize" else -1
    scored = [
        (sign * value, run.created_at, run.id, run)
        for run in runs
        if run.state in RunState.SUCCEEDED and (value := run.metric(metric.name)) is not None
    ]
    return [entry[3] for entry in sorted(scored, key=lambda entry: entry[:3])]


def total(counts: Iterable[TrialCounts | None]) -> TrialCounts:
    """The sum over stages."""
    present = [item.model_dump() for item in counts if item is not None]
    return TrialCounts(**{key: sum(item[key] for item in present) for key in TrialCounts.model_fields})


def relative_improvement(value: float, baseline: float | None, goal: str) -> float | None:
    """(baseline - value) / baseline, signed so that better is positive; None without a baseline above zero."""
    if baseline is None or baseline <= 0:
        return None
    change = (baseline - value) / baseline
    return change if goal == "minimize" else -change


def describe(run: RunFacts, metric: MetricSpec, swept: Iterable[str], url: str) -> BestRun:
    """The status block of the best run."""
    value = run.metric(metric.name)
    assert value is not None
    baseline = run.metric("baseline/" + metric.name.rsplit("/", 1)[-1])
    improvement = relative_improvement(value, baseline, metric.goal)
    return BestRun(
        id=run.id,
        name=run.name,
        url=url,
        metric=metric.name,
        value=round(value, 6),
        baseline=round(baseline, 6) if baseline is not None else None,
        relative_improvement=round(improvement, 6) if improvement is not None else None,
        hyperparameters={key: run.config[key] for key in sorted(swept) if key in run.config},
        test=_test_scores(run),
    )


def rounded(value: float | None) -> float | None:
    """A number as the status carries it: six digits after the point."""
    return round(value, 6) if value is not None else None


def rates_by_type(run: RunFacts) -> dict[str, float]:
    """Word error rate per error type on the validation set."""
    prefix = "eval/wer_by_type/"
    found = {key.removeprefix(prefix): run.metric(key) for key in run.summary if key.startswith(prefix)}
    return {kind: rate for kind, rate in found.items() if rate is not None}


def utterances_by_type(run: RunFacts) -> dict[str, Utterances]:
    """Errors and words of the test utterances, per error type; a type whose lists are damaged is left out."""
    errors, words = "test/utterance_errors/", "test/utterance_words/"
    found = {}
    for key, text in run.summary.items():
        if not key.startswith(errors):
            continue
        kind = key.removeprefix(errors)
        try:
            wrong, all_words = (
                tuple(int(n) for n in str(listed).split()) for listed in (text, run.summary.get(words + kind, ""))
            )
        except ValueError:
            continue
        if len(wrong) == len(all_words):
            found[kind] = Utterances(wrong, all_words)
    return found


def utterances(run: RunFacts) -> Utterances:
    """Errors and words of all listed test utterances."""
    found = utterances_by_type(run)
    return sum((found[kind] for kind in sorted(found)), Utterances())


def _test_scores(run: RunFacts) -> TestScores | None:
    wer = run.metric("test/wer")
    if wer is None:
        return None
    suites = [key for key in run.summary if key.startswith("regression/") and key.endswith("/wer")]
    rate = run.metric("regression/pass_rate")
    return TestScores(
        wer=wer,
        baseline_wer=run.metric("test/baseline_wer"),
        relative_improvement=run.metric("test/relative_improvement"),
        p_value=run.metric("test/p_value"),
        worst_error_type_degradation=worst_error_type(run),
        suites_passed=round((rate or 0.0) * len(suites)),
        suites_total=len(suites),
    )


def worst_error_type(run: RunFacts) -> float | None:
    """Largest absolute rise of the word error rate, candidate minus baseline, within one error type."""
    candidate, baseline = "test/wer_by_type/", "test/baseline_wer_by_type/"
    rises = []
    for key in run.summary:
        if key.startswith(candidate):
            after, before = run.metric(key), run.metric(baseline + key.removeprefix(candidate))
            if after is not None and before is not None:
                rises.append(after - before)
    return max(rises, default=None)
