"""`WandbTracker` alone, against a real tracker: what a user's own script would call."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetune_tracker.testing import TrackerProcess, running_tracker
from finetune_trainer.charts import pie_chart
from finetune_trainer.commands import train
from finetune_trainer.contract import GateVerdict, SuiteResult, Tracking, TrialConfig
from finetune_trainer.control import Control
from finetune_trainer.errors import BadConfigError, TrackerUnauthorizedError, TrackerUnavailableError
from finetune_trainer.quality import Issue, QualityReport
from finetune_trainer.wandb_server import download_artifact
from finetune_trainer.wandb_tracker import WandbTracker

from tests.wandb_client import wandb_client


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackerProcess]:
    with running_tracker(tmp_path_factory.mktemp("tracker")) as server:
        yield server


@pytest.fixture(autouse=True)
def client(tracker: TrackerProcess, tmp_path: Path) -> Iterator[None]:
    with wandb_client(tracker, tmp_path / "client"):
        yield


def settings(tracker: TrackerProcess) -> Tracking:
    return Tracking(base_url=tracker.base_url, entity=tracker.entity, project="alone", tags=("nightly",))


def test_all_that_can_be_reported_arrives(tracker: TrackerProcess, tmp_path: Path) -> None:
    import wandb

    run = WandbTracker.start(settings(tracker), config={"learning_rate": 1e-4}, directory=str(tmp_path))
    for step in range(1, 4):
        run.log({"train/loss": 1 / step}, step=step)
    report = QualityReport("cases.jsonl", 10, 9, 8, 36.0, [Issue(3, "a.wav", "too_long", "40 s")])
    run.log_dataset(report, {"train_size": 7, "test_size": 2}, {"accent": 6, "noise": 3})
    row = {"audio": "a.wav", "seconds": 1.0, "error_type": "accent", "reference": "go", "baseline": "no"}
    run.log_comparison("test", [row | {"candidate": "go", "baseline_wer": 1.0, "wer": 0.0, "outcome": "pass"}])
    run.log_error_types({"accent": (0.1, 0.3)})
    run.log_suites([SuiteResult(name="core", utterances=5, wer=0.2, baseline_wer=0.1, degraded=1, passed=False)])
    run.log_gates([GateVerdict(name="minImprovement", value=0.2, threshold=0.1, passed=True)])
    run.log_backlog(100, 25, 16, {"accent": 60})
    run.log_deployment("e/p/stt:v3", "production", {"wer": 0.1})
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w")
    name = run.log_model("stt", model, {"wer": 0.1})
    assert name == f"{tracker.entity}/alone/stt:v0"
    dataset = tmp_path / "cases.jsonl"
    dataset.write_text("{}\n")
    run.use_dataset("cases", str(dataset), "0123", str(dataset), None)
    run.use_model(name)
    run_id = run.run_id
    run.finish(0)

    seen = wandb.Api(timeout=60).run(f"{tracker.entity}/alone/{run_id}")
    assert seen.state == "finished"
    assert seen.config["learning_rate"] == 1e-4
    summary = dict(seen.summary)
    expected = {
        "data/error_cases": 8, "data/train_size": 7, "data/quality/too_long": 1, "data/error_type/accent": 6,
        "test/wer_by_type/accent": 0.1, "regression/core/degradation": pytest.approx(0.1), "gates/passed": True,
        "errors/total": 100, "errors/correction_rate": 0.64, "deployments/artifact": "e/p/stt:v3",
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    tables = {"data/issues", "test/utterances", "test/error_types", "regression/suites", "gates/verdicts"}
    assert tables <= set(summary)
    assert {summary[table]["_type"] for table in tables} == {"table-file"}
    assert summary["test/wer_distribution"]["_type"] == "histogram"
    assert summary["data/error_types_pie"]["_type"] == "html-file"
    losses = [(point["train/step"], point["train/loss"]) for point in seen.scan_history(["train/step", "train/loss"])]
    assert losses == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert {artifact.type for artifact in seen.used_artifacts()} == {"dataset", "model"}


def test_a_trial_reports_all_that_it_knows(
    tracker: TrackerProcess, tmp_path: Path, bases: dict[str, Path], tones: Path
) -> None:
    """What the page of a run shows after an ordinary training: values, lines, bars, a pie, a scatter plot, tables."""
    import wandb

    config = TrialConfig.model_validate(
        {
            "mode": "train",
            "tracking": settings(tracker).model_dump(by_alias=True),
            "model": {"name": str(bases["ctc"])},
            "dataset": {"uri": str(tones)},
            "hyperparameters": {"batch_size": 16, "epochs": 2},
            "regressionSuites": [{"name": "same", "uri": str(tones)}],
            "artifact": "reported",
        }
    )
    result, code = train(config, Control())
    assert code == 0
    seen = wandb.Api(timeout=60).run(f"{tracker.entity}/alone/{result.run_id}")
    summary = dict(seen.summary)
    values = {
        "train/loss", "train/learning_rate", "duration/train_seconds", "duration/evaluation_seconds",
        "eval/wer", "eval/cer", "eval/loss", "eval/best_epoch", "baseline/wer", "baseline/cer",
        "test/wer", "test/cer", "test/baseline_wer", "test/baseline_cer", "test/p_value", "test/relative_improvement",
        "test/substitutions", "test/deletions", "test/insertions", "test/real_time_factor",
        "regression/pass_rate", "regression/same/wer", "regression/same/degradation", "regression/same/passed",
        "data/rows", "data/used", "data/error_cases", "data/audio_hours", "data/train_size", "data/test_size",
        "data/error_type/substitution", "errors/total", "errors/held_out", "errors/correction_rate",
        "errors/by_type/substitution", "gates/minImprovement", "gates/significance", "gates/passed",
    }  # fmt: skip
    assert values - set(summary) == set()
    kinds = {
        key: value["_type"]
        for key, value in summary.items()
        if hasattr(value, "keys") and "_type" in list(value.keys())
    }
    assert {key for key, kind in kinds.items() if kind == "table-file"} >= {
        "data/issues", "test/utterances", "test/error_types", "regression/same/utterances", "regression/suites",
        "gates/verdicts",
    }  # fmt: skip
    assert {key for key, kind in kinds.items() if kind == "histogram"} >= {"test/wer_distribution"}
    assert kinds["data/error_types_pie"] == "html-file"
    charts = seen.config["_wandb"]["visualize"] if "_wandb" in seen.config else seen.rawconfig["_wandb"]["visualize"]
    assert {key: chart["panel_config"]["panelDefId"] for key, chart in charts.items()} == {
        "data/error_types": "wandb/bar/v0",
        "test/error_type_reduction": "wandb/bar/v0",
        "test/scatter": "wandb/scatter/v0",
        "regression/same/scatter": "wandb/scatter/v0",
        "regression/degradation": "wandb/bar/v0",
    }
    lines = list(seen.scan_history(keys=["train/step", "eval/wer", "baseline/wer"]))
    assert [row["train/step"] for row in lines] == [5, 10]
    assert len({row["baseline/wer"] for row in lines}) == 1
    assert {artifact.type for artifact in seen.logged_artifacts()} >= {"model"}


def test_offline_everything_waits_in_the_runs_folder(
    tracker: TrackerProcess, tmp_path: Path, bases: dict[str, Path], tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "offline"))
    config = TrialConfig.model_validate(
        {
            "mode": "train",
            "tracking": {"mode": "offline", "baseURL": "http://127.0.0.1:9", "project": "alone"},
            "model": {"name": str(bases["ctc"])},
            "dataset": {"uri": str(tones)},
            "hyperparameters": {"batch_size": 16, "max_steps": 2},
            "artifact": "kept",
        }
    )
    result, code = train(config, Control())
    assert code == 0
    assert result.metrics is not None
    assert result.artifact is None
    (folder,) = (tmp_path / "offline" / "wandb").glob("offline-run-*")
    monkeypatch.setenv("WANDB_BASE_URL", tracker.base_url)  # the trial pointed it at nothing
    command = [sys.executable, "-m", "wandb", "sync", "--entity", tracker.entity, "--project", "alone", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    import wandb

    seen = wandb.Api(timeout=60).run(f"{tracker.entity}/alone/{result.run_id}")
    assert seen.summary["test/wer"] == pytest.approx(result.metrics.wer)


def test_a_wrong_key_is_refused_by_name(
    tracker: TrackerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with pytest.raises(TrackerUnauthorizedError, match=r"API.key"):
        WandbTracker.start(settings(tracker), config={}, directory=str(tmp_path))


def test_a_tracker_that_dies_does_not_hold_the_machine_for_ever(
    tracker: TrackerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_TRACKER_PATIENCE", "2")
    run = WandbTracker.start(settings(tracker), config={}, directory=str(tmp_path))
    run_id = run.run_id
    tracker.kill()
    try:
        run.log({"train/loss": 1.0}, step=1)
        with pytest.raises(TrackerUnavailableError, match="wandb sync"):
            run.finish(0)
    finally:
        tracker.start()
    assert run_id


def test_a_pie_chart_is_a_document_with_a_slice_per_kind() -> None:
    svg = ET.fromstring(pie_chart({"accent": 3, "<noise>": 1, "none": 0}, "Types"))
    space = "{http://www.w3.org/2000/svg}"
    assert len(svg.findall(f"{space}path")) == 2
    assert [text.text for text in svg.findall(f"{space}text")] == ["Types", "accent: 3 (75%)", "<noise>: 1 (25%)"]
    assert len(ET.fromstring(pie_chart({"all": 3}, "One")).findall(f"{space}circle")) == 1


def test_artifacts_are_fetched_once_and_missing_ones_are_bad_configuration(
    tracker: TrackerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_ARTIFACT_DIR", str(tmp_path / "scratch"))
    wanted = settings(tracker)
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w")
    config = {"model": {"name": "wandb-artifact://e/p/base:v0"}}  # the SDK would refuse it below the top level
    run = WandbTracker.start(wanted, config=config, directory=str(tmp_path))
    name = run.log_model("fetched", model, {})
    run.finish(0)
    assert name is not None
    folder, full = download_artifact(wanted, name.replace(":v0", ":latest"))
    assert full == name
    assert (Path(folder) / "weights").read_bytes() == b"w"
    assert Path(folder).is_relative_to(tmp_path / "scratch")
    with pytest.raises(BadConfigError, match=r"artifact .*nothing:v0 does not exist"):
        download_artifact(wanted, f"{tracker.entity}/alone/nothing:v0")
