"""Reasons that no other test provokes, each by its real cause."""

from __future__ import annotations

from tests.operator.support.process import Lab, ready


def test_no_agent_may_run(lab: Lab):
    lab.create("SweepRun", "x", parallelism=0, trials=1)
    lab.await_reason("SweepRun", "x", "ScaledToZero")
    lab.cluster.kubectl("-n", lab.namespace, "scale", "sweeprun/x", "--replicas=1")
    lab.await_condition("SweepRun", "x", "Complete")


def test_a_search_whose_trials_all_fail_and_a_training_that_waits_for_it(lab: Lab):
    lab.create("SweepRun", "x", {"fail": 1}, trials=2)
    status = lab.await_condition("SweepRun", "x", "Failed")
    assert ready(status)["reason"] == "NoFinishedTrial"
    lab.create("FinetuneJob", "y", hyperparametersFrom={"sweepRunRef": {"name": "x"}})
    lab.await_reason("FinetuneJob", "y", "SweepRunFailed")


def test_a_container_that_cannot_be_created(lab: Lab):
    missing = {"name": "HF_HOME", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "home"}}}
    template = {"spec": {"containers": [{"name": "trainer", "env": [missing]}]}}
    lab.create("FinetuneJob", "x", trainer={"podTemplate": template})
    status = lab.await_reason("FinetuneJob", "x", "ContainerCreateFailed", 15)
    assert 'configmap "none" not found' in ready(status)["message"]
