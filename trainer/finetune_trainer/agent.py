"""A sweep's agent: one warm process that runs many trials.

Imports, base model, features and the baseline's scores are paid once. The server is asked for work the moment a trial
ends, and a stop reaches a running trial between two steps.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

from .commands import end_failed, forget, open_tracker
from .contract import AgentCounts, ExitCode, FailureClass, TrialResult
from .errors import (
    BadConfigError,
    DivergedError,
    OutOfMemoryError,
    PreemptedError,
    StoppedError,
    TrackerUnauthorizedError,
    TrackerUnavailableError,
    TrialError,
    as_trial_error,
)
from .hyperparameters import Hyperparameters
from .session import Session
from .sweep_protocol import Command, SweepClient, SweepGoneError
from .tracking import Tracker
from .trial import release_memory, run_trial

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
"""Between heartbeats of a running trial, as the SDK's agents do it."""
IDLE_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Between questions for work; the last one for ever. W&B's limits ask for no less on average."""
HOPELESS = 3
"""After so many bad configurations in a row, and nothing else ever, the sweep's parameters are what is wrong."""


_ALIKE = (BadConfigError, DivergedError, StoppedError)
"""Failures that all processes of a trial meet at the same step, so that they go on together."""


class Agent:
    """Serves one sweep.

    Args:
        session: The warm part of the process.
        patience: Seconds that the tracker may be unreachable before the agent gives up.
    """

    def __init__(self, session: Session, patience: float) -> None:
        self._session = session
        self._patience = patience
        self._client = SweepClient(session.config.tracking) if session.topology.leads else None
        self._waiting: deque[Command] = deque()
        self._exiting = threading.Event()
        self._counts = {"finished": 0, "failed": 0, "stopped": 0, "preempted": 0}

    def run(self) -> tuple[TrialResult, ExitCode]:
        """Runs trials until the tracker says that the sweep is over, or the process is asked to end.

        Raises:
            BadConfigError: Every trial's hyperparameters are wrong, or there is no such sweep.
            PreemptedError: SIGTERM came.
            TrackerUnavailableError: The tracker stayed unreachable.
        """
        began = time.monotonic()
        session = self._session
        session.baseline("validation")  # before the first trial is taken, so that no trial waits for it
        gc.collect()
        gc.freeze()  # what is loaded now stays; collecting after each trial need not look at it again
        if self._client is not None:
            self._patiently(self._client.register)
        failure: TrialError | None = None
        bad_in_a_row = 0
        while failure is None:
            command, failure = self._next_for_all()
            if command is None:
                break
            error = self._trial(command)
            bad_in_a_row = bad_in_a_row + 1 if isinstance(error, BadConfigError) else 0
            if isinstance(error, PreemptedError | TrackerUnavailableError | TrackerUnauthorizedError):
                failure = error
            elif bad_in_a_row >= HOPELESS and not self._counts["finished"]:
                failure = BadConfigError(f"{bad_in_a_row} trials in a row had no chance; the last one: {error}")
            elif error is not None and session.topology.size > 1 and not isinstance(error, _ALIKE):
                failure = error  # the processes may have parted; a restart brings them together
        if failure is None and session.control.preempted:
            failure = PreemptedError("The pod was asked to end between two trials.")
        counts = AgentCounts(**self._counts)
        seconds = round(time.monotonic() - began, 3)
        if failure is None:
            return TrialResult(state="finished", trials=counts, seconds=seconds), ExitCode.DONE
        state = "preempted" if isinstance(failure, PreemptedError) else "failed"
        result = TrialResult(
            state=state,
            failure_class=failure.failure_class,
            message=str(failure)[:1024],
            trials=counts,
            seconds=seconds,
        )
        return result, failure.exit_code

    def _next_for_all(self) -> tuple[Command | None, TrialError | None]:
        """The next trial, or what ends the agent, as the leader learns it; other processes wait for its answer."""
        answer: tuple[Command | None, TrialError | None] | None = None
        if self._session.topology.leads:
            try:
                answer = self._next(), None
            except TrialError as error:
                answer = None, error
        return self._session.topology.broadcast(answer)

    def _next(self) -> Command | None:
        """Waits for a trial; None when the agent is to end."""
        config, control = self._session.config, self._session.control
        taken = sum(self._counts.values())
        if config.max_trials is not None and taken >= config.max_trials:
            return None
        asked = 0
        while not control.preempted and not self._exiting.is_set():
            if not self._waiting:
                self._obey(self._patiently(lambda: self._beat(None)), running=None)
            if self._waiting:
                return self._waiting.popleft()
            if self._exiting.is_set() or control.wait(IDLE_SECONDS[min(asked, len(IDLE_SECONDS) - 1)]):
                break
            asked += 1
        return None

    def _trial(self, command: Command) -> TrialError | None:
        """Runs one trial; returns what ended it early, if anything did."""
        session = self._session
        config = session.config
        values = {**config.hyperparameters, **command.values}
        session.control.clear()
        try:
            shown: Mapping[str, Any] = Hyperparameters.parse(values).model_dump()
        except BadConfigError:
            shown = values  # the run shows what was asked for; the trial itself then fails by it
        try:
            tracker = open_tracker(
                config, session.topology, session.control, shown, command.run_id, config.tracking.sweep_id
            )
        except TrialError as error:
            self._counts["failed"] += 1
            return error
        failure: TrialError | None = None
        with self._beating(command.run_id):
            try:
                result = run_trial(session, values, tracker)
            except Exception as error:
                failure = as_trial_error(error)
                if failure is not error and not isinstance(failure, OutOfMemoryError):
                    log.exception("Trial %s failed unexpectedly.", command.run_id, exc_info=error)
                else:
                    log.warning("Trial %s ended early: %s", command.run_id, failure)
                error.__traceback__ = None  # its frames hold the model
            else:
                failure = self._finish(tracker, result)
            if failure is not None and not isinstance(failure, TrackerUnavailableError):
                release_memory()
                end_failed(tracker, failure)
        self._counts[_outcome(failure)] += 1
        return failure

    def _finish(self, tracker: Tracker, result: TrialResult) -> TrackerUnavailableError | None:
        """Ends a successful run; returns the tracker's failure to take it, which is the agent's, not the trial's."""
        try:
            tracker.finish(0)
        except TrackerUnavailableError as error:
            log.warning("%s", error)
            return error
        forget(self._session.config, result.run_id, self._session.topology)
        log.info("Trial %s finished: WER %.4f.", result.run_id, result.metrics.wer if result.metrics else float("nan"))
        return None

    @contextmanager
    def _beating(self, run_id: str) -> Any:
        """Heartbeats from a thread while a trial runs in this one."""
        if self._client is None:
            yield
            return
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                try:
                    self._obey(self._beat(run_id), running=run_id)
                except (TrialError, ConnectionError) as error:
                    log.warning("No heartbeat: %s", error)  # the trial goes on; its results wait for the tracker

        thread = threading.Thread(target=beat, name="sweep-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, running: str | None) -> list[Command]:
        assert self._client is not None
        try:
            return self._client.heartbeat(running)
        except SweepGoneError:
            log.warning("The sweep is gone; the agent ends%s.", " after its trial" if running else "")
            self._exiting.set()
            return []

    def _obey(self, commands: list[Command], running: str | None) -> None:
        for command in commands:
            if command.kind in ("run", "resume"):
                if command.run_id != running and command.run_id not in {c.run_id for c in self._waiting}:
                    self._waiting.append(command)
            elif command.kind == "stop" and command.run_id == running:
                self._session.control.stop()
            elif command.kind == "stop":
                self._waiting = deque(c for c in self._waiting if c.run_id != command.run_id)
            elif command.kind == "exit":
                self._exiting.set()
                self._waiting.clear()
                if running is not None:
                    self._session.control.stop()

    def _patiently(self, call: Any) -> Any:
        """Retries while the tracker is unreachable, up to the agent's patience.

        Raises:
            TrackerUnavailableError: Patience is at its end.
            PreemptedError: SIGTERM came meanwhile.
        """
        deadline = time.monotonic() + self._patience
        pause = 0.5
        while True:
            try:
                return call()
            except TrackerUnavailableError as error:
                if time.monotonic() + pause > deadline:
                    raise
                log.warning("%s It is asked again in %.1f s.", error, pause)
            if self._session.control.wait(pause):
                raise PreemptedError("The pod was asked to end while the tracker was unreachable.")
            pause = min(2 * pause, 30.0)


def _outcome(failure: TrialError | None) -> str:
    if failure is None:
        return "finished"
    if isinstance(failure, StoppedError):
        return "stopped"
    return "preempted" if failure.failure_class is FailureClass.PREEMPTED else "failed"
