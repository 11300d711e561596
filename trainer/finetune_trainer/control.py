"""Requests to end a trial early, from the kubelet (SIGTERM) or the tracker (early termination), seen at safe points."""

from __future__ import annotations

import enum
import signal
import threading
from types import FrameType

from .errors import PreemptedError, StoppedError


class Request(enum.IntEnum):
    """What was asked for; the larger value wins where processes disagree."""

    NONE = 0
    STOP = 1
    PREEMPT = 2


class Control:
    """One trial's flag; signal handlers and the tracker's threads set it, the trial's own thread looks at it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may interrupt its own thread inside `request`
        self._stop = False
        self._preempt = threading.Event()

    def stop(self) -> None:
        """Asks for the end of the current trial only."""
        with self._lock:
            self._stop = True

    def preempt(self) -> None:
        """Asks the whole process to end, keeping a checkpoint."""
        self._preempt.set()

    def clear(self) -> None:
        """Forgets a stop: a new trial begins. A preemption stays."""
        with self._lock:
            self._stop = False

    @property
    def request(self) -> Request:
        """What is asked for now."""
        if self._preempt.is_set():
            return Request.PREEMPT
        with self._lock:
            return Request.STOP if self._stop else Request.NONE

    @property
    def preempted(self) -> bool:
        """Whether the process is to end."""
        return self._preempt.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleeps, but no longer than until a preemption; returns whether there is one."""
        return self._preempt.wait(seconds)

    def handle_signals(self) -> None:
        """SIGTERM asks for preemption; a second one ends the process at once, as the default would have."""

        def handler(signum: int, frame: FrameType | None) -> None:
            self.preempt()
            signal.signal(signum, signal.SIG_DFL)

        signal.signal(signal.SIGTERM, handler)


def raise_for(request: Request) -> None:
    """Turns a request into the exception that unwinds the trial.

    Raises:
        PreemptedError: The process is to end.
        StoppedError: The trial is to end.
    """
    if request is Request.PREEMPT:
        raise PreemptedError("The pod was asked to end; the trial continues from its checkpoint when it is run again.")
    if request is Request.STOP:
        raise StoppedError("The tracker stopped the run.")
