"""Kills at random moments: the result is that of an undisturbed trial, and little work is done twice."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from .processes import Trainer

Start = Callable[..., AbstractContextManager[Trainer]]
STEPS = 400
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


@pytest.mark.slow
def test_twenty_kills_change_nothing(
    trainer: Start, document: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    with trainer("train", document(tmp_path / "whole"), tmp_path / "whole") as whole:
        assert whole.wait() == 0, whole.log
    chance = random.Random(7)
    wanted = document(tmp_path / "torn")
    kills = 0
    begun = 0  # steps done in all attempts together
    while kills < 20:
        number = chance.choice([signal.SIGTERM, signal.SIGKILL])
        with trainer("train", wanted, tmp_path / "torn", FINETUNE_LOG_LEVEL="INFO") as torn:
            patience = time.monotonic() + chance.uniform(0.5, 2.5)
            while time.monotonic() < patience and not torn.over:
                time.sleep(0.01)
            if torn.over:
                break
            torn.signal(number)
            code = torn.wait(30)
        kills += 1
        assert code == (143 if number is signal.SIGTERM else -9) or code in (0, -15), torn.log
        found = sorted((tmp_path / "torn" / "checkpoints").rglob("step-*.pt"))
        reached = max((int(re.findall(r"\d+", path.stem)[-1]) for path in found), default=0)
        assert reached >= begun, "a checkpoint was lost"
        begun = reached
        if code == 0:
            break
    with trainer("train", wanted, tmp_path / "torn") as last:
        if not (tmp_path / "torn" / "termination").exists() or last.wait() != 0:
            assert last.wait() == 0, last.log
    assert without_time(last.result) == without_time(whole.result)
