"""What a crash, a hand in the tracker or a trial without end leaves, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from finetune_operator import names, usage
from finetune_operator.facts import PodFacts
from finetune_operator.planning import MOST_PREEMPTIONS
from finetune_operator.store import Children, Departed
from finetune_operator.trial import Identity

from tests.operator.support.process import Lab, OperatorProcess, eventually, ready
from tests.operator.support.world import TRAINER, Sweep, World, sweep_run

DELETE_PROJECT = "mutation D($id: String!) { deleteModel(input: {id: $id}) { success } }"
CREATE_SWEEP = (
    "mutation U($config: String, $project: String, $entity: String, $text: String) { upsertSweep(input: {config: "
    "$config, projectName: $project, entityName: $entity, description: $text}) { sweep { name } } }"
)
OWNER = Identity("SweepRun", "ns", "x", "uid", 1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.provokes("SweepDeleted")
def test_a_sweep_that_is_deleted_in_the_tracker_fails_the_resource(lab: Lab):
    lab.create("SweepRun", "x", {"seconds": 60}, trials=4)
    lab.await_reason("SweepRun", "x", "Running")
    project = lab.graphql(
        "query P($p: String!, $e: String!) { project(name: $p, entityName: $e) { id } }",
        p=lab.namespace,
        e=lab.tracker.entity,
    )["project"]["id"]
    lab.graphql(DELETE_PROJECT, id=project)
    status = lab.await_condition("SweepRun", "x", "Failed")
    assert ready(status)["reason"] == "SweepDeleted"
    eventually(lambda: not lab.pods("Running"))


def intended_by_an_operator_that_died() -> World:
    """A search whose sweep was asked for, perhaps, by an operator that is gone; another one has just taken over."""
    world = World("SweepRun", sweep_run())
    world.tracker_down = True
    world.reconcile()
    assert not world.sweeps
    world.tracker_down = False
    world.now += timedelta(seconds=2)
    world.leads_since = world.now
    return world


def test_a_creation_that_may_still_be_under_way_is_waited_for():
    world = intended_by_an_operator_that_died()
    for _ in range(9):
        world.reconcile()
        assert not world.sweeps
        world.now += timedelta(seconds=1)
    world.now += timedelta(seconds=1)
    world.reconcile()
    assert len(world.sweeps) == 1


def test_a_creation_that_comes_late_is_adopted():
    world = intended_by_an_operator_that_died()
    world.reconcile()
    world.sweeps["late"] = Sweep(names.sweep_token("uid", 1, 0), 4, config={"run_cap": 4})
    world.reconcile()
    assert list(world.sweeps) == ["late"]
    assert world.status["sweep"]["id"] == "late"


def test_a_sweep_that_a_crash_left_without_a_mention_is_cancelled_with_its_resource(
    lab: Lab, operator: OperatorProcess
):
    """The operator died after it had created the sweep and before it wrote its id; then the resource is deleted."""
    operator.kill()
    try:
        lab.create("SweepRun", "x")
        uid = lab.get("SweepRun", "x")["metadata"]["uid"]
        lab.patch("SweepRun", "x", {"metadata": {"finalizers": [names.FINALIZER]}})
        config = "{method: random, parameters: {learning_rate: {values: [0.001]}}}"
        lab.graphql(
            CREATE_SWEEP,
            config=config,
            project=lab.namespace,
            entity=lab.tracker.entity,
            text=names.sweep_token(uid, 1, 0),
        )
        lab.delete("SweepRun", "x")
    finally:
        operator.start()
    eventually(lambda: lab.gone("SweepRun", "x"))
    assert [sweep["state"] for sweep in lab.sweeps()] == ["CANCELED"]


@pytest.mark.parametrize("kind", ["SweepRun", "FinetuneJob"])
@pytest.mark.parametrize(("evicted", "ends"), [(False, True), (True, False)])
def test_pods_that_always_leave_as_preempted_come_to_an_end_but_evictions_do_not_count(
    kind: str, evicted: bool, ends: bool
):
    """Pure, as the Job controller waits longer before each replacement: ten of them take half an hour."""
    world = World(kind, sweep_run(trials=4) if kind == "SweepRun" else {"trainer": TRAINER})
    world.settle()
    world.schedule()
    world.settle()
    (job,) = world.jobs.values()
    (running,) = world.pods.values()
    for number in range(MOST_PREEMPTIONS):
        gone = replace(running, name=f"gone-{number}", phase="Failed", exit_code=143, disrupted=evicted)
        world.pods[gone.name] = replace(gone, finished_at=world.now)
    assert not world.jobs[job.name].finished
    world.pass_time()
    world.settle()
    assert world.jobs[job.name].suspended is ends
    assert world.ready_reason == (("BudgetExhausted" if kind == "SweepRun" else "Preempted") if ends else "Running")


def left_with_its_job() -> World:
    """A FinetuneJob whose operator has died between the creation of its first Job and the first status."""
    trainer = {**TRAINER, "resources": {"gpus": 1}}
    world = World("FinetuneJob", {"hyperparameters": {"learning_rate": 1e-4}, "trainer": trainer})
    world.reconcile(crash_after=1)
    assert (world.status, list(world.jobs)) == ({}, ["x-t1-1"])
    world.schedule()
    return world


def test_a_training_that_the_status_does_not_mention_is_taken_over_with_its_cost():
    world = left_with_its_job()
    before = dict(world.jobs)
    world.pass_time(360)
    world.settle()
    assert world.jobs == before
    assert (world.status["round"], world.status["attempts"], world.ready_reason) == (1, 1, "Running")
    assert world.status["startTime"] == "2026-01-01T00:00:00Z"
    world.finish_training()
    world.settle()
    assert world.holds("Complete")
    assert world.status["usage"]["gpuHours"] == "0.1"


@pytest.mark.parametrize("suspend", [False, True])
def test_a_training_that_is_not_what_is_asked_for_now_is_replaced(suspend: bool):
    world = left_with_its_job()
    old = world.jobs["x-t1-1"]
    world.spec, world.generation = {**world.spec, "hyperparameters": {"learning_rate": 1e-3}, "suspend": suspend}, 2
    world.pass_time()
    world.settle()
    assert world.jobs.get("x-t1-1") != old
    assert not world.pods
    assert world.ready_reason == ("Suspended" if suspend else "Starting")
    assert len(world.jobs) == (not suspend)


def test_a_suspension_reaches_a_training_that_the_status_does_not_mention():
    world = left_with_its_job()
    world.spec, world.generation = {**world.spec, "suspend": True}, 2
    world.settle()
    assert [job.suspended for job in world.jobs.values()] == [True]
    assert world.holds("Suspended")


def pod(started: datetime, **status: Any) -> dict[str, Any]:
    running = {"running": {"startedAt": started.isoformat()}}
    labels = {names.UID_LABEL: OWNER.uid, names.ROUND_LABEL: "1"}
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "1", "resourceVersion": "7", "labels": labels},
        "status": {"phase": "Running", "containerStatuses": [{"name": "trainer", "state": running}], **status},
    }


def test_the_time_of_a_pod_that_was_only_seen_to_go_is_counted():
    gone, at = Departed(), START + timedelta(hours=1)
    gone.add(OWNER.uid, pod(START), at)
    cost = usage.advance(None, gone.of(OWNER.uid), 2, START, at + timedelta(minutes=5))
    assert cost.gpu_hours == "2"
    assert cost.updated_at is not None
    gone.drop(OWNER.uid, until=cost.updated_at)
    assert gone.of(OWNER.uid) == ()


def test_what_a_list_no_longer_has_is_gone_and_stays_gone():
    children = Children(PodFacts.from_object)
    body = pod(START)
    assert children.update(body) == OWNER.uid
    assert children.replace([], "elsewhere") == set()
    assert [p.name for p in children.of(OWNER.uid)] == ["p"]
    assert children.replace([]) == {OWNER.uid}
    assert children.of(OWNER.uid) == ()
    children.update(body)
    children.remove(body)
    children.update(body)  # the late answer to a write of ours
    assert children.of(OWNER.uid) == ()
