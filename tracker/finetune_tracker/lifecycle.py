"""When runs, agents and sweeps change state: pure decisions, every time and fact comes in as an argument.

`wandb-core` sends nothing when its process dies, so only silence tells. Silence counts from the server's own start at
the earliest: otherwise every run would crash whenever the server was down for longer than the timeout.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class RunState(enum.StrEnum):
    """States of a run, in W&B's words."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    KILLED = "killed"
    PREEMPTING = "preempting"
    PREEMPTED = "preempted"


class SweepState(enum.StrEnum):
    """States of a sweep, in W&B's words."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"


# An agent that is issued the same trial this often, without ever seeing it alive, has a trial that dies at once.
MOST_ISSUES = 3

IN_FLIGHT = frozenset({RunState.PENDING, RunState.RUNNING, RunState.PREEMPTING})
ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CRASHED, RunState.KILLED})


@dataclass(frozen=True)
class Timeouts:
    """Seconds of silence, see `Settings`."""

    run: float
    grace: float
    agent: float


def state_at_exit(exitcode: int, *, stopped: bool, preempting: bool) -> RunState:
    """The state of a run whose process said goodbye."""
    if exitcode == 0:
        return RunState.FINISHED
    if preempting:
        return RunState.PREEMPTED
    return RunState.KILLED if stopped else RunState.FAILED


def state_after_silence(
    state: RunState,
    *,
    stopped: bool,
    last_seen: float,
    left_at: float | None,
    booted_at: float,
    now: float,
    limits: Timeouts,
) -> RunState | None:
    """The new state of a silent run, or None while it still counts as alive.

    Args:
        state: Its state so far.
        stopped: Whether it was asked to stop.
        last_seen: When the run last posted.
        left_at: When its agent first failed to report it as alive, None while the agent does.
        booted_at: When this server started.
        now: The present.
        limits: How long silence may last.
    """
    if state not in (RunState.RUNNING, RunState.PREEMPTING):
        return None
    silence = now - max(last_seen, booted_at)
    limit = limits.run if left_at is None else min(limits.run, limits.grace)
    if silence <= limit:
        return None
    if state is RunState.PREEMPTING:
        return RunState.PREEMPTED
    return RunState.KILLED if stopped else RunState.CRASHED


def state_when_agent_drops(state: RunState, *, stopped: bool) -> RunState | None:
    """The new state of a run that its agent had reported as alive and now does not.

    None means to wait: the last words of a run that ended properly may still be on their way.
    """
    if state is RunState.PENDING:
        return RunState.FAILED  # its process ended before it reached wandb.init
    if state is RunState.RUNNING and stopped:
        return RunState.KILLED
    return None


class Turn(enum.Enum):
    """What an agent without a live run is told."""

    EXIT = "exit"
    WAIT = "wait"
    REISSUE = "reissue"
    RESUME = "resume"
    SEARCH = "search"


def turn(
    state: SweepState,
    *,
    has_pending: bool,
    preempted: int,
    counted: int,
    in_flight: int,
    run_cap: int | None,
    exhausted: bool,
) -> Turn:
    """What to do with an idle agent.

    Agents wait while a run is still in flight after the last one was handed out: if it is preempted it needs somebody
    to continue it, and a Kubernetes Job starts no replacement pods once one of its pods has succeeded.

    Args:
        state: The sweep's state.
        has_pending: A run was handed to this agent and its answer got lost.
        preempted: Runs that wait to be continued.
        counted: Runs that count against `run_cap` (all but prior runs).
        in_flight: Runs that are pending, running or preempting.
        run_cap: The most runs to hand out, None for no bound.
        exhausted: The search has no further suggestion.
    """
    if state in (SweepState.FINISHED, SweepState.CANCELED):
        return Turn.EXIT
    if state is SweepState.PAUSED:
        return Turn.WAIT
    if has_pending:
        return Turn.REISSUE
    if preempted:
        return Turn.RESUME
    if exhausted or (run_cap is not None and counted >= run_cap):
        return Turn.WAIT if in_flight else Turn.EXIT
    return Turn.SEARCH
