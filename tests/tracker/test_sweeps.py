"""Sweeps over the wire, with agents whose trials the test plays."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from finetune_tracker.testing import wait_until

from tests.tracker.client import UPSERT_SWEEP, Refused

GRID = {
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}},
}
RANDOM = {"method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}}


def values(command):
    return {k: v["value"] for k, v in command["args"].items()}


def test_a_grid_is_handed_out_once_and_ends_by_itself(client):
    sweep = client.sweep(GRID)
    agents = [client.agent(sweep) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = [p for trials in pool.map(lambda a: a.play(sweep), agents) for p in trials]
    assert sorted((p["a"], p["b"]) for p in done) == sorted(product([1, 2, 3], ["x", "y"]))
    found = client.get_sweep(sweep)
    assert found["state"] == "FINISHED"
    assert found["runCountExpected"] == found["runCount"] == 6


def test_run_cap_is_exact_with_64_agents_at_once(client):
    sweep = client.sweep(RANDOM | {"run_cap": 40})
    with ThreadPoolExecutor(64) as pool:
        agents = list(pool.map(lambda _: client.agent(sweep), range(64)))
        commands = [c for c in pool.map(lambda a: a.next(), agents) if c is not None]
    assert len(commands) == 40
    assert len({c["run_id"] for c in commands}) == 40
    assert len({values(c)["lr"] for c in commands}) == 40
    assert client.get_sweep(sweep)["runCount"] == 40


def test_a_lost_answer_is_issued_again(client):
    sweep = client.sweep(RANDOM)
    agent = client.agent(sweep)
    first = agent.next()
    assert agent.next() == first
    assert agent.beat(first["run_id"]) == []
    client.run(first["run_id"], sweep=sweep["name"])
    client.finish(first["run_id"])
    assert agent.next()["run_id"] != first["run_id"]


def test_a_trial_that_dies_before_its_start_is_failed_and_not_repeated(client):
    sweep = client.sweep(GRID | {"parameters": {"a": {"values": [1, 2]}}})
    agent = client.agent(sweep)
    first = agent.next()
    agent.beat(first["run_id"])
    second = agent.next()
    assert values(second) != values(first)
    assert {r["name"]: r["state"] for r in client.get_sweep(sweep)["runs"]} == {
        first["run_id"]: "failed", second["run_id"]: "pending",
    }  # fmt: skip


def test_a_trial_that_dies_at_once_again_and_again_is_failed(client):
    sweep = client.sweep(RANDOM | {"run_cap": 2})
    agent = client.agent(sweep)
    issued = [agent.next()["run_id"] for _ in range(4)]
    assert issued[0] == issued[1] == issued[2] != issued[3]
    assert client.get_sweep(sweep)["runs"][0]["state"] == "failed"


def test_pause_resume_stop(client):
    sweep = client.sweep(RANDOM)
    busy, idle = client.agent(sweep), client.agent(sweep)
    run = busy.next()["run_id"]
    client.run(run, sweep=sweep["name"])
    assert client.set_sweep(sweep, "PAUSED")["state"] == "PAUSED"
    assert busy.beat(run) == []
    assert idle.beat() == []
    client.set_sweep(sweep, "RUNNING")
    assert idle.next()["type"] == "run"
    client.set_sweep(sweep, "FINISHED")
    assert busy.beat(run) == [], "a running trial of a stopped sweep ends by itself"
    assert client.stream(run, [{"_step": 0}])["stopped"] is False
    client.finish(run)
    assert busy.beat() == [{"type": "exit"}]
    assert client.get_sweep(sweep)["runs"][0]["state"] == "finished"


def test_cancel_kills_the_running_trials(client):
    sweep = client.sweep(RANDOM)
    agent = client.agent(sweep)
    run = agent.next()["run_id"]
    client.run(run, sweep=sweep["name"])
    client.set_sweep(sweep, "CANCELED")
    assert client.stream(run, [{"_step": 0}])["stopped"] is True
    assert agent.beat(run) == [{"type": "exit"}]
    client.finish(run, exitcode=255)
    assert client.get_sweep(sweep)["runs"][0]["state"] == "killed"


def test_a_stopped_run_reaches_its_agent_and_its_process(client):
    sweep = client.sweep(RANDOM)
    agent = client.agent(sweep)
    run = agent.next()["run_id"]
    bucket = client.run(run, sweep=sweep["name"])["bucket"]
    client.call("mutation($id: ID!) { stopRun(input: {id: $id}) { success } }", id=bucket["id"])
    assert agent.beat(run) == [{"type": "stop", "run_id": run}]
    assert client.stream(run, [{"_step": 0}])["stopped"] is True
    assert agent.next()["run_id"] != run, "the agent dropped it: over at once"
    assert [r["state"] for r in client.get_sweep(sweep)["runs"] if r["name"] == run] == ["killed"]


def test_a_preempted_run_is_handed_out_again(client):
    sweep = client.sweep(RANDOM | {"run_cap": 1})
    first, second = client.agent(sweep), client.agent(sweep)
    command = first.next()
    run = command["run_id"]
    client.run(run, sweep=sweep["name"])
    client.stream(run, [{"_step": 0, "loss": 1.0}], preempting=True)
    assert client.get_sweep(sweep)["runs"][0]["state"] == "preempting"
    assert second.beat() == [], "agents wait while a run may come back"
    client.finish(run, exitcode=143)
    assert client.get_sweep(sweep)["runs"][0]["state"] == "preempted"
    again = second.next()
    assert (again["type"], again["run_id"], again["args"]) == ("resume", run, command["args"])
    assert client.run(run, sweep=sweep["name"])["bucket"]["historyLineCount"] == 1
    client.stream(run, [{"_step": 1, "loss": 0.5}], offset=1)
    client.finish(run)
    assert second.beat() == [{"type": "exit"}]
    found = client.get_sweep(sweep)
    assert (found["state"], found["runCount"], found["runs"][0]["state"]) == ("FINISHED", 1, "finished")


def test_prior_runs_join_the_sweep_without_using_its_cap(client):
    for i in range(3):
        client.run(f"old{i}", config=f'{{"lr": {{"value": 0.{i}}}}}', summaryMetrics=f'{{"loss": {i}}}')
        client.finish(f"old{i}")
    config = {"method": "bayes", "metric": {"name": "loss"}, "parameters": RANDOM["parameters"], "run_cap": 1}
    sweep = client.sweep(config, priorRunsFilters='{"$or": [{"name": "old0"}, {"name": "old2"}]}')
    assert {r["name"] for r in client.get_sweep(sweep)["runs"]} == {"old0", "old2"}
    assert len(client.agent(sweep).play(sweep, lambda p: -1.0)) == 1
    found = client.get_sweep(sweep)
    assert (found["state"], found["runCount"], found["bestLoss"]) == ("FINISHED", 3, -1.0)


def test_runs_of_an_earlier_sweep_seed_a_later_one_and_stay_where_they_are(client):
    space = {"x": {"distribution": "uniform", "min": 0.0, "max": 1.0}}
    config = {"method": "bayes", "metric": {"name": "loss", "goal": "minimize"}, "parameters": space, "run_cap": 12}
    first = client.sweep(config | {"method": "grid", "parameters": {"x": {"values": [k / 11 for k in range(12)]}}})
    assert len(client.agent(first).play(first, lambda p: (p["x"] - 0.3) ** 2)) == 12
    runs = [r["name"] for r in client.get_sweep(first)["runs"]]
    clauses = ", ".join(f'{{"name": "{name}"}}' for name in runs)
    second = client.sweep(config | {"run_cap": 3}, priorRunsFilters=f'{{"$or": [{clauses}]}}')
    assert {r["name"] for r in client.get_sweep(first)["runs"]} == set(runs)
    tried = client.agent(second).play(second, lambda p: (p["x"] - 0.3) ** 2)
    assert len(tried) == 3
    near = sorted(abs(config["x"] - 0.3) for config in tried)
    assert near[1] < 0.2, tried  # what the earlier runs have taught; one of three may explore
    assert client.get_sweep(second)["runCount"] == 3


def test_hyperband_stops_the_bad_trials(impatient):
    config = {
        "method": "random",
        "metric": {"name": "eval/wer", "goal": "minimize"},
        "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 3},
        "parameters": RANDOM["parameters"],
    }
    sweep = impatient.sweep(config)
    agents = [impatient.agent(sweep) for _ in range(3)]
    runs = [a.next()["run_id"] for a in agents]
    for run, level in zip(runs, (0.1, 0.5, 0.9), strict=True):
        impatient.run(run, sweep=sweep["name"])
        impatient.stream(run, [{"_step": i, "eval/wer": level} for i in range(3)])

    def told():
        return [a.beat(r) for a, r in zip(agents, runs, strict=True)]

    wait_until(lambda: told()[2] == [{"type": "stop", "run_id": runs[2]}], 60)
    assert told()[0] == []
    assert impatient.stream(runs[2])["stopped"] is True


def test_silent_runs_crash_and_come_back(impatient):
    impatient.run("quiet")
    impatient.stream("quiet", [{"_step": 0}])

    def state():
        return impatient.runs({"name": "quiet"})["runs"]["edges"][0]["node"]["state"]

    assert state() == "running"
    wait_until(lambda: state() == "crashed", 10)
    impatient.stream("quiet", [{"_step": 1}], offset=1)
    assert state() == "running", "it was only slow"
    impatient.finish("quiet")
    assert state() == "finished"


def test_parameters_of_a_lost_agent_go_back_to_the_search(impatient):
    sweep = impatient.sweep(GRID | {"parameters": {"a": {"values": [1, 2]}}})
    lost = impatient.agent(sweep)
    first = lost.next()
    other = impatient.agent(sweep)
    done = other.play(sweep)
    assert {p["a"] for p in done} == {1, 2}
    assert first["run_id"] not in {r["name"] for r in impatient.get_sweep(sweep)["runs"]}
    assert impatient.get_sweep(sweep)["state"] == "FINISHED"


def test_a_sweep_without_agents_finishes_when_its_last_run_ends(impatient):
    sweep = impatient.sweep(RANDOM | {"run_cap": 1})
    run = impatient.agent(sweep).next()["run_id"]
    impatient.run(run, sweep=sweep["name"])
    impatient.finish(run, exitcode=1)
    wait_until(lambda: impatient.get_sweep(sweep)["state"] == "FINISHED", 10)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"method": "random"}, "parameters"),
        ({"method": "nonsense", "parameters": {"a": {"value": 1}}}, "nonsense"),
        ({"method": "grid", "parameters": {"a": {"min": 0.0, "max": 1.0}}}, "grid"),
        (RANDOM | {"run_cap": 0}, "run_cap"),
        (RANDOM | {"metric": "loss"}, "metric"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_reason(client, config, named):
    with pytest.raises(Refused, match=named) as refused:
        client.sweep(config)
    assert refused.value.status == 400


def test_raising_the_cap_lets_a_sweep_go_on(client):
    import json

    sweep = client.sweep(RANDOM | {"run_cap": 1})
    agent = client.agent(sweep)
    assert len(agent.play(sweep)) == 1
    client.call(UPSERT_SWEEP, id=sweep["id"], config=json.dumps(RANDOM | {"run_cap": 3}), state="RUNNING")
    assert len(client.agent(sweep).play(sweep)) == 2
