"""Trainer processes of tests: started, watched, and ended by their own id."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Zygote:
    """Starts trainer processes from one that has everything imported."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._pids: queue.Queue[int] = queue.Queue()
        self._codes: dict[int, int] = {}
        self._changed = threading.Condition()
        self._lock = threading.Lock()
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, *numbers = line.split()
            if kind == b"pid":
                self._pids.put(int(numbers[0]))
            else:
                with self._changed:
                    self._codes[int(numbers[0])] = int(numbers[1])
                    self._changed.notify_all()

    def start(self, arguments: list[str], environment: dict[str, str], log: Path) -> int:
        """Starts a trainer; returns its process id."""
        assert self._process.stdin is not None
        order = {"arguments": arguments, "environment": environment, "log": str(log)}
        with self._lock:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            return self._pids.get(timeout=20)

    def code(self, pid: int, seconds: float) -> int | None:
        """The exit code of a process, once it has one."""
        with self._changed:
            self._changed.wait_for(lambda: pid in self._codes, seconds)
            return self._codes.get(pid)

    def close(self) -> None:
        """Ends the zygote; its children are ended by those who started them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._reader.join(20)
        self._process.stdout.close()


@dataclass
class Trainer:
    """A running trainer and what it leaves behind."""

    zygote: Zygote
    pid: int
    folder: Path

    @property
    def log(self) -> str:
        """What the process wrote so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def result(self) -> dict[str, Any]:
        """The termination message."""
        document: dict[str, Any] = json.loads((self.folder / "termination").read_text())
        return document

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self.zygote.code(self.pid, 0) is not None

    def wait(self, seconds: float = 90.0) -> int:
        """The exit code, negative after a signal."""
        code = self.zygote.code(self.pid, seconds)
        assert code is not None, f"still running after {seconds} s:\n{self.log[-3000:]}"
        return code

    def wait_for_log(self, text: str, seconds: float = 60.0) -> None:
        """Returns when the text has been written."""
        until(lambda: text in self.log or self.over, seconds, lambda: self.log)
        assert text in self.log, self.log[-3000:]

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to this process alone."""
        os.kill(self.pid, number)


@contextlib.contextmanager
def running(
    zygote: Zygote, command: str, document: dict[str, Any], folder: Path, **environment: str
) -> Iterator[Trainer]:
    """Runs a command of the trainer; the process is gone at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "trial.json"
    path.write_text(json.dumps(document))
    for name in ("termination", "log"):
        (folder / name).unlink(missing_ok=True)
    clean = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "FINETUNE_TERMINATION_LOG": str(folder / "termination")}
    pid = zygote.start([command, "--config", str(path)], {**clean, **own, **environment}, folder / "log")
    started = Trainer(zygote, pid, folder)
    try:
        yield started
    finally:
        if not started.over:
            started.signal(signal.SIGKILL)
            started.wait(20)


def until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = str) -> None:
    """Polls a condition until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()[-3000:]
        time.sleep(0.02)
