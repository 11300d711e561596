"""The life of resources on a real API server with a real tracker and real pods."""

from __future__ import annotations

import json

import pytest
from finetune_operator import names

from tests.operator.support.process import Lab, eventually, holds


def test_a_sweep_runs_its_trials_and_names_the_best(lab: Lab):
    lab.create("SweepRun", "errors", {"seconds": 0.3}, trials=6, parallelism=2)
    status = lab.await_condition("SweepRun", "errors", "Complete")
    assert status["trials"] == {
        "total": 6, "succeeded": 6, "running": 0, "failed": 0, "stopped": 0, "preempted": 0, "duplicates": 0,
    }  # fmt: skip
    runs = lab.runs()
    values = [json.loads(run["summaryMetrics"])["eval/wer"] for run in runs]
    best = status["bestRun"]
    assert len(runs) == 6
    assert abs(best["value"] - min(values)) < 1e-5
    assert best["baseline"] == 0.4
    assert best["hyperparameters"].keys() == {"learning_rate"}
    assert best["artifact"].startswith(f"local/{lab.namespace}/errors:v")
    assert len(lab.sweeps()) == 1
    eventually(lambda: not lab.get("SweepRun", "errors")["metadata"].get("finalizers"))
    document = lab.cluster.find(f"/api/v1/namespaces/{lab.namespace}/configmaps/errors-best")
    assert json.loads(document["data"]["hyperparameters.json"]) == best["hyperparameters"]
    assert document["metadata"]["ownerReferences"][0]["name"] == "errors"


@pytest.mark.provokes("SweepRunNotFound", "WaitingForSweep", "Promoted")
def test_a_finetune_job_waits_for_its_sweep_trains_and_is_promoted(lab: Lab):
    promotion = {"gates": {"minImprovement": "0.05"}, "registry": {"model": "stt", "aliases": ["production"]}}
    source = {"sweepRunRef": {"name": "search"}}
    lab.create("FinetuneJob", "final", {"wer": 0.2, "suites": "2/2"}, hyperparametersFrom=source, promotion=promotion)
    lab.await_reason("FinetuneJob", "final", "SweepRunNotFound")
    lab.create("SweepRun", "search", {"seconds": 0.5}, trials=2)
    lab.await_reason("FinetuneJob", "final", "WaitingForSweep")
    status = lab.await_condition("FinetuneJob", "final", "Complete")
    sweep = lab.status("SweepRun", "search")
    assert holds(status, "Promoted")
    assert status["hyperparameters"] == sweep["bestRun"]["hyperparameters"]
    assert status["metrics"]["wer"] == 0.2
    assert status["regression"] == {"passed": 2, "total": 2}
    assert status["promotion"]["aliases"] == ["production"]
    assert status["promotion"]["version"] == "v0"
    assert all(gate["passed"] for gate in status["promotion"]["gates"])
    events = [(e["reason"], e["type"]) for e in lab.list("/api/v1/events") if e["involvedObject"]["name"] == "final"]
    assert ("Promoted", "Normal") in events


def test_a_sweep_may_promote_its_best_run_itself(lab: Lab):
    promotion = {"gates": {"minImprovement": "0.01"}, "registry": {"model": f"swept-{lab.namespace}"}}
    lab.create(
        "SweepRun", "direct", {"seconds": 0.1}, parameters={"learning_rate": {"values": [1e-4]}}, promotion=promotion
    )
    status = lab.await_condition("SweepRun", "direct", "Complete")
    assert holds(status, "Promoted")
    assert status["promotion"]["run"] == status["bestRun"]["id"]
    assert status["promotion"]["artifact"] == status["bestRun"]["artifact"]
    assert status["promotion"]["version"] == "v0"


@pytest.mark.provokes("Rejected")
def test_a_model_that_misses_a_gate_is_not_promoted(lab: Lab):
    registry = {"model": "stt-rejected"}
    promotion = {"gates": {"minImprovement": "0.9"}, "registry": registry}
    lab.create("FinetuneJob", "weak", {"wer": 0.3}, hyperparameters={"epochs": 1}, promotion=promotion)
    status = lab.await_condition("FinetuneJob", "weak", "Complete")
    assert not holds(status, "Promoted")
    assert status["promotion"]["state"] == "Rejected"
    assert "minImprovement" in status["promotion"]["reason"]
    looser = {"spec": {"promotion": {"gates": {"minImprovement": "0.1"}}}}
    lab.patch("FinetuneJob", "weak", looser)  # judged again, not trained again
    status = lab.await_condition("FinetuneJob", "weak", "Promoted")
    assert (status["round"], status["attempts"]) == (1, 1)


@pytest.mark.provokes("AwaitingApproval", "RolledBack")
def test_manual_approval_and_rollback(lab: Lab):
    promotion = {"approval": "Manual", "registry": {"model": f"stt-{lab.namespace}", "aliases": ["production"]}}
    for number, name in enumerate(("first", "second")):
        lab.create("FinetuneJob", name, {"wer": 0.3 - 0.1 * number}, promotion=promotion)
        status = lab.await_reason("FinetuneJob", name, "AwaitingApproval")
        assert holds(status, "Complete")
        assert not holds(status, "Promoted")
        lab.annotate("FinetuneJob", name, names.APPROVED_BY_ANNOTATION, "ada")
        status = lab.await_condition("FinetuneJob", name, "Promoted")
        assert status["promotion"]["approvedBy"] == "ada"
    assert (status["promotion"]["version"], status["promotion"]["previous"]) == ("v1", "v0")
    lab.annotate("FinetuneJob", "second", names.ROLLBACK_ANNOTATION, "ada: complaints")
    status = lab.await_status("FinetuneJob", "second", lambda s: s["promotion"]["state"] == "RolledBack")
    assert status["promotion"]["version"] == "v0"
    assert [record["action"] for record in status["promotion"]["history"]] == ["Promoted", "RolledBack"]
    assert not holds(status, "Promoted")


def test_suspend_keeps_results_and_resume_goes_on(lab: Lab):
    lab.create("SweepRun", "pausing", {"seconds": 0.5}, trials=8, parallelism=2)
    lab.await_status("SweepRun", "pausing", lambda s: s.get("trials", {}).get("succeeded", 0) >= 2)
    lab.patch("SweepRun", "pausing", {"spec": {"suspend": True}})
    status = lab.await_status("SweepRun", "pausing", lambda s: holds(s, "Suspended") and s["activeAgents"] == 0)
    assert lab.pods("Running") == []
    assert lab.sweeps()[0]["state"] == "PAUSED"
    assert status["bestRun"]
    lab.patch("SweepRun", "pausing", {"spec": {"suspend": False}})
    status = lab.await_condition("SweepRun", "pausing", "Complete")
    assert status["trials"]["succeeded"] == 8
    assert not holds(status, "Suspended")


def test_scaling_up_and_down(lab: Lab):
    lab.create("SweepRun", "elastic", {"seconds": 1}, trials=12, parallelism=1)
    lab.await_status("SweepRun", "elastic", lambda s: s.get("activeAgents") == 1)
    lab.cluster.kubectl("-n", lab.namespace, "scale", "sweeprun/elastic", "--replicas=3")
    lab.await_status("SweepRun", "elastic", lambda s: s.get("activeAgents") == 3)
    lab.cluster.kubectl("-n", lab.namespace, "scale", "sweeprun/elastic", "--replicas=2")
    lab.await_status("SweepRun", "elastic", lambda s: s.get("activeAgents") == 2)
    status = lab.await_condition("SweepRun", "elastic", "Complete")
    assert status["trials"]["total"] == 12
    assert status["trials"]["preempted"] == 0


def test_an_edit_of_the_search_starts_a_new_round_but_a_finished_one_is_never_run_again(lab: Lab):
    lab.create("SweepRun", "edited", {"seconds": 2}, trials=4, parallelism=2)
    lab.await_status("SweepRun", "edited", lambda s: s.get("activeAgents") == 2)
    narrower = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3}}
    script = {"dataset": {"uri": "script:?seconds=0.2"}}
    lab.patch("SweepRun", "edited", {"spec": {"parameters": narrower, "trainer": script}})
    status = lab.await_condition("SweepRun", "edited", "Complete")
    assert status["round"] == 2
    states = {sweep["description"].split(":")[2]: sweep["state"] for sweep in lab.sweeps()}
    assert states.keys() == {"1", "2"}
    assert states["1"] != "RUNNING"
    before = lab.get("SweepRun", "edited")
    for job in lab.jobs():
        lab.cluster.api(
            "DELETE",
            f"/apis/batch/v1/namespaces/{lab.namespace}/jobs/{job['metadata']['name']}",
            {"propagationPolicy": "Background"},
        )
    lab.patch("SweepRun", "edited", {"spec": {"suspend": True, "parallelism": 5}})
    status = lab.await_status(
        "SweepRun", "edited", lambda s: s["observedGeneration"] == before["metadata"]["generation"] + 1
    )
    assert holds(status, "Complete")
    assert lab.jobs() == []
    assert len(lab.sweeps()) == 2


def test_deletion_mid_run_stops_the_sweep_and_leaves_nothing(lab: Lab):
    lab.create("SweepRun", "doomed", {"seconds": 30}, trials=4, parallelism=2)
    lab.create("FinetuneJob", "doomed", {"seconds": 30})
    lab.await_status("SweepRun", "doomed", lambda s: s.get("activeAgents") == 2)
    lab.await_reason("FinetuneJob", "doomed", "Running")
    lab.delete("SweepRun", "doomed")
    lab.delete("FinetuneJob", "doomed")
    eventually(lambda: lab.gone("SweepRun", "doomed") and lab.gone("FinetuneJob", "doomed"))
    eventually(lambda: not lab.jobs() and not lab.pods())
    assert lab.sweeps()[0]["state"] in ("CANCELED", "CANCELLED")
