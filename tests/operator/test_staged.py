"""Staged searches on a real API server with a real tracker and real pods."""

from __future__ import annotations

import json

from finetune_operator.search.space import inside

from tests.operator.support.process import Lab, OperatorProcess, eventually

STAGES = [
    {"name": "explore", "method": "random", "trials": 4, "minExpectedGain": "0"},
    {"name": "refine", "method": "bayes", "trials": 3, "refine": {"factor": 4}, "minExpectedGain": "0"},
]


def tokens(lab: Lab) -> list[str]:
    return sorted(sweep["description"].split(":", 2)[2] for sweep in lab.sweeps())


def test_explore_then_refine(lab: Lab):
    lab.create("SweepRun", "staged", {"seconds": 0.2}, trials=None, parallelism=2, stages=STAGES)
    status = lab.await_condition("SweepRun", "staged", "Complete", 60)
    explore, refine = status["stages"]
    assert tokens(lab) == ["1:0", "1:1"]
    assert [stage["trials"]["succeeded"] for stage in (explore, refine)] == [4, 3]
    assert status["trials"]["total"] == status["trials"]["succeeded"] == 7
    assert explore["sweep"] != refine["sweep"] == status["sweep"]["id"]
    assert len(lab.jobs()) == 2
    runs = lab.runs()
    assert status["bestRun"]["value"] == min(stage["best"] for stage in (explore, refine))
    assert len(runs) == 7
    narrowed = refine["parameters"]["learning_rate"]
    assert narrowed["max"] / narrowed["min"] < (1e-2 / 1e-6) ** 0.26
    assert refine["priorRuns"]
    assert all(run["state"] == "finished" for run in runs)
    tried = [run["config"] for run in runs if run["sweepName"] == refine["sweep"]]
    configs = [json.loads(config) for config in tried]
    assert all(inside(refine["parameters"], {"learning_rate": c["learning_rate"]["value"]}) for c in configs)


def test_an_operator_that_is_killed_between_the_stages_makes_no_second_sweep(lab: Lab, operator: OperatorProcess):
    lab.create("SweepRun", "killed", {"seconds": 0.3}, trials=None, parallelism=2, stages=STAGES)
    lab.await_status("SweepRun", "killed", lambda s: s.get("stages", [{}])[0].get("state") == "Complete")
    operator.kill()
    operator.start()
    eventually(lambda: len(lab.sweeps()) == 2)
    operator.kill()
    operator.start()
    status = lab.await_condition("SweepRun", "killed", "Complete", 60)
    assert tokens(lab) == ["1:0", "1:1"]
    assert [stage["trials"]["succeeded"] for stage in status["stages"]] == [4, 3]


def test_a_staged_search_is_suspended_and_deleted_in_its_second_stage(lab: Lab):
    lab.create(
        "SweepRun",
        "paused",
        {"seconds": 0.5},
        trials=None,
        parallelism=2,
        stages=[STAGES[0], STAGES[1] | {"trials": 20}],
    )
    lab.await_status(
        "SweepRun", "paused", lambda s: s.get("sweep", {}).get("stage") == 1 and s.get("activeAgents") == 2
    )
    lab.patch("SweepRun", "paused", {"spec": {"suspend": True}})
    lab.await_status("SweepRun", "paused", lambda s: s["activeAgents"] == 0 and lab.pods("Running") == [])
    states = {sweep["description"].rsplit(":", 1)[1]: sweep["state"] for sweep in lab.sweeps()}
    assert states == {"0": "FINISHED", "1": "PAUSED"}
    lab.patch("SweepRun", "paused", {"spec": {"suspend": False}})
    lab.await_status("SweepRun", "paused", lambda s: s["activeAgents"] == 2)
    lab.delete("SweepRun", "paused")
    eventually(lambda: lab.gone("SweepRun", "paused"))
    eventually(lambda: not lab.jobs() and not lab.pods())
    states = {sweep["description"].rsplit(":", 1)[1]: sweep["state"] for sweep in lab.sweeps()}
    assert states["1"] in ("CANCELED", "CANCELLED")
