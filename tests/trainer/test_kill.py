"""Kills at random moments: the result is that of an undisturbed trial, and little work is done twice."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from .processes import Trainer

Start = Callable[..., AbstractContextManager[Trainer]]
STEPS = 1000
EVERY = 20


@pytest.fixture
def document(bases: dict[str, Path], tones: Path) -> Callable[[Path], dict[str, Any]]:
    def build(folder: Path) -> dict[str, Any]:
        return {
            "mode": "train",
            "tracking": {"enabled": False, "runID": "fixed"},
            "model": {"name": str(bases["ctc"])},
            "dataset": {"uri": str(tones)},
            "hyperparameters": {"learning_rate": 3e-3, "batch_size": 8, "max_steps": STEPS, "dropout": 0.1},
            "checkpoints": {"path": str(folder / "checkpoints"), "everySteps": EVERY},
        }

    return build


def without_time(result: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: value for name, value in result["metrics"].items() if name != "realTimeFactor"}
    return {**result, "seconds": None, "metrics": metrics}


def steps_kept(folder: Path) -> int:
    found = [int(path.stem.removeprefix("step-")) for path in folder.rglob("step-*.pt")]
    return max(found, default=0)


@pytest.mark.slow
def test_twenty_kills_change_nothing(
    trainer: Start, document: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    with trainer("train", document(tmp_path / "whole"), tmp_path / "whole") as whole:
        assert whole.wait() == 0, whole.log
    chance = random.Random(7)
    torn, wanted = tmp_path / "torn", document(tmp_path / "torn")
    kept = kills = 0
    patience = 1.0
    for _ in range(20):
        number = chance.choice([signal.SIGTERM, signal.SIGKILL])
        with trainer("train", wanted, torn) as process:
            end = time.monotonic() + patience * chance.uniform(0.2, 1.3)
            while time.monotonic() < end and not process.over:
                time.sleep(0.01)
            process.signal(number)
            code = process.wait(30)
        assert code == -signal.SIGKILL or code in (143, -signal.SIGTERM), process.log
        if code == 143:
            assert process.result["state"] == "preempted"
        assert steps_kept(torn) >= kept, "a checkpoint was lost"
        if "continues at step" in process.log:  # the kill did not come before
            assert f"continues at step {kept} of {STEPS}" in process.log
        kept = steps_kept(torn)
        kills += 1
        if not kept:  # a busy machine has not come as far as a checkpoint
            patience *= 1.25
    assert kills == 20
    assert kept
    with trainer("train", wanted, torn) as process:
        assert process.wait() == 0, process.log
    assert without_time(process.result) == without_time(whole.result)
    assert steps_kept(torn) == 0, "a finished trial leaves no checkpoint"
