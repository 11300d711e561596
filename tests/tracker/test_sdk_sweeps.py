"""Sweeps through the SDK's agents, the CLI and the public API."""

import os
import subprocess
import sys

import pytest
import yaml
from finetune_tracker.testing import wait_until

TRIAL = """
import argparse, wandb
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.parse_args()
with wandb.init() as run:
    for step in range(3):
        run.log({"loss": (run.config.x - 2) ** 2 + 1 / (step + 1)})
"""
AGENT = """
import sys, wandb
from wandb.agents import pyagent
pyagent.Agent.HEARTBEAT_SLEEP_SECONDS = 0.3
def train():
    with wandb.init() as run:
        run.log({"loss": (run.config.x - 2) ** 2})
wandb.agent(sys.argv[1], train, count=int(sys.argv[2]) if len(sys.argv) > 2 else None)
"""


@pytest.fixture
def workshop(tracker, tmp_path):
    """Runs programs as clients of the tracker, and ends those still running."""
    started = []

    class Workshop:
        env = tracker.client_env(tmp_path) | {
            "WANDB_PROJECT": os.environ["WANDB_PROJECT"],
            "WANDB_SILENT": "false",
            "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",  # the CLI's agent calls `python`
        }

        def run(self, *command):
            return subprocess.run(
                [sys.executable, *command], env=self.env, cwd=tmp_path, capture_output=True, text=True, timeout=180
            )

        def start(self, *command):
            with (tmp_path / f"{len(started)}.log").open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, *command], env=self.env, cwd=tmp_path, stdout=log, stderr=log
                )
            started.append(process)
            return process

    yield Workshop()
    for process in started:
        process.kill()
        process.wait()


def sweep_of(sdk, sweep_id):
    return sdk.Api().sweep(f"local/{os.environ['WANDB_PROJECT']}/{sweep_id}")


@pytest.mark.slow
def test_two_function_agents_share_a_grid(sdk, workshop):
    metric = {"name": "loss", "goal": "minimize"}
    config = {"method": "grid", "metric": metric, "parameters": {"x": {"values": [1, 2, 3, 4]}}}
    sweep_id = sdk.sweep(config)
    agents = [workshop.start("-c", AGENT, sweep_id) for _ in range(2)]
    assert [a.wait(120) for a in agents] == [0, 0]
    found = sweep_of(sdk, sweep_id)
    assert found.state == "FINISHED"
    assert sorted(r.config["x"] for r in found.runs) == [1, 2, 3, 4]
    assert {r.state for r in found.runs} == {"finished"}
    assert found.best_run().config["x"] == 2
    assert found.expected_run_count == 4
    assert len(found.agents()) == 2
    assert sum(a.total_runs for a in found.agents()) == 4


@pytest.mark.slow
def test_the_command_line(sdk, workshop, tmp_path):
    (tmp_path / "trial.py").write_text(TRIAL)
    config = {
        "program": "trial.py", "method": "grid", "name": "by hand",
        "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"values": [1, 2]}},
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    made = workshop.run("-m", "wandb", "sweep", "sweep.yaml")
    assert made.returncode == 0, made.stderr
    sweep_id = (made.stdout + made.stderr).split("ID:")[1].split()[0]
    path = f"local/{os.environ['WANDB_PROJECT']}/{sweep_id}"
    agent = workshop.run("-m", "wandb", "agent", path)
    assert agent.returncode == 0, agent.stderr
    found = sweep_of(sdk, sweep_id)
    assert (found.state, found.name) == ("FINISHED", "by hand"), agent.stdout + agent.stderr
    assert sorted(r.config["x"] for r in found.runs) == [1, 2]
    assert found.best_run().config["x"] == 2

    endless = sdk.sweep({"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    for flag, state in {"pause": "PAUSED", "resume": "RUNNING", "stop": "FINISHED"}.items():
        done = workshop.run("-m", "wandb", "sweep", f"--{flag}", f"local/{os.environ['WANDB_PROJECT']}/{endless}")
        assert done.returncode == 0, done.stderr
        assert sweep_of(sdk, endless).state == state


@pytest.mark.slow
def test_a_bayes_sweep_ends_at_its_cap(sdk, workshop):
    config = {
        "method": "bayes", "run_cap": 2, "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 4.0}},
    }  # fmt: skip
    sweep_id = sdk.sweep(config)
    assert workshop.start("-c", AGENT, sweep_id).wait(120) == 0
    found = sweep_of(sdk, sweep_id)
    assert (found.state, len({r.config["x"] for r in found.runs})) == ("FINISHED", 2)


@pytest.mark.slow
def test_preempted_trials_continue_in_another_agent(sdk, workshop, client):
    """`mark_preempting` and a non-zero exit: the next agent resumes the same run."""
    client.project = os.environ["WANDB_PROJECT"]
    sweep = client.sweep({"method": "random", "run_cap": 1, "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    agent = client.agent(sweep)
    command = agent.next()
    script = (
        "import sys, wandb\nrun = wandb.init(resume='allow')\nrun.log({'x': run.starting_step})\n"
        "if run.starting_step == 0:\n    run.mark_preempting()\n    wandb.finish(exit_code=143)\n    sys.exit(143)\n"
        "run.finish()\n"
    )
    workshop.env |= {"WANDB_RUN_ID": command["run_id"], "WANDB_SWEEP_ID": sweep["name"]}
    assert workshop.run("-c", script).returncode == 143
    wait_until(lambda: client.get_sweep(sweep)["runs"][0]["state"] == "preempted", 30)
    again = client.agent(sweep).next()
    assert (again["type"], again["run_id"]) == ("resume", command["run_id"])
    assert workshop.run("-c", script).returncode == 0
    run = sweep_of(sdk, sweep["name"]).runs[0]
    assert [row["x"] for row in run.scan_history()] == [0, 1]
    assert run.state == "finished"
