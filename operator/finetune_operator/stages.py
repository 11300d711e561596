"""The stages of a search, resolved from a SweepRun: what each searches, how long, and what it takes over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune_operator.api import SweepRunSpec, presets
from finetune_operator.api.status import StageStatus
from finetune_operator.api.sweeprun import RefineSpec
from finetune_operator.facts import RunFacts
from finetune_operator.search import space

MOST_PRIOR_RUNS = 64
"""Earlier runs that seed a stage; as many as the status lists."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a search.

    Attributes:
        parameters: Its search space, before any narrowing.
        own: The parameters that the stage itself sets; narrowing leaves them alone.
        refine: How the space of the stage before is narrowed for it.
        early_terminate: What it sets otherwise than the preset's early termination does.
        min_expected_gain: Least relative gain for which it goes on; 0 goes on to the end.
    """

    name: str
    method: str
    trials: int
    parameters: dict[str, Any]
    own: frozenset[str] = frozenset()
    refine: RefineSpec | None = None
    min_expected_gain: float = 0.0
    early_terminate: Mapping[str, Any] = field(default_factory=dict)


def parameters(spec: SweepRunSpec) -> dict[str, Any]:
    """The search space: the preset's, overridden key by key; a null takes a key out."""
    merged = {**presets.preset(spec.preset, spec.trainer.model.name).parameters, **spec.parameters}
    return {key: value for key, value in merged.items() if value is not None}


def of(spec: SweepRunSpec) -> tuple[Stage, ...]:
    """The stages of a search; one that asks for none has one, with the method and the trials of the spec."""
    base = parameters(spec)
    if not spec.stages:
        return (Stage("search", spec.method, spec.cap, base),)
    return tuple(
        Stage(
            name=stage.name,
            method=stage.method,
            trials=stage.trials,
            parameters={k: v for k, v in {**base, **stage.parameters}.items() if v is not None},
            own=frozenset(stage.parameters),
            refine=stage.refine,
            min_expected_gain=float(stage.min_expected_gain),
        )
        for stage in spec.stages
    )


def adaptation(spec: SweepRunSpec, in_service: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages of an adaptation to grown data: the configuration in service once more, then a search around it.

    Both train and are scored on the same data, so that they can be compared; the first seeds the second. Its history
    is one of those that early termination compares, so the challengers race it: from the first epoch on, in place of
    the third in a search that starts from nothing. There a schedule that starts slowly must not lose to one of another
    length; here batch size and epochs are those of the configuration in service, and who is behind it after as many
    steps is given up (successive halving: Jamieson and Talwalkar 2016; a race against the incumbent: Hutter et al.
    2009, ParamILS).
    """
    base, trials = parameters(spec), spec.continuous.trials if spec.continuous else 2
    incumbent = {key: {"values": [value]} for key, value in in_service.items()}
    listed = {key: block for key, block in incumbent.items() if "values" in base.get(key, {})}
    around = space.refine(base, [in_service]) | listed
    return Stage("incumbent", "grid", 1, incumbent or base), Stage(
        "adapt", "bayes", trials - 1, around, early_terminate={"min_iter": 1}
    )


def initial(stages: Sequence[Stage]) -> tuple[StageStatus, ...]:
    """The status of stages before anything has happened."""
    return tuple(StageStatus(name=stage.name, method=stage.method, cap=stage.trials) for stage in stages)


def cap(stages: Sequence[Stage], index: int, total: int, before: Sequence[StageStatus]) -> int:
    """Trials that a stage may run: its own number, within what the earlier stages have left of the total."""
    used = sum(stage.trials.total for stage in before if stage.trials)
    return max(0, min(stages[index].trials, total - used))


def best_runs(ordered: Sequence[RunFacts]) -> list[RunFacts]:
    """The runs that a space is narrowed around: the best quarter, but at least three.

    A quarter is the share of good observations that tree-structured Parzen estimators split off (Bergstra et al. 2011
    and their later practice: 0.15 to 0.25).
    """
    return list(ordered[: max(3, math.ceil(len(ordered) / 4))])


def following(
    stage: Stage, previous: dict[str, Any], ordered: Sequence[RunFacts], first: dict[str, Any] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The space of a stage and the runs that seed it, from those of the stage before.

    Args:
        stage: The stage that begins.
        previous: Space of the stage before.
        ordered: Runs of the stage before, the best first.
        first: Hyperparameters of the best run of all, if it is older than that stage.
    """
    searched = dict(stage.parameters)
    if stage.refine is not None:
        best = [run.config for run in best_runs(ordered)]
        others = [run.config for run in ordered[len(best) :]]
        narrowed = space.refine(previous, [first, *best] if first else best, stage.refine.factor, others)
        searched = {key: narrowed.get(key, block) if key not in stage.own else block for key, block in searched.items()}
    seeds = [run.id for run in ordered if space.inside(searched, run.config)] if stage.method == "bayes" else []
    return searched, tuple(seeds[:MOST_PRIOR_RUNS])
