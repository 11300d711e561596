"""Starts this pod's share of a trial's processes, one per accelerator.

It reads torchrun's own variables and would be torchrun, but for what a Kubernetes Job needs: torchrun ends with status
1 whatever happened, while the Job's failure policy and the operator go by the trainer's exit codes and message; and it
restarts processes by itself, which is the Job's part here. The trainer also runs under torchrun itself.

    PET_NPROC_PER_NODE=2 python -m finetune_trainer train --config trial.json
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .contract import TERMINATION_LOG_ENV, ExitCode
from .errors import BadConfigError

log = logging.getLogger(__name__)

DEFAULT_PORT = 29500
LAST_WORDS_SECONDS = 60.0
"""For the other processes, once one has failed: the leader tells the tracker; what hangs in an exchange is killed."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Which processes this pod starts.

    Attributes:
        nodes: Pods of the trial.
        processes: Processes per pod.
        node_rank: Number of this pod.
        address: Host name of pod 0, where all processes meet.
        port: Port there.
    """

    nodes: int
    processes: int
    node_rank: int
    address: str
    port: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Launch | None:
        """Reads torchrun's variables; None where one process is all, or another launcher has started this one.

        Raises:
            BadConfigError: A variable is no number, or the address is missing.
        """
        if "WORLD_SIZE" in environment:
            return None
        nodes = _number(environment, "PET_NNODES", 1)
        processes = _number(environment, "PET_NPROC_PER_NODE", 1)
        if nodes * processes == 1:
            return None
        address = environment.get("PET_MASTER_ADDR", "127.0.0.1" if nodes == 1 else "")
        if not address:
            raise BadConfigError("PET_MASTER_ADDR is required with PET_NNODES above 1: the host name of the first pod.")
        port = _number(environment, "PET_MASTER_PORT", _free_port() if nodes == 1 else DEFAULT_PORT)
        return cls(nodes, processes, _number(environment, "PET_NODE_RANK", 0, least=0), address, port)

    def environments(self) -> list[dict[str, str]]:
        """What each process of this pod is told, beside what all inherit."""
        threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or "1") // self.processes)
        return [
            {
                "RANK": str(self.node_rank * self.processes + local),
                "LOCAL_RANK": str(local),
                "WORLD_SIZE": str(self.nodes * self.processes),
                "LOCAL_WORLD_SIZE": str(self.processes),
                "MASTER_ADDR": self.address,
                "MASTER_PORT": str(self.port),
                "OMP_NUM_THREADS": str(threads),
            }
            for local in range(self.processes)
        ]


def run(launch: Launch, command: Sequence[str], report_to: Path | None) -> int:
    """Runs a command in all processes of this pod.

    Args:
        launch: Which processes.
        command: The trainer's.
        report_to: Where the pod's termination message goes: that of the process which decided its end.

    Returns:
        The exit code of the first process that failed; 0 when none did.
    """
    ended: queue.Queue[tuple[int, int]] = queue.Queue()
    with tempfile.TemporaryDirectory(prefix="finetune-") as folder:
        processes: list[subprocess.Popen[bytes]] = []
        try:
            with _forwarding(processes) as asked:
                for place, own in enumerate(launch.environments()):
                    environment = {**os.environ, **own, TERMINATION_LOG_ENV: f"{folder}/{place}"}
                    process = subprocess.Popen(command, env=environment)
                    processes.append(process)
                    for number in asked:  # those before have been told already
                        process.send_signal(number)
                    threading.Thread(target=_watch, args=(place, process, ended), daemon=True).start()
                place, code = _first_failure(ended, len(processes))
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
        words = Path(folder, str(place))
        if report_to is not None and words.exists():
            with contextlib.suppress(OSError):
                report_to.write_text(words.read_text(encoding="utf-8"), encoding="utf-8")
    return code if code >= 0 else 128 - code


def _first_failure(ended: queue.Queue[tuple[int, int]], count: int) -> tuple[int, int]:
    """Place and status of the first process that failed, or of the first one of all, once all have had their say."""
    verdict = (0, int(ExitCode.DONE))
    for _ in range(count):
        failed = verdict[1] != 0
        try:
            place, code = ended.get(timeout=LAST_WORDS_SECONDS if failed else None)
        except queue.Empty:
            log.warning("Processes that did not end after process %d had failed are killed.", verdict[0])
            break
        if code != 0 and not failed:
            verdict = (place, code)
    return verdict


def _watch(place: int, process: subprocess.Popen[bytes], ended: queue.Queue[tuple[int, int]]) -> None:
    ended.put((place, process.wait()))


@contextlib.contextmanager
def _forwarding(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Hands the kubelet's signals on; the processes agree among themselves on what to do. Yields what came."""
    asked: list[int] = []

    def forward(number: int, _: object) -> None:
        asked.append(number)
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _number(environment: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = environment.get(name) or str(default)
    if not text.isdigit() or int(text) < least:
        raise BadConfigError(f"{name} {text!r} is not a whole number of at least {least}.")
    return int(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
