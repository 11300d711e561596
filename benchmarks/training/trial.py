"""What a trial of a sweep costs beside its training steps: a warm agent against `wandb agent`, on the bundled tracker.

Both serve a sweep of the same trials: the same model, data, steps and evaluation. The time of a trial is that from the
last value which one trial logs to the last value of the next, so that it contains asking for work, starting what has to
be started, loading, evaluating and reporting; its training steps, as the trial itself reports them, are taken off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from finetune_tracker.testing import TrackerProcess, running_tracker

from benchmarks.harness import Comparison, Entry, Options
from benchmarks.training import material
from benchmarks.training.outcome import Recipe

PROJECT = "overhead"
RECIPE = Recipe(batch_size=16, epochs=1, learning_rate=1e-3)
ROUNDS = 2
TRIALS = 3
LIMIT_SECONDS = 300.0


def run(options: Options) -> list[Entry]:
    """Sweeps of a few trials in turn; the first of each warms up."""
    trials = 2 if options.quick else TRIALS
    manifest = material.manifest(material.speech_for(options, material.FEW))
    base = material.base("whisper", options)
    comparison = Comparison()
    with tempfile.TemporaryDirectory() as scratch, running_tracker(Path(scratch) / "tracker") as tracker:
        for number in range(1 if options.quick else ROUNDS):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            sides = (
                (comparison.baseline, wandb_agent(tracker, folder, base, manifest, trials)),
                (comparison.ours, warm_agent(tracker, folder, base, manifest, trials)),
            )
            for figures, sweep in sides:
                runs = runs_of(tracker, folder, sweep)
                if len(runs) != trials:
                    raise RuntimeError(f"{len(runs)} of {trials} runs of sweep {sweep} finished")
                figures += overheads(runs)
    return [comparison.entry("trial_overhead", "s")]


def overheads(runs: Sequence[dict[str, float]]) -> list[float]:
    """Seconds of each trial but the first, without its training steps."""
    ended = sorted(runs, key=lambda run: run["_timestamp"])
    return [now["_timestamp"] - before["_timestamp"] - now["duration/train_seconds"] for before, now in pairwise(ended)]


def wandb_agent(tracker: TrackerProcess, folder: Path, base: Path, manifest: Path, trials: int) -> str:
    """Serves a sweep by W&B's own agent; returns the sweep."""
    program = ["${env}", sys.executable, "-m", "benchmarks.training.wandb_program", str(base), str(manifest), "${args}"]
    sweep = _sweep(tracker, folder, trials, {"command": program, "program": "benchmarks/training/wandb_program.py"})
    path = f"{tracker.entity}/{PROJECT}/{sweep}"
    _call([sys.executable, "-m", "wandb", "agent", "--count", str(trials), path], tracker.client_env(folder))
    return sweep


def warm_agent(tracker: TrackerProcess, folder: Path, base: Path, manifest: Path, trials: int) -> str:
    """Serves a sweep by ours; returns the sweep."""
    sweep = _sweep(tracker, folder, trials, {})
    config = folder / "trial.json"
    document = {
        "mode": "agent",
        "tracking": {
            "baseURL": tracker.base_url,
            "entity": tracker.entity,
            "project": PROJECT,
            "sweepID": sweep,
        },
        "model": {"name": str(base)},
        "dataset": {"uri": str(manifest), "minErrorCases": 1, "normalizer": "none"},
        "hyperparameters": {"batch_size": RECIPE.batch_size, "epochs": RECIPE.epochs},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    _call([sys.executable, "-m", "finetune_trainer", "agent", "--config", str(config)], tracker.client_env(folder))
    return sweep


def runs_of(tracker: TrackerProcess, folder: Path, sweep: str) -> list[dict[str, float]]:
    """Summaries of a sweep's finished runs."""
    found: list[dict[str, float]] = json.loads(_client(tracker, folder, "runs", sweep))
    return found


def _sweep(tracker: TrackerProcess, folder: Path, trials: int, fields: dict[str, Any]) -> str:
    rates = [RECIPE.learning_rate * (1 + number / 10) for number in range(trials)]
    parameters = {"learning_rate": {"values": rates}}
    metric = {"name": "eval/wer", "goal": "minimize"}
    return _client(
        tracker,
        folder,
        "create",
        json.dumps({"method": "grid", "metric": metric, "parameters": parameters, **fields}),
    )


def _client(tracker: TrackerProcess, folder: Path, *arguments: str) -> str:
    """What the SDK answers, asked in a process of its own: it keeps its server's address for life."""
    command = [sys.executable, "-m", "benchmarks.training.wandb_client", f"{tracker.entity}/{PROJECT}", *arguments]
    return _call(command, tracker.client_env(folder)).strip().splitlines()[-1]


def _call(command: list[str], environment: dict[str, str]) -> str:
    environment = {**environment, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.getcwd()}
    environment["FINETUNE_TERMINATION_LOG"] = os.path.join(environment["HOME"], "termination")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
