"""Several processes per pod: what they are told, and how their end becomes the pod's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from finetune_trainer import launch
from finetune_trainer.errors import BadConfigError
from finetune_trainer.launch import Launch

from .processes import until


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"PET_NPROC_PER_NODE": "1"}, None),
        ({"PET_NPROC_PER_NODE": "2", "WORLD_SIZE": "2"}, None),
        ({"PET_NPROC_PER_NODE": "4", "PET_MASTER_PORT": "7"}, Launch(1, 4, 0, "127.0.0.1", 7)),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "a"}, Launch(2, 1, 1, "a", 29500)),
        ({"PET_NNODES": "2"}, "PET_MASTER_ADDR is required"),
        ({"PET_NNODES": "two"}, "PET_NNODES 'two' is not a whole number of at least 1"),
        ({"PET_NPROC_PER_NODE": "0"}, "PET_NPROC_PER_NODE '0'"),
    ],
)
def test_what_the_variables_ask_for(environment: dict[str, str], expected: Launch | str | None) -> None:
    if isinstance(expected, str):
        with pytest.raises(BadConfigError, match=expected):
            Launch.of(environment)
    else:
        assert Launch.of(environment) == expected


def test_ranks_go_on_from_pod_to_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    told = Launch(3, 2, 1, "first", 7).environments()
    assert [(own["RANK"], own["LOCAL_RANK"]) for own in told] == [("2", "0"), ("3", "1")]
    assert {own["WORLD_SIZE"] for own in told} == {"6"}
    assert {own["OMP_NUM_THREADS"] for own in told} == {"4"}


def scripted(folder: Path, *scripts: str) -> int:
    """Runs one script per process; each finds its termination log in `log`."""
    start = "import os, sys, time, signal; log = open(os.environ['FINETUNE_TERMINATION_LOG'], 'w'); "
    folder.joinpath("scripts").write_text(json.dumps([start + script for script in scripts]))
    chosen = f"import json, os; exec(json.load(open({str(folder / 'scripts')!r}))[int(os.environ['RANK'])])"
    command = [sys.executable, "-S", "-c", chosen]
    return launch.run(Launch(1, len(scripts), 0, "127.0.0.1", 1), command, folder / "termination")


@pytest.mark.parametrize(
    ("scripts", "code", "message"),
    [
        (["log.write('leader')", "log.write('other')"], 0, "leader"),
        (
            ["log.write('memory'); log.close(); os._exit(3)", "time.sleep(0.5); log.write('peer'); sys.exit(1)"],
            3,
            "memory",
        ),
        (["time.sleep(0.5); log.write('peer lost'); sys.exit(1)", "log.write('other'); sys.exit(75)"], 75, "other"),
        (["sys.exit(2)", "sys.exit(2)"], 2, ""),
        (["sys.exit(143)", "sys.exit(143)"], 143, ""),
        (["time.sleep(0.5)", "os.kill(os.getpid(), signal.SIGKILL)"], 137, ""),
        (["os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", "time.sleep(0.5); sys.exit(1)"], 143, ""),
    ],
)
def test_the_first_failure_decides(tmp_path: Path, scripts: list[str], code: int, message: str) -> None:
    assert scripted(tmp_path, *scripts) == code
    assert (tmp_path / "termination").read_text() == message


def test_a_process_that_hangs_after_anothers_failure_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "LAST_WORDS_SECONDS", 0.2)
    began = time.monotonic()
    assert scripted(tmp_path, "time.sleep(60)", "sys.exit(3)") == 3
    assert time.monotonic() - began < 30


def document(model: Path, manifest: Path, folder: Path, **fields: Any) -> Path:
    path = folder / "trial.json"
    trial = {
        "mode": "train",
        "tracking": {"enabled": False, "runID": "fixed"},
        "model": {"name": str(model)},
        "dataset": {"uri": str(manifest)},
        "checkpoints": {"path": str(folder / "checkpoints"), "everySteps": 100_000},
        **fields,
    }
    path.write_text(json.dumps(trial))
    return path


def started(path: Path, **environment: str) -> subprocess.Popen[bytes]:
    own = {"PET_NPROC_PER_NODE": "2", "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    log = path.parent / "log"
    return subprocess.Popen(
        [sys.executable, "-m", "finetune_trainer", "train", "--config", str(path)],
        env={**os.environ, **own, "FINETUNE_TERMINATION_LOG": str(path.parent / "termination"), **environment},
        stdout=subprocess.DEVNULL,
        stderr=log.open("wb"),
    )


def test_bad_input_is_bad_input_also_in_two_processes(bases: dict[str, Path], tmp_path: Path) -> None:
    process = started(document(bases["ctc"], tmp_path / "none.jsonl", tmp_path))
    assert process.wait(60) == 2
    assert "does not exist" in json.loads((tmp_path / "termination").read_text())["message"]


@pytest.mark.slow
def test_two_processes_are_preempted_and_continue_together(bases: dict[str, Path], tones: Path, tmp_path: Path) -> None:
    values = {"learning_rate": 3e-3, "batch_size": 16, "epochs": 20}
    path = document(bases["ctc"], tones, tmp_path, hyperparameters=values)
    log = tmp_path / "log"
    process = started(path)
    try:
        until(lambda: "Epoch 2.00" in log.read_text() or process.poll() is not None, 120, log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert json.loads((tmp_path / "termination").read_text())["failureClass"] == "Preempted"
    again = started(path)
    try:
        assert again.wait(120) == 0, log.read_text()
    finally:
        again.kill()
        again.wait()
    assert "Training continues at step" in log.read_text()
    assert json.loads((tmp_path / "termination").read_text())["state"] == "finished"
