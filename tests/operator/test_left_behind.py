"""What a crash, a hand in the tracker or a trial without end leaves, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from finetune_operator import names, usage
from finetune_operator.facts import PodFacts
from finetune_operator.store import Children, Departed
from finetune_operator.trial import Identity

from tests.operator.support.process import Lab, OperatorProcess, eventually, ready

DELETE_PROJECT = "mutation D($id: String!) { deleteModel(input: {id: $id}) { success } }"
CREATE_SWEEP = (
    "mutation U($config: String, $project: String, $entity: String, $text: String) { upsertSweep(input: {config: "
    "$config, projectName: $project, entityName: $entity, description: $text}) { sweep { name } } }"
)
OWNER = Identity("SweepRun", "ns", "x", "uid", 1)
START = datetime(2026, 1, 1, tzinfo=UTC)


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


@pytest.mark.slow
def test_a_trial_that_always_ends_as_preempted_ends_the_search(lab: Lab):
    lab.create("SweepRun", "x", {"seconds": 0.1, "exit": 143, "after": 2}, trials=50)
    status = lab.await_condition("SweepRun", "x", "Complete", 120)
    assert ready(status)["reason"] == "BudgetExhausted"
    assert "preempted 10 times in a row" in ready(status)["message"]
    assert status["bestRun"]
    eventually(lambda: not lab.pods("Running"))


@pytest.mark.slow
def test_a_training_that_always_ends_as_preempted_fails(lab: Lab):
    lab.create("FinetuneJob", "x", {"exit": 143})
    status = lab.await_condition("FinetuneJob", "x", "Failed", 120)
    assert ready(status)["reason"] == "Preempted"
    eventually(lambda: not lab.pods("Running"))


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
