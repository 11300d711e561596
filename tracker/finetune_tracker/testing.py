"""A real server process for tests, of this part and of those that talk to it.

@pytest.fixture(scope="session")
def tracker(tmp_path_factory):
with running_tracker(tmp_path_factory.mktemp("tracker")) as server:
yield server  # server.base_url, server.api_key, server.entity
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_START_TIMEOUT = 30.0


@dataclass
class TrackerProcess:
    """A server process; `kill` and `start` give the same server at the same address again."""

    data: Path
    api_key: str
    entity: str = "local"
    env: Mapping[str, str] = field(default_factory=dict)
    base_url: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        """What the server wrote to stderr."""
        return self.data / "server.log"

    def start(self) -> None:
        """Start the process and wait until it serves.

        Raises:
            RuntimeError: It did not come up; the message has the end of its log.
        """
        key_file = self.data / "api-key"
        key_file.touch(mode=0o600)
        key_file.write_text(self.api_key)
        port = self.base_url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "finetune_tracker", "serve", "--host", "127.0.0.1", "--port", port]
        command += ["--data", str(self.data), "--api-key-file", str(key_file), "--entity", self.entity]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **self.env}
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], _START_TIMEOUT)
        line = self.process.stdout.readline().strip() if ready else ""
        if not line.startswith("http"):
            self.stop()
            raise RuntimeError(f"the tracker did not start: {self.log.read_text()[-2000:]}")
        self.base_url = line

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal the process and wait for its end; returns the exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(how)
        try:
            status = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return status

    def kill(self) -> None:
        """SIGKILL, as a power cut or the OOM killer would."""
        self.stop(signal.SIGKILL)

    def client_env(self, folder: Path) -> dict[str, str]:
        """Environment for a W&B client of this server that touches nothing outside `folder`."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR"):
            path = folder / name.lower()
            path.mkdir(parents=True, exist_ok=True)
            env[f"WANDB_{name}"] = str(path)
        return env | {
            "WANDB_BASE_URL": self.base_url,
            "WANDB_API_KEY": self.api_key,
            "WANDB_ENTITY": self.entity,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            "WANDB__SERVICE_WAIT": "120",
            "HOME": str(folder),
        }


@contextlib.contextmanager
def running_tracker(
    data: Path, *, entity: str = "local", api_key: str | None = None, env: Mapping[str, str] | None = None
) -> Iterator[TrackerProcess]:
    """A server on a free port of loopback, stopped at the end.

    Args:
        data: Folder of the server's data; created if need be.
        entity: Name of the default user and entity.
        api_key: The accepted key, by default a random one.
        env: Further environment, e.g. `{"FINETUNE_TRACKER_RUN_TIMEOUT": "3"}`.
    """
    data.mkdir(parents=True, exist_ok=True)
    server = TrackerProcess(data, api_key or secrets.token_hex(20), entity, env or {})
    server.start()
    try:
        yield server
    finally:
        server.stop()


def wait_until(condition: Callable[[], object], timeout: float = 30.0, interval: float = 0.05) -> None:
    """Poll a callable until it is true.

    Raises:
        TimeoutError: It was not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {timeout} s: {getattr(condition, '__name__', condition)}")
        time.sleep(interval)
