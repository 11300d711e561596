"""A search as the tracker runs it: one trial after the other, drawn and stopped by W&B's own engine."""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from finetune_operator.stages import Stage
from finetune_tracker import engine

from benchmarks.search.trials import METRIC, Stop, Trial

Space = Mapping[str, Mapping[str, Any]]


class Train(Protocol):
    """Runs trials; `Workshop.train` is one."""

    def __call__(self, values: Mapping[str, Any], stop: Stop | None = None) -> Trial:
        """Run a trial with these hyperparameters, ending it when `stop` says so."""


def search(
    train: Train,
    stage: Stage,
    *,
    draw: str,
    space: Space | None = None,
    early: Mapping[str, Any] | None = None,
    prior: Sequence[Trial] = (),
    done: Callable[[list[Trial]], bool] = lambda made: False,
) -> list[Trial]:
    """Run a sweep.

    Args:
        train: Runs a trial.
        stage: Method, space and cap on trials.
        draw: Name of the random numbers: searches of the same name and space draw the same.
        space: Takes the place of the stage's, in W&B's syntax.
        early: Early termination in W&B's syntax.
        prior: Runs that the sweep is seeded with; they count neither as trials nor as cost.
        done: Asked after each trial whether the sweep ends here.

    Returns:
        The trials, in order.
    """
    parameters = stage.parameters if space is None else space
    spec = {"method": stage.method, "metric": {"name": METRIC, "goal": "minimize"}, "parameters": parameters}
    if early:
        spec["early_terminate"] = early
    made: list[Trial] = []
    while len(made) < stage.trials:
        known = [_run(number, trial) for number, trial in enumerate([*prior, *made])]
        values = suggest(spec, known, f"{draw} {len(made)}")

        def stop(rates: Sequence[float], values: Mapping[str, Any] = values, known: list[Any] = known) -> bool:
            live = _record("live", "running", values, rates)
            return "live" in _ask({"op": "stop", "spec": spec, "runs": [*known, live]})["names"]

        made.append(train(values, stop if early else None))
        if done(made):
            break
    return made


def suggest(spec: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], draw: str) -> dict[str, Any]:
    """The engine's next hyperparameters.

    The engine takes the global random numbers of Python and numpy; they are seeded for this one draw, because
    trainings, which come between the draws, use them too.
    """
    number = int.from_bytes(hashlib.sha256(draw.encode()).digest()[:4])
    random.seed(number)
    np.random.seed(number)
    config = _ask({"op": "suggest", "spec": spec, "runs": runs})["config"]
    return {name: entry["value"] for name, entry in config.items()}


def best(trials: Sequence[Trial]) -> Trial:
    """The finished trial with the lowest validation WER, the earlier one if two are equal: what the operator ranks by.

    Raises:
        ValueError: No trial finished.
    """
    return min((trial for trial in trials if trial.state == "finished"), key=lambda trial: trial.wer)


def _run(number: int, trial: Trial) -> dict[str, Any]:
    return _record(f"run-{number}", trial.state, trial.values, [rate for _, rate in trial.history])


def _record(name: str, state: str, values: Mapping[str, Any], rates: Sequence[float]) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "config": {key: {"value": value} for key, value in values.items()},
        "summaryMetrics": {METRIC: min(rates)} if rates else {},
        "history": [{METRIC: rate} for rate in rates],
    }


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    answer = engine.answer(request)
    if "error" in answer:
        raise RuntimeError(f"search engine: {answer['error']}")
    return answer
