"""Agents of a real sweep on a real tracker: trials, failures, stops, preemption."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from finetune_operator import results
from finetune_operator.facts import RunFacts
from finetune_tracker.testing import TrackerProcess, running_tracker

from tests.wandb_client import wandb_client

from .processes import Trainer

PROJECT = "speech"
Sweep = Callable[..., str]
Start = Callable[..., AbstractContextManager[Trainer]]


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackerProcess]:
    with running_tracker(tmp_path_factory.mktemp("tracker")) as server:
        yield server


@pytest.fixture(autouse=True)
def client(tracker: TrackerProcess, tmp_path: Path) -> Iterator[None]:
    """The SDK of this process, pointed at the tracker."""
    with wandb_client(tracker, tmp_path / "client"):
        yield


@pytest.fixture
def sweep(tracker: TrackerProcess) -> Sweep:
    def create(parameters: dict[str, Any], **fields: Any) -> str:
        import wandb

        document = {"method": "grid", "metric": {"name": "eval/wer", "goal": "minimize"}, "parameters": parameters}
        return str(wandb.sweep(document | fields, project=PROJECT, entity=tracker.entity))

    return create


@pytest.fixture
def document(bases: dict[str, Path], tones: Path, tracker: TrackerProcess) -> Callable[..., dict[str, Any]]:
    def build(sweep_id: str, family: str = "ctc", **fields: Any) -> dict[str, Any]:
        return {
            "mode": "agent",
            "tracking": {
                "baseURL": tracker.base_url,
                "entity": tracker.entity,
                "project": PROJECT,
                "sweepID": sweep_id,
            },
            "model": {"name": str(bases[family])},
            "dataset": {"uri": str(tones)},
            "hyperparameters": {"batch_size": 16, "max_steps": 6},
            **fields,
        }

    return build


def runs_of(tracker: TrackerProcess, sweep_id: str) -> list[Any]:
    import wandb

    fresh = wandb.Api(timeout=60)  # an Api keeps what it has seen
    return list(fresh.runs(f"{tracker.entity}/{PROJECT}", filters={"sweep": sweep_id}, order="+created_at"))


def test_a_sweep_with_a_bad_trial_in_it(
    tracker: TrackerProcess, sweep: Sweep, document: Callable[..., dict[str, Any]], trainer: Start, tmp_path: Path
) -> None:
    sweep_id = sweep({"learning_rate": {"values": [1e-3, 1e30, -1.0, 3e-3]}})
    with trainer("agent", document(sweep_id, artifact="tiny", pairing=True), tmp_path) as agent:
        assert agent.wait() == 0, agent.log
        assert agent.result == {"state": "finished", "trials": {"finished": 2, "failed": 2}} | {
            "seconds": agent.result["seconds"]
        }
    runs = {run.config["learning_rate"]: run for run in runs_of(tracker, sweep_id)}
    assert {rate: run.state for rate, run in runs.items()} == {
        1e-3: "finished",
        1e30: "failed",
        -1.0: "failed",
        3e-3: "finished",
    }
    assert runs[1e30].summary["failure/class"] == "Diverged"
    assert runs[-1.0].summary["failure/class"] == "BadConfig"
    assert "hyperparameters.learning_rate" in runs[-1.0].summary["failure/message"]
    good = runs[3e-3]
    assert 0 <= good.summary["eval/wer"] <= 2
    assert good.summary["test/baseline_wer"] == pytest.approx(1.0, abs=0.3)
    assert "Table" not in str(good.summary["test/p_value"])
    facts = [RunFacts(run.id, run.state, summary=dict(run.summary)) for run in (good, runs[1e-3])]
    heard, others = (results.utterances(run) for run in facts)  # as the operator reads them, to compare runs
    assert heard.words == others.words
    assert heard.rate == pytest.approx(good.summary["test/wer"], abs=1e-6)
    assert results.rates_by_type(facts[0]).keys() == results.rates_by_type(facts[1]).keys() != set()
    assert {artifact.type for artifact in good.logged_artifacts()} >= {"model"}
    assert [artifact.type for artifact in good.used_artifacts()] == ["dataset"]
    assert {"train/loss", "train/learning_rate", "train/epoch"} <= set(next(good.scan_history(keys=None)).keys()) | set(
        good.summary.keys()
    )


@pytest.mark.slow
def test_a_preempted_trial_is_resumed_by_another_agent(
    tracker: TrackerProcess, sweep: Sweep, document: Callable[..., dict[str, Any]], trainer: Start, tmp_path: Path
) -> None:
    sweep_id = sweep({"learning_rate": {"values": [1e-3]}})
    wanted = document(
        sweep_id,
        hyperparameters={"batch_size": 8, "epochs": 12},
        checkpoints={"path": str(tmp_path / "checkpoints"), "everySteps": 100000},
    )
    with trainer("agent", wanted, tmp_path / "first") as first:
        first.wait_for_log("Epoch 2.00")
        first.signal(signal.SIGTERM)
        assert first.wait() == 143, first.log
        assert first.result["state"] == "preempted"
        assert first.result["failureClass"] == "Preempted"
    checkpoints = list((tmp_path / "checkpoints").glob("*/step-*.pt"))
    assert len(checkpoints) == 1
    with trainer("agent", wanted, tmp_path / "second") as second:
        assert second.wait() == 0, second.log
        assert second.result["trials"] == {"finished": 1}
    assert "Epoch 1.00" not in second.log
    (run,) = runs_of(tracker, sweep_id)
    assert run.state == "finished"
    assert run.id == checkpoints[0].parent.name
    assert not list((tmp_path / "checkpoints").glob("*/step-*.pt"))
    steps = [row["train/step"] for row in run.scan_history(keys=["train/step", "train/loss"])]
    assert steps[-1] == 12 * 9
    assert steps == sorted(steps)


@pytest.mark.slow
def test_a_stopped_run_ends_and_the_agent_goes_on(
    tracker: TrackerProcess, sweep: Sweep, document: Callable[..., dict[str, Any]], trainer: Start, tmp_path: Path
) -> None:
    sweep_id = sweep({"max_steps": {"values": [1_000_000, 4]}})
    with trainer("agent", document(sweep_id), tmp_path) as agent:
        agent.wait_for_log("Epoch 1.00")
        (run,) = runs_of(tracker, sweep_id)
        run.stop()
        assert agent.wait() == 0, agent.log
        assert agent.result["trials"] == {"finished": 1, "stopped": 1}
    states = sorted(run.state for run in runs_of(tracker, sweep_id))
    assert states == ["finished", "killed"]


def test_broken_data_takes_no_trial(
    tracker: TrackerProcess, sweep: Sweep, document: Callable[..., dict[str, Any]], trainer: Start, tmp_path: Path
) -> None:
    sweep_id = sweep({"learning_rate": {"values": [1e-3]}})
    broken = document(sweep_id)
    broken["dataset"] = broken["dataset"] | {"minErrorCases": 1000}
    with trainer("agent", broken, tmp_path) as agent:
        assert agent.wait() == 2, agent.log
    assert agent.result["failureClass"] == "BadData"
    assert "96 usable error cases, 1000 are required" in agent.result["message"]
    assert runs_of(tracker, sweep_id) == []


def test_a_sweep_of_wrong_names_ends_as_bad_configuration(
    tracker: TrackerProcess, sweep: Sweep, document: Callable[..., dict[str, Any]], trainer: Start, tmp_path: Path
) -> None:
    sweep_id = sweep({"learningrate": {"values": [1, 2, 3, 4, 5, 6]}})
    with trainer("agent", document(sweep_id), tmp_path) as agent:
        assert agent.wait() == 2, agent.log
    assert agent.result["failureClass"] == "BadConfig"
    assert "hyperparameters.learningrate is not a known field" in agent.result["message"]
    assert len(runs_of(tracker, sweep_id)) == 3


@pytest.mark.parametrize("key", ["", "wrong" * 8])
def test_a_refused_key_is_named(
    document: Callable[..., dict[str, Any]], trainer: Start, tmp_path: Path, key: str
) -> None:
    with trainer("agent", document("none"), tmp_path, WANDB_API_KEY=key) as agent:
        assert agent.wait() == 2, agent.log
    assert agent.result["failureClass"] == "TrackerUnauthorized"
    assert "WANDB_API_KEY" in agent.result["message"]
    assert not key or key not in agent.log


def test_an_unreachable_tracker_ends_the_agent_as_unavailable(
    document: Callable[..., dict[str, Any]], trainer: Start, tmp_path: Path
) -> None:
    wanted = document("none")
    wanted["tracking"] = wanted["tracking"] | {"baseURL": "http://127.0.0.1:9"}
    with trainer("agent", wanted, tmp_path, WANDB_API_KEY="k" * 40, FINETUNE_TRACKER_PATIENCE="2") as agent:
        assert agent.wait() == 75, agent.log
    assert agent.result["failureClass"] == "TrackerUnavailable"
