"""Trainer processes of tests: started, watched, and ended by their own id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Trainer:
    """A running `python -m finetune_trainer` and what it leaves behind."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> str:
        """What the process wrote so far."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def result(self) -> dict[str, Any]:
        """The termination message."""
        text: dict[str, Any] = json.loads((self.folder / "termination").read_text())
        return text

    def wait(self, seconds: float = 90.0) -> int:
        """The exit code; kills the process and fails when it takes longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.log[-3000:]}") from None

    def wait_for_log(self, text: str, seconds: float = 60.0) -> None:
        """Returns when the text has been written."""
        until(lambda: text in self.log or self.process.poll() is not None, seconds, lambda: self.log)
        assert text in self.log, self.log[-3000:]

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to this process alone."""
        self.process.send_signal(number)


@contextlib.contextmanager
def trainer(command: str, document: dict[str, Any], folder: Path, **environment: str) -> Iterator[Trainer]:
    """Runs a command of the trainer; the process is gone at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "trial.json"
    path.write_text(json.dumps(document))
    (folder / "termination").unlink(missing_ok=True)
    clean = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    env = {
        **clean,
        "OMP_NUM_THREADS": "1",
        "FINETUNE_TERMINATION_LOG": str(folder / "termination"),
        "HF_HUB_OFFLINE": "1",
        **environment,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetune_trainer", command, "--config", str(path)], stdout=log, stderr=log, env=env
        )
        try:
            yield Trainer(process, folder)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = str) -> None:
    """Polls a condition until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()[-3000:]
        time.sleep(0.02)
