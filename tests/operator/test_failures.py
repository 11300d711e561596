"""Every reason and every failure class, provoked for real."""

from __future__ import annotations

from typing import Any

import pytest
from finetune_sandbox.testing import Cluster
from finetune_tracker.testing import TrackerProcess

from tests.operator.support.process import IMAGE, Lab, OperatorProcess, eventually, holds, ready

KINDS = pytest.mark.parametrize("kind", ["SweepRun", "FinetuneJob"])


@pytest.fixture
def bare(cluster: Cluster, namespace: str, tracker: TrackerProcess, operator: OperatorProcess) -> Lab:
    """Without the Secret."""
    return Lab(cluster, namespace, tracker)


# -- why is it not running? -------------------------------------------------------------------------------------------


@pytest.mark.slow
@KINDS
@pytest.mark.provokes("SecretMissing")
def test_missing_secret(bare: Lab, kind: str):
    bare.create(kind, "x", trials=1) if kind == "SweepRun" else bare.create(kind, "x")
    status = bare.await_reason(kind, "x", "SecretMissing", 15)
    assert "Secret wandb" in ready(status)["message"]
    assert holds(status, "Reconciling")
    bare.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wandb"}}, namespace=bare.namespace)
    bare.await_status(kind, "x", lambda s: "no key api-key" in ready(s)["message"], 15)
    bare.secret()
    bare.await_condition(kind, "x", "Complete")


@pytest.mark.slow
@pytest.mark.provokes("TrackerUnauthorized")
def test_wrong_key(bare: Lab):
    bare.secret(value="w" * 40)
    bare.create("FinetuneJob", "x")
    status = bare.await_reason("FinetuneJob", "x", "TrackerUnauthorized", 15)
    assert "w" * 40 not in str(status)
    assert bare.jobs() == []  # no GPU is spent on a key that does not work
    bare.secret()
    bare.await_condition("FinetuneJob", "x", "Complete")


@KINDS
@pytest.mark.provokes("TrackerUnreachable")
def test_dead_tracker(lab: Lab, kind: str):
    lab.create(kind, "x", wandb={"project": "p", "baseURL": "http://127.0.0.1:9"})
    status = lab.await_reason(kind, "x", "TrackerUnreachable", 15)
    assert "127.0.0.1:9" in ready(status)["message"]
    lab.patch(kind, "x", {"spec": {"wandb": {"baseURL": lab.tracker.base_url}}})
    lab.await_condition(kind, "x", "Complete")


@pytest.mark.provokes("Unschedulable")
def test_unschedulable(lab: Lab):
    kind = "FinetuneJob"
    lab.create(kind, "x", trainer={"resources": {"gpus": 64}})
    status = lab.await_reason(kind, "x", "Unschedulable", 15)
    assert "nvidia.com/gpu" in ready(status)["message"]
    lab.patch(kind, "x", {"spec": {"trainer": {"resources": {"gpus": 1}}}})
    status = lab.await_condition(kind, "x", "Complete")
    assert float(status["usage"]["gpuHours"]) >= 0


@pytest.mark.provokes("ImagePullFailed")
def test_image_that_cannot_be_pulled(lab: Lab):
    kind = "SweepRun"
    lab.create(kind, "x", trainer={"image": "registry.test/none:1"})
    status = lab.await_reason(kind, "x", "ImagePullFailed", 15)
    assert "registry.test/none:1" in ready(status)["message"]
    lab.patch(kind, "x", {"spec": {"trainer": {"image": IMAGE}}})
    lab.await_condition(kind, "x", "Complete")


@pytest.mark.provokes("QuotaExceeded")
def test_exceeded_quota(lab: Lab):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    lab.cluster.apply(quota, namespace=lab.namespace)
    lab.create("FinetuneJob", "x")
    status = lab.await_reason("FinetuneJob", "x", "QuotaExceeded", 15)
    assert "exceeded quota" in ready(status)["message"]
    lab.cluster.api("DELETE", f"/api/v1/namespaces/{lab.namespace}/resourcequotas/none")
    lab.await_condition("FinetuneJob", "x", "Complete", 60)


@pytest.mark.provokes("QueueNotAdmitted", "Running")
def test_a_queue_that_does_not_admit(lab: Lab):
    """What Kueue does to a Job with its label: suspend it, and lift that when there is room."""
    lab.create("FinetuneJob", "x", {"seconds": 20}, trainer={"queueName": "speech"})
    job = eventually(lambda: next(iter(lab.jobs()), None))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "speech"
    path = f"/apis/batch/v1/namespaces/{lab.namespace}/jobs/{job['metadata']['name']}"

    def suspend(wish: bool) -> None:
        lab.cluster.api("PATCH", path, {"spec": {"suspend": wish}}, content_type="application/merge-patch+json")

    suspend(True)
    status = lab.await_reason("FinetuneJob", "x", "QueueNotAdmitted", 15)
    assert "LocalQueue speech" in ready(status)["message"]
    suspend(False)
    lab.await_reason("FinetuneJob", "x", "Running", 45)  # the first pod may sit out its grace period


@KINDS
@pytest.mark.provokes("InvalidSpec")
def test_a_bad_spec_stalls_until_it_is_put_right(lab: Lab, kind: str):
    bad = {"parameters": {"lr": {"values": [1]}}} if kind == "SweepRun" else {"hyperparameters": {"lr": 1}}
    good = (
        {"parameters": {"lr": None}} if kind == "SweepRun" else {"hyperparameters": {"lr": None, "learning_rate": 1e-4}}
    )
    lab.create(kind, "x", **({"preset": "none"} if kind == "SweepRun" else {}), **bad)
    if kind == "SweepRun":
        good["parameters"]["learning_rate"] = {"values": [1e-4]}
    status = lab.await_condition(kind, "x", "Stalled", 15)
    assert ready(status)["reason"] == "InvalidSpec"
    assert ".lr: unknown hyperparameter" in ready(status)["message"]
    lab.patch(kind, "x", {"spec": good})
    lab.await_condition(kind, "x", "Complete")


# -- failure classes --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "failure", "attempts"),
    [
        pytest.param({"exit": 2}, "BadConfig", 1, id="bad configuration: never again"),
        pytest.param({"exit": 3}, "OutOfMemory", 2, id="out of memory: once again"),
        pytest.param(
            {"exit": 1}, "Error", 2, id="anything else: up to retry.limit", marks=pytest.mark.provokes("Error")
        ),
    ],
)
def test_a_training_that_fails(lab: Lab, script: dict[str, Any], failure: str, attempts: int):
    lab.create("FinetuneJob", "x", script, retry={"limit": 1})
    status = lab.await_condition("FinetuneJob", "x", "Failed")
    assert holds(status, "Stalled")
    assert ready(status)["reason"] == failure
    assert status["failure"] == {"class": failure, "message": f"scripted to end with exit code {script['exit']}"}
    assert status["attempts"] == attempts == len(lab.jobs())
    assert lab.jobs()[0]["status"].get("failed") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "counted"),
    [
        pytest.param(75, 0, id="tracker unavailable: not counted", marks=pytest.mark.provokes("TrackerUnavailable")),
        pytest.param(137, 1, id="killed: counted"),
    ],
)
def test_a_training_that_recovers(lab: Lab, code: int, counted: int):
    lab.create("FinetuneJob", "x", {"exit": code, "attempt": 1}, retry={"limit": 1})
    status = lab.await_condition("FinetuneJob", "x", "Complete")
    assert status["attempts"] == 2
    assert (status.get("failures") or 0) == counted
    assert "failure" not in status
    assert len(lab.runs()) == 1  # the retried pod went on with the same run


def test_a_preempted_training_goes_on(lab: Lab):
    lab.create("FinetuneJob", "x", {"seconds": 2}, retry={"limit": 0})
    lab.await_reason("FinetuneJob", "x", "Running")
    pod = lab.pods("Running")[0]["metadata"]["name"]
    lab.cluster.api("DELETE", f"/api/v1/namespaces/{lab.namespace}/pods/{pod}")
    status = lab.await_condition("FinetuneJob", "x", "Complete")
    assert (status.get("failures") or 0) == 0
    assert len(lab.runs()) == 1


@pytest.mark.provokes("OutOfMemory")
def test_memory_limit(lab: Lab):
    lab.create(
        "FinetuneJob",
        "x",
        {"alloc": 200, "seconds": 30},
        retry={"limit": 0},
        trainer={"resources": {"memory": "100Mi"}},
    )
    status = lab.await_condition("FinetuneJob", "x", "Failed")
    assert ready(status)["reason"] == "OutOfMemory"


@pytest.mark.provokes("BadConfig")
def test_an_agent_with_a_bad_configuration_fails_the_sweep_at_once(lab: Lab):
    lab.create("SweepRun", "x", {"exit": 2}, parallelism=2)
    status = lab.await_condition("SweepRun", "x", "Failed")
    assert ready(status)["reason"] == "BadConfig"
    assert status["attempts"] == 1
    eventually(lambda: not lab.pods("Running"))


@pytest.mark.slow
def test_agents_that_are_killed_are_replaced_and_failed_trials_are_counted(lab: Lab):
    lab.create("SweepRun", "x", {"fail": 3, "exit": 137, "after": 3, "attempt": 1}, trials=8, parallelism=1)
    status = lab.await_condition("SweepRun", "x", "Complete", 90)
    assert status["trials"]["total"] == 8
    assert status["trials"]["failed"] == 2
    assert status["trials"]["succeeded"] == 6


# -- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "script", "fragment"),
    [
        pytest.param({"wallClock": "8s"}, {"seconds": 0.5}, "wallClock of 8s", id="wall clock"),
        pytest.param({"gpuHours": "0.003"}, {"seconds": 0.5}, "gpuHours of 0.003", id="GPU hours"),
        pytest.param({"failedTrials": 2}, {"seconds": 0.2, "fail": 2}, "failedTrials of 2", id="failed trials"),
    ],
)
@pytest.mark.provokes("BudgetExhausted")
def test_a_budget_stops_the_agents_and_keeps_the_results(
    lab: Lab, budget: dict[str, Any], script: dict[str, Any], fragment: str
):
    lab.create("SweepRun", "x", script, trials=500, parallelism=2, budget=budget, trainer={"resources": {"gpus": 1}})
    status = lab.await_condition("SweepRun", "x", "Complete")
    assert ready(status)["reason"] == "BudgetExhausted"
    assert fragment in ready(status)["message"]
    assert status["bestRun"]
    assert status["trials"]["total"] < 100
    eventually(lambda: not lab.pods("Running"))
    assert lab.sweeps()[0]["state"] == "FINISHED"


def test_a_budget_without_results_is_a_failure(lab: Lab):
    lab.create("SweepRun", "x", {"seconds": 0.1, "fail": 1}, trials=50, budget={"failedTrials": 3})
    status = lab.await_condition("SweepRun", "x", "Failed")
    assert ready(status)["reason"] == "BudgetExhausted"
    assert status["trials"]["failed"] >= 3


# -- hands of others --------------------------------------------------------------------------------------------------


def test_a_sweep_stopped_by_hand_in_the_tracker_ends_with_its_results(lab: Lab):
    lab.create("SweepRun", "x", {"seconds": 0.3}, trials=500, parallelism=2)
    lab.await_status("SweepRun", "x", lambda s: s.get("trials", {}).get("succeeded", 0) >= 2)
    stop = "mutation U($id: ID, $state: String) { upsertSweep(input: {id: $id, state: $state}) { sweep { name } } }"
    lab.graphql(stop, id=lab.sweeps()[0]["id"], state="FINISHED")
    status = lab.await_condition("SweepRun", "x", "Complete")
    assert status["bestRun"]
    assert status["trials"]["total"] < 100


@pytest.mark.provokes("PausedInTracker")
def test_a_paused_sweep_is_left_paused(lab: Lab):
    lab.create("SweepRun", "x", {"seconds": 0.3}, trials=20)
    lab.await_status("SweepRun", "x", lambda s: s.get("trials", {}).get("succeeded", 0) >= 1)
    change = "mutation U($id: ID, $state: String) { upsertSweep(input: {id: $id, state: $state}) { sweep { name } } }"
    lab.graphql(change, id=lab.sweeps()[0]["id"], state="PAUSED")
    lab.await_reason("SweepRun", "x", "PausedInTracker", 15)
    lab.graphql(change, id=lab.sweeps()[0]["id"], state="RUNNING")
    lab.await_condition("SweepRun", "x", "Complete")


def test_a_resource_deleted_while_the_operator_is_away(lab: Lab, operator: OperatorProcess):
    lab.create("SweepRun", "x", {"seconds": 60})
    lab.await_status("SweepRun", "x", lambda s: s.get("activeAgents") == 1)
    operator.kill()
    try:
        lab.delete("SweepRun", "x")
        assert not lab.gone("SweepRun", "x")
    finally:
        operator.start()
    eventually(lambda: lab.gone("SweepRun", "x"))
    assert lab.sweeps()[0]["state"] in ("CANCELED", "CANCELLED")


def test_a_namespace_deleted_with_everything_in_it(lab: Lab):
    lab.create("SweepRun", "x", {"seconds": 60})
    lab.await_status("SweepRun", "x", lambda s: s.get("activeAgents") == 1)
    lab.cluster.api("DELETE", f"/api/v1/namespaces/{lab.namespace}")
    eventually(lambda: lab.gone("SweepRun", "x"), 30)
    # the fixture expects the namespace to be there
    eventually(lambda: lab.cluster.find(f"/api/v1/namespaces/{lab.namespace}") is None, 30)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lab.namespace}}
    lab.cluster.api("POST", "/api/v1/namespaces", namespace)
