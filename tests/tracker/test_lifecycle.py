import pytest
from finetune_tracker.lifecycle import (
    RunState,
    SweepState,
    Timeouts,
    Turn,
    state_after_silence,
    state_at_exit,
    state_when_agent_drops,
    turn,
)

LIMITS = Timeouts(run=90, grace=30, agent=60)


@pytest.mark.parametrize(
    ("exitcode", "stopped", "preempting", "expected"),
    [
        (0, False, False, RunState.FINISHED),
        (0, True, True, RunState.FINISHED),
        (1, False, False, RunState.FAILED),
        (1, True, False, RunState.KILLED),
        (143, False, True, RunState.PREEMPTED),
        (143, True, True, RunState.PREEMPTED),
        (255, True, False, RunState.KILLED),
    ],
)
def test_a_run_that_says_goodbye(exitcode, stopped, preempting, expected):
    assert state_at_exit(exitcode, stopped=stopped, preempting=preempting) is expected


@pytest.mark.parametrize(
    ("state", "stopped", "left_at", "booted_at", "silence", "expected"),
    [
        pytest.param("running", False, None, 0, 90, None, id="within the timeout"),
        pytest.param("running", False, None, 0, 91, "crashed", id="silent for too long"),
        pytest.param("running", True, None, 0, 91, "killed", id="silent after a stop request"),
        pytest.param("preempting", False, None, 0, 91, "preempted", id="preempted without last words"),
        pytest.param("running", False, 950, 0, 31, "crashed", id="its agent does not see it any more"),
        pytest.param("running", False, 950, 0, 29, None, id="gone from its agent, last words on their way"),
        pytest.param("running", False, None, 980, 500, None, id="the server itself was down"),
        pytest.param("pending", False, None, 0, 500, None, id="waiting for its agent"),
        pytest.param("finished", False, None, 0, 500, None, id="over"),
    ],
)
def test_silence(state, stopped, left_at, booted_at, silence, expected):
    found = state_after_silence(
        RunState(state), stopped=stopped, last_seen=1000 - silence, left_at=left_at, booted_at=booted_at, now=1000,
        limits=LIMITS,
    )  # fmt: skip
    assert found == expected


def test_a_run_its_agent_drops():
    assert state_when_agent_drops(RunState.PENDING, stopped=False) is RunState.FAILED
    assert state_when_agent_drops(RunState.RUNNING, stopped=True) is RunState.KILLED
    assert state_when_agent_drops(RunState.RUNNING, stopped=False) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, Turn.SEARCH, id="room for more"),
        pytest.param({"state": SweepState.PAUSED, "has_pending": True}, Turn.WAIT, id="paused"),
        pytest.param({"state": SweepState.FINISHED, "has_pending": True}, Turn.EXIT, id="finished"),
        pytest.param({"state": SweepState.CANCELED}, Turn.EXIT, id="cancelled"),
        pytest.param({"has_pending": True, "preempted": 1}, Turn.REISSUE, id="a lost answer comes first"),
        pytest.param({"preempted": 1, "counted": 5, "run_cap": 5}, Turn.RESUME, id="resuming needs no room"),
        pytest.param({"counted": 5, "run_cap": 5}, Turn.EXIT, id="cap reached, all over"),
        pytest.param({"counted": 5, "run_cap": 5, "in_flight": 1}, Turn.WAIT, id="cap reached, one may come back"),
        pytest.param({"exhausted": True}, Turn.EXIT, id="search exhausted"),
        pytest.param({"counted": 4, "run_cap": 5, "in_flight": 4}, Turn.SEARCH, id="one more"),
    ],
)
def test_turns(changes, expected):
    idle = {
        "state": SweepState.RUNNING, "has_pending": False, "preempted": 0, "counted": 0, "in_flight": 0,
        "run_cap": None, "exhausted": False,
    }  # fmt: skip
    assert turn(**(idle | changes)) is expected
