"""Narrowing a search space: tables, and properties over every distribution that W&B has."""

from __future__ import annotations

import math

import numpy as np
import pytest
from finetune_operator.search.space import inside, refine
from finetune_operator.sweepconfig import _validator
from finetune_tracker import engine
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.filterwarnings("ignore:Valid config keys have changed in V2")

SPACE = {
    "uniform": {"min": 0.0, "max": 0.2},
    "named": {"distribution": "uniform", "min": -1, "max": 1},
    "q_uniform": {"distribution": "q_uniform", "min": 0, "max": 50, "q": 5},
    "int_uniform": {"min": 1, "max": 9},
    "log_uniform": {"distribution": "log_uniform", "min": -12, "max": -3},
    "log_uniform_values": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3},
    "q_log_uniform_values": {"distribution": "q_log_uniform_values", "min": 1, "max": 100, "q": 1},
    "inv_log_uniform": {"distribution": "inv_log_uniform", "min": 2, "max": 9},
    "inv_log_uniform_values": {"distribution": "inv_log_uniform_values", "min": 1e-4, "max": 1e-1},
    "normal": {"distribution": "normal", "mu": 1, "sigma": 2},
    "q_normal": {"distribution": "q_normal", "mu": 8, "sigma": 2, "q": 1},
    "log_normal": {"distribution": "log_normal", "mu": 0, "sigma": 1},
    "beta": {"distribution": "beta", "a": 2, "b": 5},
    "categorical": {"values": [8, 16, 32]},
    "weighted": {"values": ["linear", "cosine", "constant"], "probabilities": [0.5, 0.3, 0.2]},
    "constant": {"value": True},
}


def draws(space: dict[str, dict[str, object]], count: int, seed: int) -> list[dict[str, object]]:
    """What W&B's own engine draws from a space."""
    np.random.seed(seed)
    spec = {"method": "random", "metric": {"name": "m"}, "parameters": space}
    found = [engine.answer({"op": "suggest", "spec": spec, "runs": []})["config"] for _ in range(count)]
    return [{key: item["value"] for key, item in config.items()} for config in found]


@pytest.mark.parametrize(
    ("block", "best", "expected"),
    [
        ({"min": 0.0, "max": 1.0}, [0.5], {"min": 0.25, "max": 0.75}),
        ({"min": 0.0, "max": 1.0}, [0.1], {"min": 0.0, "max": 0.35}),  # cut at the original bound
        ({"min": 0.0, "max": 1.0}, [0.0, 1.0], {"min": 0.0, "max": 0.5}),  # the very best stays inside
        ({"min": 1, "max": 9}, [4, 6], {"min": 3, "max": 7}),
        ({"min": 1, "max": 2}, [1], {"min": 1, "max": 2}),
        ({"values": [8, 16, 32]}, [16, 8, 16], {"values": [8, 16, 32]}),  # nobody tried 32
        ({"values": [8, 16, 32]}, [64], {"values": [8, 16, 32]}),
        ({"value": 3}, [3], {"value": 3}),
        (
            SPACE["weighted"],
            ["linear", "constant"],
            SPACE["weighted"],
        ),
        (SPACE["normal"], [2.0, 4.0], {"distribution": "normal", "mu": 3.0, "sigma": 1.0}),
        (SPACE["beta"], [0.2], SPACE["beta"]),
        (SPACE["log_uniform"], [math.exp(-6)], {"distribution": "log_uniform", "min": -8.25, "max": -3.75}),
        (SPACE["uniform"], [], SPACE["uniform"]),
        (SPACE["uniform"], ["nonsense", None], SPACE["uniform"]),
    ],
)
def test_one_parameter(block, best, expected):
    refined = refine({"x": block}, [{"x": value} for value in best])["x"]
    assert refined.keys() == expected.keys()
    for key, value in expected.items():
        numbers = isinstance(value, (int, float)) or key == "probabilities"
        assert refined[key] == (pytest.approx(value) if numbers else value)


@pytest.mark.parametrize(
    ("best", "others", "kept"),
    [
        ([16, 16, 8], [32, 8, 16, 8, 16], [8, 16, 32]),  # one of eight: 63 in 100 by chance
        ([16, 16, 8], [32, 32, 8, 16, 16], [8, 16, 32]),  # two of eight: 36 in 100
        ([16, 16, 8], [32, 32, 32, 8, 16], [8, 16]),  # three of eight: 18 in 100
        ([16], [32, 32, *[8] * 14], [16, 32]),  # 14 of 17: 18 in 100; two of 17: 88 in 100
        ([16, 8, 32], [8, 8, 8], [8, 16, 32]),
    ],
)
def test_a_listed_value_goes_when_it_has_lost_and_not_before(best, others, kept):
    tried = [{"x": value} for value in others]
    assert refine({"x": {"values": [8, 16, 32]}}, [{"x": value} for value in best], others=tried) == {
        "x": {"values": kept}
    }


def test_the_probabilities_of_the_values_that_stay_are_rescaled():
    others = [{"x": "cosine"}] * 6
    refined = refine({"x": SPACE["weighted"]}, [{"x": "linear"}, {"x": "constant"}], others=others)["x"]
    assert refined["values"] == ["linear", "constant"]
    assert refined["probabilities"] == pytest.approx([5 / 7, 2 / 7])


def test_logarithmic_ranges_shrink_in_log_space():
    block = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-2}}
    refined = refine(block, [{"learning_rate": 1e-4}], factor=4)["learning_rate"]
    assert refined == {
        "distribution": "log_uniform_values",
        "min": pytest.approx(10**-4.5),
        "max": pytest.approx(10**-3.5),
    }


def test_a_parameter_that_no_run_has_stays():
    assert refine({"x": SPACE["uniform"]}, [{"y": 1}]) == {"x": SPACE["uniform"]}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 16))
def test_the_refined_space_is_a_valid_smaller_part_with_the_best_inside(seed, count, factor):
    best = draws(SPACE, count, seed)
    assert all(inside(SPACE, run) for run in best)
    refined = refine(SPACE, best, factor)
    assert not list(_validator().iter_errors({"method": "bayes", "parameters": refined}))
    assert inside(refined, best[0])
    for key, block in refined.items():
        old = SPACE[key]
        assert {k: v for k, v in block.items() if k in ("distribution", "q", "value", "a", "b")} == {
            k: v for k, v in old.items() if k in ("distribution", "q", "value", "a", "b")
        }
        if "min" in old:
            assert old["min"] <= block["min"] <= block["max"] <= old["max"]
        if "values" in old:
            assert set(block["values"]) <= set(old["values"])
            assert {run[key] for run in best} <= set(block["values"])
        if "probabilities" in old:
            assert sum(block["probabilities"]) == pytest.approx(1)
    again = refine(refined, best, factor)
    assert inside(again, best[0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_engine_draws_from_the_refined_space(seed):
    refined = refine(SPACE, draws(SPACE, 3, seed))
    assert all(inside(refined, run) for run in draws(refined, 3, seed))


@pytest.mark.parametrize(
    ("block", "value", "expected"),
    [
        ({"min": 0.0, "max": 1.0}, 1.0, True),
        ({"min": 0.0, "max": 1.0}, 1.1, False),
        ({"min": 0.0, "max": 1.0}, float("nan"), False),
        ({"min": 0.0, "max": 1.0}, "high", False),
        ({"values": [1, 2]}, 3, False),
        ({"value": 1}, 2, False),
        (SPACE["log_uniform_values"], 0.0, False),
        (SPACE["q_uniform"], 50, True),
        (SPACE["q_uniform"] | {"min": 11, "max": 12}, 10, True),
        (SPACE["q_uniform"] | {"min": 13, "max": 14}, 5, False),
    ],
)
def test_inside(block, value, expected):
    assert inside({"x": block}, {"x": value}) is expected


def test_a_run_without_the_parameter_is_outside():
    assert not inside({"x": SPACE["uniform"]}, {})
