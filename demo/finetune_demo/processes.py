"""Programs that the demo runs: each in its own process group, ended with the demo whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from finetune_demo.errors import DemoError
from finetune_demo.signals import signals_held

_GRACE_SECONDS = 30.0
_LOOK_SECONDS = 0.05


@dataclass
class Program:
    """A program that runs.

    Attributes:
        output: File that its standard output goes to; a file, because nobody needs to keep reading it.
        log: File that its standard error goes to.
    """

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    log: Path

    def lines(self, timeout: float) -> Iterator[str]:
        """Lines of standard output, as they come, until it ends.

        Raises:
            DemoError: No end within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        pending = ""
        with self.output.open() as stream:
            while True:
                ended = self.process.poll() is not None  # asked before reading, so that its last words are read
                *whole, pending = (pending + stream.read()).split("\n")
                yield from whole
                if ended:
                    return
                if time.monotonic() > deadline:
                    raise DemoError(f"{self.name} did not finish within {timeout:.0f} s", log=self.log)
                time.sleep(_LOOK_SECONDS)

    def first_line(self, timeout: float) -> str:
        """The first line of standard output, which says that the program can be used.

        Raises:
            DemoError: The program ended, or said nothing in time.
        """
        for line in self.lines(timeout):
            return line
        raise DemoError(f"{self.name} ended with status {self.process.wait()} before it was ready", log=self.log)

    def stop(self, grace: float = _GRACE_SECONDS) -> None:
        """SIGTERM to the program, which ends its own children; then SIGKILL to what is left of its group."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the group is ours: its id is our child's process id
        self.process.wait()


class Programs:
    """The programs of one demo, as a context: on exit they end in the reverse order of their start."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[Program] = []

    def __enter__(self) -> Programs:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with signals_held():
            while self._running:
                self._running.pop().stop()

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Program:
        """Run `command` with its output in `logs/NAME.out` and `logs/NAME.log`."""
        output, log = self._logs / f"{name}.out", self._logs / f"{name}.log"
        # A signal between start and append would lose the process.
        with signals_held(), output.open("w") as out, log.open("w") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
            program = Program(name, process, output, log)
            self._running.append(program)
        return program

    def check(self) -> None:
        """Raise if a program that should be running has ended.

        Raises:
            DemoError: One has.
        """
        for program in self._running:
            status = program.process.poll()
            if status is not None:
                raise DemoError(f"{program.name} ended with status {status}", log=program.log)

    def finished(self, program: Program) -> int:
        """Wait for a program whose output has ended; returns its exit status."""
        status = program.process.wait(_GRACE_SECONDS)
        program.stop()
        self._running.remove(program)
        return status
