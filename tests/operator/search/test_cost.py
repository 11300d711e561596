"""What a search costs, before, during and after."""

from __future__ import annotations

import pytest
from finetune_operator import costs, stages
from finetune_operator.api import SweepRunSpec, SweepRunStatus
from finetune_operator.api.status import StageStatus, TrialCounts, Usage
from finetune_operator.facts import RunFacts
from finetune_operator.search.cost import gpu_hours_per_trial, mean_epochs, model_parameters, saving

TRAINER = {
    "model": {"name": "openai/whisper-small"},
    "dataset": {"uri": "/data", "minErrorCases": 2000},
    "resources": {"gpus": 1},
}


def spec(**fields):
    return SweepRunSpec.model_validate({"trainer": TRAINER, **fields})


def estimate(parsed, status=None, cases=None):
    return costs.estimate(parsed, stages.of(parsed), parsed.cap, status or SweepRunStatus(), cases)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (None, 3),
        ({"value": 4}, 4),
        ({"values": [2, 4]}, 3),
        ({"values": [2, 4], "probabilities": [0.75, 0.25]}, 2.5),
        ({"min": 1, "max": 9}, 5),
        ({"distribution": "log_uniform_values", "min": 1, "max": 10}, 3.9087),
        ({"distribution": "normal", "mu": 6, "sigma": 1}, 6),
    ],
)
def test_mean_epochs(block, expected):
    assert mean_epochs({} if block is None else {"epochs": block}) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("openai/whisper-large-v3", 1550), ("openai/whisper-large-v3-turbo", 809), ("openai/whisper-tiny.en", 39),
        ("facebook/wav2vec2-xls-r-300m", 317), ("facebook/wav2vec2-base-960h", 95), ("/models/ours", None),
    ],
)  # fmt: skip
def test_sizes_by_name(name, millions):
    assert model_parameters(name) == (millions * 1e6 if millions else None)


def test_a_larger_model_more_data_and_more_epochs_cost_more():
    small = gpu_hours_per_trial("whisper-small", "whisper", 5, 1000)
    assert small is not None
    assert 0.01 < small < 2
    for other in (("whisper-large", "whisper", 5, 1000), ("whisper-small", "whisper", 9, 1000)):
        found = gpu_hours_per_trial(*other)
        assert found is not None
        assert found > small
    assert gpu_hours_per_trial("ours", "other", 5, 1000) is None


def test_an_estimate_is_there_before_the_first_trial_and_says_what_it_assumes():
    found = estimate(spec())
    assert (found.trials, found.basis) == (20, "Assumed")
    assert float(found.gpu_hours) > 0
    assert "2000 error cases (dataset.minErrorCases)" in found.message
    counted = estimate(spec(), cases=4000)
    assert float(counted.gpu_hours) > 1.5 * float(found.gpu_hours)
    assert "counted" in counted.message
    unknown = estimate(spec(trainer=TRAINER | {"model": {"name": "/models/ours"}}))
    assert unknown.gpu_hours is None
    assert "does not tell its size" in unknown.message
    assert estimate(spec(trainer=TRAINER | {"resources": {}})).gpu_hours == "0"


def test_once_trials_have_ended_it_is_measured():
    status = SweepRunStatus(trials=TrialCounts(total=5, succeeded=4, running=1), usage=Usage(gpu_hours="2"))
    found = estimate(spec(), status)
    assert (found.basis, found.gpu_hours) == ("Measured", "10")


def test_savings_of_stopped_and_skipped_trials():
    assert saving([({"epochs": 9}, 3.0, 600.0), ({"epochs": 3}, 3.0, 60.0), ({}, None, None)]).epochs == 6
    runs = [RunFacts("a", "killed", config={"epochs": 9}, summary={"train/epoch": 3, "_runtime": 1800})]
    stage = StageStatus(name="x", method="random", gpu_hours="2", trials=TrialCounts(succeeded=3, stopped=1))
    found = costs.savings(runs, 2, stage, gpus=2)
    assert (found.stopped_trials, found.epochs, found.skipped_trials) == (1, "6", 2)
    assert float(found.gpu_hours) == pytest.approx(2 * 1.0 + 2 * 0.5)
    assert costs.savings([], 0, stage, 1) is None
