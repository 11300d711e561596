"""Staged searches, specialists and adaptation on a real API server with a real tracker and real pods."""

from __future__ import annotations

import json
import re

import pytest
from finetune_operator import names
from finetune_operator.search.space import inside

from tests.operator.support.process import Lab, OperatorProcess, eventually, holds

STAGES = [
    {"name": "explore", "method": "random", "trials": 4, "minExpectedGain": "0"},
    {"name": "refine", "method": "bayes", "trials": 3, "refine": {"factor": 4}, "minExpectedGain": "0"},
]


def tokens(lab: Lab) -> list[str]:
    return sorted(sweep["description"].split(":", 2)[2] for sweep in lab.sweeps())


def test_explore_then_refine(lab: Lab):
    trainer = {"model": {"name": "openai/whisper-small"}, "resources": {"gpus": 1}}
    lab.create("SweepRun", "staged", {"seconds": 0.2}, trials=None, parallelism=2, stages=STAGES, trainer=trainer)
    lab.await_status("SweepRun", "staged", lambda s: s.get("estimate"))
    described = lab.cluster.kubectl("-n", lab.namespace, "describe", "sweeprun/staged").stdout
    assert re.search(r"About [0-9.]+ GPU-hours: 7 trials of about 3 epochs", described)
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


@pytest.mark.slow
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
    # Not before they have a trial: a process obeys no signal while its interpreter starts.
    lab.await_status("SweepRun", "paused", lambda s: s.get("stages", [{}])[-1].get("trials", {}).get("running") == 2)
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


def test_each_error_type_gets_the_configuration_that_suits_it(lab: Lab):
    values = {"learning_rate": {"values": [1e-4, 1e-3]}}
    lab.create("SweepRun", "typed", {"seconds": 0.1}, method="grid", trials=2, parameters=values, specialise={})
    status = lab.await_condition("SweepRun", "typed", "Complete")
    accent, noise = status["specialised"]
    assert status["bestRun"]["hyperparameters"] == accent["hyperparameters"] == {"learning_rate": 1e-4}
    assert not accent["significant"]
    assert noise["hyperparameters"] == {"learning_rate": 1e-3}
    assert noise["significant"]
    assert noise["generalWer"] > noise["wer"]
    document = lab.cluster.find(f"/api/v1/namespaces/{lab.namespace}/configmaps/typed-best")
    assert json.loads(document["data"]["specialised.json"]) == {"noise": {"learning_rate": 1e-3}}


@pytest.mark.slow
def test_grown_data_starts_a_small_round_around_what_is_in_service(lab: Lab):
    continuous = {"newErrorCases": 100, "trials": 3}
    lab.create("SweepRun", "growing", {"seconds": 0.1}, trials=2, parallelism=2, continuous=continuous)
    status = lab.await_condition("SweepRun", "growing", "Complete")
    assert "annotate" in status["continuous"]["message"]  # a script: is nothing that could be counted
    lab.annotate("SweepRun", "growing", names.ERROR_CASES_ANNOTATION, "1000")
    lab.await_status("SweepRun", "growing", lambda s: s["continuous"].get("errorCases") == 1000)
    before = lab.status("SweepRun", "growing")["bestRun"]
    lab.annotate("SweepRun", "growing", names.ERROR_CASES_ANNOTATION, "1100")
    status = lab.await_status("SweepRun", "growing", lambda s: s["round"] == 2 and holds(s, "Complete"), seconds=60)
    (record,) = status["continuous"]["rounds"]
    assert (record["newErrorCases"], record["trials"], record["incumbent"]) == (100, 3, before["value"])
    assert status["bestRun"]["id"] == (record["run"] if record["replaced"] else record["incumbentRun"]) != before["id"]
    assert record["replaced"] == (status["bestRun"]["value"] <= 0.95 * before["value"])
    assert record["replaced"] or status["bestRun"]["hyperparameters"] == before["hyperparameters"]
    assert [stage["trials"]["succeeded"] for stage in status["stages"]] == [1, 2]
    assert tokens(lab) == ["1:0", "2:0", "2:1"]
    incumbent = next(run for run in lab.runs() if run["sweepName"] == status["stages"][0]["sweep"])
    assert json.loads(incumbent["config"])["learning_rate"]["value"] == before["hyperparameters"]["learning_rate"]
