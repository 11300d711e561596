"""Properties that hold for every plan, whatever the world does in between."""

from __future__ import annotations

from finetune_operator import actions as a
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.support.world import START, World, sweep_run

EVENTS = st.sampled_from(
    [
        "reconcile",
        "crash0",
        "crash1",
        "crash2",
        "time",
        "schedule",
        "work",
        "kill",
        "preempt",
        "oom",
        "down",
        "up",
        "delete_job",
    ]
)
EDITS = st.sampled_from(["suspend", "resume", "scale1", "scale3", "scale0"])


def step(world: World, event: str) -> None:
    active = [pod.name for pod in world.pods.values() if pod.active]
    match event:
        case "reconcile":
            world.reconcile()
        case "crash0" | "crash1" | "crash2":
            world.reconcile(crash_after=int(event[-1]))
        case "time":
            world.pass_time(7)
        case "schedule":
            world.schedule()
        case "work":
            world.work()
        case "kill" if active:
            world.end_pod(active[0], 137)
        case "preempt" if active:
            world.end_pod(active[-1], 143)
        case "oom" if active:
            world.end_pod(active[0], 3)
        case "down":
            world.tracker_down = True
        case "up":
            world.tracker_down = False
        case "delete_job" if world.jobs:
            world.carry_out(a.DeleteJob(next(iter(world.jobs))), a.Results())
        case "suspend" | "resume":
            edit(world, suspend=event == "suspend")
        case "scale0" | "scale1" | "scale3":
            edit(world, parallelism=int(event[-1]))


def edit(world: World, **spec: object) -> None:
    if any(world.spec.get(key) != value for key, value in spec.items()):
        world.spec = {**world.spec, **spec}
        world.generation += 1


def live_agents(world: World) -> int:
    return sum(job.parallelism for job in world.jobs.values() if not job.finished and not job.suspended)


def run_on(world: World, turns: int = 120) -> None:
    """Lets the world run undisturbed."""
    world.tracker_down = False
    for _ in range(turns):
        world.reconcile()
        if world.holds("Complete") or world.holds("Failed"):
            return
        world.schedule()
        world.work()
        world.finish_training() if world.kind == "FinetuneJob" else None
        world.pass_time(11)


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_planning_again_from_the_applied_state_is_empty(events):
    world = World("SweepRun", sweep_run(trials=5, parallelism=2))
    for event in events:
        step(world, event)
    world.settle()
    plan = world.plan()
    assert plan.actions == ()
    assert plan.status is None or plan.status.to_wire() == world.status


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS | EDITS, max_size=40), st.integers(1, 3))
def test_never_more_agents_than_parallelism_nor_more_sweeps_than_one(events, parallelism):
    world = World("SweepRun", sweep_run(trials=5, parallelism=parallelism))
    for event in events:
        step(world, event)
        world.settle()
        assert live_agents(world) <= world.spec["parallelism"]
    assert len(world.sweeps) <= 1


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS, max_size=40), st.booleans())
def test_it_ends_with_all_trials_and_never_counts_more_than_the_cap(events, greedy):
    world = World("SweepRun", sweep_run(trials=6, parallelism=2), greedy=greedy)
    for event in events:
        step(world, event)
    run_on(world)
    assert world.holds("Complete") or world.holds("Failed"), world.ready_reason
    if world.holds("Complete"):
        trials = world.status["trials"]
        done = trials["succeeded"] + trials["failed"]
        assert done <= 6
        if not greedy:
            assert trials["total"] == 6
            assert trials["running"] == trials["preempted"] == 0
        assert world.status["bestRun"]["value"] <= 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS | EDITS, max_size=30))
def test_finished_never_unfinishes(events):
    world = World("SweepRun", sweep_run(trials=3, parallelism=2))
    run_on(world, 60)
    world.settle()
    assert world.holds("Complete")
    best, sweeps = world.status["bestRun"], len(world.sweeps)
    for event in events:
        step(world, event)
        world.settle()
        assert world.holds("Complete")
    world.pass_time(120)
    world.settle()
    assert live_agents(world) == 0
    assert (world.status["bestRun"], len(world.sweeps)) == (best, sweeps)


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS | EDITS, max_size=30))
def test_suspended_means_no_agent(events):
    world = World("SweepRun", sweep_run(trials=20, parallelism=3))
    for event in events:
        step(world, event)
    edit(world, suspend=True)
    world.settle()
    world.schedule()
    assert sum(pod.active for pod in world.pods.values()) == 0
    assert world.holds("Suspended") or world.holds("Complete") or world.holds("Failed")


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS | EDITS, max_size=30), st.booleans())
def test_deletion_always_ends(events, down):
    world = World("SweepRun", sweep_run(trials=20, parallelism=3))
    for event in events:
        step(world, event)
    world.deleted_at, world.tracker_down = world.now, down
    for _ in range(20):
        world.reconcile()
        world.pass_time(5)
    assert not world.finalizer


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS | st.sampled_from(["suspend", "resume"]), max_size=40))
def test_a_finetune_job_ends_once_and_its_plan_is_then_empty(events):
    world = World(
        "FinetuneJob",
        {"hyperparameters": {"learning_rate": 1e-4}, "retry": {"limit": 100}, "trainer": sweep_run()["trainer"]},
    )
    for event in events:
        step(world, event)
        world.settle()
        assert live_agents(world) <= 1
    edit(world, suspend=False)
    run_on(world, 80)
    world.settle()
    assert world.holds("Complete") or world.status["failure"]["class"] == "OutOfMemory"
    jobs = dict(world.jobs)
    for _ in range(3):
        world.pass_time(100)
        assert world.reconcile().actions == ()
    assert world.jobs == jobs


def test_the_first_write_says_reconciling():
    for kind, spec in (("SweepRun", sweep_run()), ("FinetuneJob", {"trainer": sweep_run()["trainer"]})):
        world = World(kind, spec)
        status = world.plan().status
        world.status = status.to_wire()
        assert world.holds("Reconciling")
        assert not world.holds("Ready")
        assert world.status["observedGeneration"] == 1
        assert world.now == START


def test_gpu_hours_outlive_the_pods_they_were_counted_from():
    trainer = {**sweep_run()["trainer"], "resources": {"gpus": 1}}
    world = World("SweepRun", sweep_run(trials=50, parallelism=2, budget={"gpuHours": "0.01"}, trainer=trainer))
    world.settle()
    world.schedule()
    world.work()
    world.work()
    world.reconcile()
    world.pass_time(20)  # two pods: 40 GPU-seconds, more than 0.01 hours
    world.reconcile()
    assert not world.pods or not any(pod.active for pod in world.pods.values())
    world.pass_time(10)
    world.settle()
    assert world.holds("Complete")
    assert world.ready_reason == "BudgetExhausted"
    assert float(world.status["usage"]["gpuHours"]) >= 0.01


def test_a_regression_suite_without_a_result_has_not_passed():
    trainer = {**sweep_run()["trainer"], "regressionSuites": [{"name": "general", "uri": "/suite"}]}
    spec = {"hyperparameters": {"learning_rate": 1e-4}, "promotion": {}, "trainer": trainer}
    world = World("FinetuneJob", spec)
    run_on(world)  # the modelled trainer reports better scores, and no suite
    world.settle()
    assert world.holds("Complete")
    assert not world.holds("Promoted")
    assert world.ready_reason == "Rejected"
