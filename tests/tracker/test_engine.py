"""W&B's search engine on today's numpy (its metadata asks for numpy < 2): known answers.

It is installed without its dependencies, so these tests are what says that it works.
"""

import warnings
from itertools import product

import numpy as np
import pytest
from finetune_tracker.engine import Engine, answer, quiet
from finetune_tracker.errors import BadRequest

with warnings.catch_warnings():
    quiet()
    import sweeps

METRIC = {"name": "loss", "goal": "minimize"}


def suggest(spec, runs=()):
    with warnings.catch_warnings():
        quiet()
        found = answer({"op": "suggest", "spec": spec, "runs": list(runs)})
    assert "error" not in found, found
    return found["config"]


def run(config, loss=None, state="finished", name="r"):
    summary = {} if loss is None else {"loss": loss}
    history = [] if loss is None else [{"loss": loss}]
    return {"name": name, "state": state, "config": config, "summaryMetrics": summary, "history": history}


def test_numpy_is_the_one_of_the_trainer():
    assert int(np.__version__.split(".")[0]) >= 2


def test_a_grid_enumerates_every_point_once():
    spec = {"method": "grid", "parameters": {
        "a": {"values": [1, 2]}, "b": {"distribution": "int_uniform", "min": 0, "max": 2}, "c": {"value": "x"},
        "d": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.5},
    }}  # fmt: skip
    runs = []
    while (config := suggest(spec, runs)) is not None:
        runs.append(run(config))
    found = [tuple(r["config"][k]["value"] for k in "abd") for r in runs]
    assert sorted(found) == sorted(product([1, 2], [0, 1, 2], [0.0, 0.5]))
    assert all(r["config"]["c"]["value"] == "x" for r in runs)
    assert answer({"op": "validate", "spec": spec})["grid_size"] == 12


def test_random_draws_follow_their_distributions():
    np.random.seed(0)
    spec = {"method": "random", "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-2}, "p": {"min": 0.0, "max": 1.0},
        "n": {"min": 1, "max": 4}, "c": {"values": ["a", "b"], "probabilities": [0.9, 0.1]},
        "q": {"distribution": "q_uniform", "min": 0, "max": 10, "q": 5},
        "nested": {"parameters": {"x": {"values": [1, 2]}}},
    }}  # fmt: skip
    draws = [suggest(spec) for _ in range(200)]

    def column(name):
        return np.array([d[name]["value"] for d in draws])

    assert abs(np.log10(column("lr")).mean() + 4) < 0.25
    assert 1e-6 <= column("lr").min() < 1e-5 < 1e-3 < column("lr").max() <= 1e-2
    assert abs(column("p").mean() - 0.5) < 0.08
    assert set(column("n")) == {1, 2, 3, 4}
    assert 0.84 < (column("c") == "a").mean() < 0.96
    assert set(column("q")) <= {0, 5, 10}
    assert {d["nested"]["value"]["x"] for d in draws} == {1, 2}
    assert all(type(d["p"]["value"]) is float and type(d["n"]["value"]) is int for d in draws), "no numpy scalars"


def test_bayes_finds_the_minimum():
    np.random.seed(1)
    spec = {"method": "bayes", "metric": METRIC, "parameters": {"x": {"min": -5.0, "max": 5.0}}}
    runs = []
    for _ in range(16):
        config = suggest(spec, runs)
        runs.append(run(config, (config["x"]["value"] - 1) ** 2))
    assert min(r["summaryMetrics"]["loss"] for r in runs) < 0.05


def test_bayes_copes_with_failed_runs_and_runs_in_flight():
    spec = {"method": "bayes", "metric": METRIC, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    runs = [run({"x": {"value": 0.1}}, state="failed"), run({"x": {"value": 0.5}}, state="running"),
            run({"x": {"value": 0.9}}, float("nan")), run({"x": {"value": 0.3}}, 1.0)]  # fmt: skip
    assert 0 <= suggest(spec, runs)["x"]["value"] <= 1


def test_hyperband_stops_what_is_worse_than_the_best_third():
    spec = {"method": "random", "metric": METRIC, "parameters": {"x": {"values": [1]}},
            "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 3}}  # fmt: skip
    runs = [
        run({}, None, "running", n) | {"history": [{"loss": v}] * 3} for n, v in (("good", 1), ("so-so", 2), ("bad", 3))
    ]
    assert answer({"op": "stop", "spec": spec, "runs": runs})["names"] == ["bad"]
    two = runs[:2]
    spec["early_terminate"]["eta"] = 2
    assert answer({"op": "stop", "spec": spec, "runs": two})["names"] == [], "of two runs none is ever stopped"


async def test_the_child_process_serves_and_survives_its_own_death():
    engine = Engine()
    spec = {"method": "grid", "parameters": {"a": {"values": [1]}}}
    try:
        assert await engine.validate(spec) == ([], 1)
        assert await engine.suggest(spec, []) == {"a": {"value": 1}}
        with pytest.raises(BadRequest, match="nonsense"):
            await engine.suggest({"method": "nonsense", "parameters": {"a": {"value": 1}}}, [])
        engine._process.kill()
        await engine._process.wait()
        assert await engine.suggest(spec, [run({"a": {"value": 1}})]) is None
    finally:
        await engine.close()


def test_the_version_these_answers_hold_for():
    assert sweeps.__version__ == "0.3.0"
