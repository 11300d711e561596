"""Staged searches: the properties of every plan hold over all stages together; each hands over to the next."""

from __future__ import annotations

from typing import Any

import pytest
from finetune_operator import sweepconfig
from finetune_operator.api import SweepRunSpec
from finetune_operator.search.space import inside
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.support.world import World, sweep_run
from tests.operator.test_plan_properties import EDITS, EVENTS, live_agents, run_on, step

EXPLORE = {"name": "explore", "method": "random", "trials": 6, "minExpectedGain": "0"}
REFINE = {"name": "refine", "method": "bayes", "trials": 4, "refine": {"factor": 4}, "minExpectedGain": "0"}


def staged(*stages: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return sweep_run(parallelism=2, stages=list(stages or (EXPLORE, REFINE)), **spec)


def stages(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.status["stages"]
    return found


def test_the_second_stage_searches_around_the_best_of_the_first():
    world = World("SweepRun", staged())
    run_on(world)
    assert world.holds("Complete")
    first, second = world.sweeps.values()
    assert [sweep.token.rsplit(":", 1)[1] for sweep in (first, second)] == ["0", "1"]
    assert (first.config["method"], second.config["method"]) == ("random", "bayes")
    assert (first.cap, second.cap) == (6, 4)
    space = second.config["parameters"]
    assert space["learning_rate"]["min"] > 1e-6 or space["learning_rate"]["max"] < 1e-3
    assert space == stages(world)[1]["parameters"]
    assert second.prior_runs
    assert all(first.runs[run].state == "finished" for run in second.prior_runs)
    assert all(inside(space, first.runs[run].config) for run in second.prior_runs)
    assert [stage["state"] for stage in stages(world)] == ["Complete", "Complete"]
    assert [stage["trials"]["total"] for stage in stages(world)] == [6, 4]
    assert world.status["trials"]["total"] == 10
    values = [run.metric("eval/wer") for sweep in world.sweeps.values() for run in sweep.runs.values()]
    assert world.status["bestRun"]["value"] == min(value for value in values if value is not None)


def test_runs_that_moved_into_the_new_sweep_are_not_its_trials():
    """W&B may count prior runs among those of the sweep that they seed."""
    world = World("SweepRun", staged())
    run_until(world, lambda: len(world.sweeps) == 2)
    first, second = world.sweeps.values()
    second.runs |= {run: first.runs[run] for run in second.prior_runs}
    second.cap += len(second.prior_runs)
    run_on(world)
    assert world.holds("Complete")
    assert world.status["trials"]["total"] == 10
    assert len(second.runs) == 4 + len(second.prior_runs)


def run_until(world: World, reached: Any, turns: int = 60) -> None:
    for _ in range(turns):
        world.reconcile()
        if reached():
            return
        world.schedule()
        world.work()
        world.pass_time(7)
    raise AssertionError(world.status)


def test_a_stage_ends_early_when_its_trials_are_expected_to_gain_little():
    world = World("SweepRun", staged(EXPLORE | {"trials": 40, "minExpectedGain": "0.5"}, REFINE))
    run_on(world)
    assert world.holds("Complete")
    explored = stages(world)[0]
    assert explored["trials"]["total"] < 20
    assert "expected to gain" in explored["reason"]
    assert stages(world)[1]["trials"]["total"] == 4


def test_the_cap_holds_over_all_stages_and_leaves_out_those_that_find_nothing_left():
    third = REFINE | {"name": "third"}
    world = World("SweepRun", staged(EXPLORE, REFINE, third, trials=8))
    run_on(world)
    assert world.holds("Complete")
    assert [stage.get("trials", {}).get("total") for stage in stages(world)] == [6, 2, None]
    assert [stage["state"] for stage in stages(world)] == ["Complete", "Complete", "Skipped"]


def test_the_budget_holds_over_all_stages():
    world = World("SweepRun", staged(budget={"failedTrials": 2}))
    run_on(world)
    assert world.holds("Complete")
    assert world.ready_reason == "BudgetExhausted"
    assert world.status["trials"]["failed"] == 2
    assert {stage["state"] for stage in stages(world)} <= {"Complete", "Skipped"}


def test_gpu_hours_of_the_stages_add_up():
    trainer = {**sweep_run()["trainer"], "resources": {"gpus": 2}}
    world = World("SweepRun", staged(trainer=trainer))
    run_on(world)
    assert world.holds("Complete")
    hours = [float(stage["gpuHours"]) for stage in stages(world)]
    assert all(hour > 0 for hour in hours)
    assert sum(hours) == pytest.approx(float(world.status["usage"]["gpuHours"]))


def test_agents_that_stay_are_stopped_before_the_next_stage():
    world = World("SweepRun", staged())
    run_until(world, lambda: world.status["stages"][0].get("trials", {}).get("running") == 2)
    first = next(iter(world.sweeps.values()))
    first.state = "FINISHED"
    for run in list(first.runs.values()):
        if run.state == "running":
            world._evict(next(pod for pod, busy in world.busy.items() if busy == run.id), crashed=True)
    world.settle()
    assert world.ready_reason == "StageEnding"
    world.pass_time(61)
    world.settle()
    assert all(pod.job.endswith("-2") for pod in world.pods.values() if pod.active)
    run_on(world)
    assert world.holds("Complete")
    assert {job.stage for job in world.jobs.values() if not job.finished} <= {1}


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS | EDITS, max_size=60), st.booleans())
def test_whatever_happens_each_stage_has_one_sweep_and_parallelism_holds(events, greedy):
    world = World("SweepRun", staged(), greedy=greedy)
    for event in events:
        step(world, event)
        world.settle()
        assert live_agents(world) <= world.spec["parallelism"]
        tokens = [sweep.token for sweep in world.sweeps.values()]
        assert len(tokens) == len(set(tokens)) <= 2


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS, max_size=50), st.booleans())
def test_it_ends_with_all_stages_and_within_the_cap(events, greedy):
    world = World("SweepRun", staged(), greedy=greedy)
    for event in events:
        step(world, event)
    run_on(world, 200)
    assert world.holds("Complete") or world.holds("Failed"), world.status
    if world.holds("Complete"):
        done = world.status["trials"]["succeeded"] + world.status["trials"]["failed"]
        assert done <= 10
        if not greedy:
            assert world.status["trials"]["total"] == 10
        world.settle()
        assert world.plan().actions == ()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2))
def test_a_crash_between_the_stages_makes_no_second_sweep(turn, effects):
    world = World("SweepRun", staged())
    for place in range(90):
        world.reconcile(crash_after=effects if place in (turn, turn + 1) else None)
        world.schedule()
        world.work()
        world.pass_time(7)
    run_on(world)
    assert world.holds("Complete")
    assert len(world.sweeps) == 2
    assert world.status["trials"]["total"] == 10


@settings(max_examples=30, deadline=None)
@given(st.lists(EVENTS | EDITS, max_size=50))
def test_suspended_means_no_agent_in_any_stage(events):
    world = World("SweepRun", staged())
    for event in events:
        step(world, event)
    world.spec = {**world.spec, "suspend": True}
    world.generation += 1
    world.settle()
    world.schedule()
    assert sum(pod.active for pod in world.pods.values()) == 0
    world.spec = {**world.spec, "suspend": False, "parallelism": 2}
    world.generation += 1
    run_on(world, 200)
    assert world.holds("Complete") or world.holds("Failed"), world.status


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([REFINE], "spec.stages[0].refine"),
        ([EXPLORE, REFINE | {"method": "grid"}], "spec.stages[1].parameters.learning_rate: a grid needs values"),
        ([EXPLORE, REFINE | {"parameters": {"speed": {"value": 1}}}], "spec.stages[1].parameters.speed: unknown"),
        ([EXPLORE | {"parameters": {"epochs": {"min": 9, "max": 2}}}], "spec.stages[0].parameters.epochs: min 9"),
    ],
)
def test_problems_name_the_field(stages, message):
    found = sweepconfig.problem(SweepRunSpec.model_validate(sweep_run(stages=stages)))
    assert found is not None
    assert message in found


def test_the_cap_comes_from_the_stages_or_the_preset():
    def cap(**spec: Any) -> int:
        return SweepRunSpec.model_validate(sweep_run(**spec)).cap

    assert cap() == 20
    assert cap(preset="minimal") == 5
    assert cap(stages=[EXPLORE, REFINE]) == 10
    assert cap(stages=[EXPLORE, REFINE], trials=7) == 7


def test_a_search_that_an_earlier_version_began_goes_on():
    world = World("SweepRun", sweep_run(trials=4, parallelism=2))
    run_until(world, lambda: world.status.get("trials", {}).get("total") == 2)
    world.status = {key: value for key, value in world.status.items() if key not in ("stages", "estimate")}
    run_on(world)
    assert world.holds("Complete")
    assert world.status["trials"]["total"] == 4
    assert [stage["name"] for stage in stages(world)] == ["search"]
