"""The processes that are measured: the operator, a minimal loop, an operator that does nothing."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_sandbox.kubelet.isolation import die_with_parent

WITHOUT_CLIENT = Path(__file__).with_name("image")
"""In front of the path, where kopf would import the Kubernetes client if the operator's image had it."""


@dataclass
class Measured:
    """A process and what it costs.

    Attributes:
        log: What it writes.
    """

    process: subprocess.Popen[bytes]
    log: Path

    async def says(self, word: str, seconds: float = 30.0) -> None:
        """Waits until it has written a word.

        Raises:
            TimeoutError: It does not.
        """
        async with asyncio.timeout(seconds):
            while word not in self.log.read_text():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)

    @property
    def rss_mb(self) -> float:
        """Resident memory, in 10^6 bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far, of user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(log: Path, *command: str, env: Mapping[str, str] | None = None) -> Iterator[Measured]:
    """Runs a Python module with arguments, as the images do: nothing of this environment but what is given."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "FINETUNE"))}
    path = f"{WITHOUT_CLIENT}{os.pathsep}{clean.get('PYTHONPATH', '')}"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=output,
            stderr=output,
            env={**clean, "PYTHONPATH": path, **(env or {})},
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
    try:
        yield Measured(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def operator(
    log: Path, kubeconfig: Path, namespace: str, tracker: str, *arguments: str
) -> contextlib.AbstractContextManager[Measured]:
    """The operator as it ships, serving one namespace."""
    env = {"FINETUNE_WANDB_BASE_URL": tracker, "FINETUNE_TRAINER_IMAGE": "registry.test/nothing:1"}
    command = ("finetune_operator", "run", "--kubeconfig", str(kubeconfig), "--namespace", namespace, *arguments)
    return running(log, *command, env=env)
