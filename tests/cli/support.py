"""Objects that the command line's tests put into the cluster, as a user and as the operator would."""

from __future__ import annotations

import copy
from typing import Any

from finetune_cli.resources import Resource, parse

KEY = "k" * 40
NOW = "2026-11-01T10:00:00Z"


def sweep(name: str = "errors", **spec: Any) -> dict[str, Any]:
    trainer = {
        "image": "registry.test/trainer:1",
        "model": {"name": "openai/whisper-small"},
        "dataset": {"uri": "/data/manifest.jsonl"},
    }
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "SweepRun",
        "metadata": {"name": name},
        "spec": {"trials": 8, "parallelism": 2, "trainer": trainer | spec.pop("trainer", {}), **spec},
    }


def job(name: str = "candidate", **spec: Any) -> dict[str, Any]:
    body = sweep(name, **spec)
    del body["spec"]["trials"], body["spec"]["parallelism"]
    return body | {"kind": "FinetuneJob"}


def condition(kind: str, holds: bool, reason: str, message: str = "", generation: int = 1) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": NOW,
        "observedGeneration": generation,
    }


def running(reason: str = "Running", message: str = "2 agents at work.", **fields: Any) -> dict[str, Any]:
    conditions = [
        condition("Ready", False, reason, message),
        condition("Reconciling", True, reason, message),
        condition("Stalled", False, reason, message),
    ]
    return {"observedGeneration": 1, "startTime": NOW, "round": 1, "conditions": conditions, **fields}


def ended(complete: bool = True, reason: str = "Complete", message: str = "Done.", **fields: Any) -> dict[str, Any]:
    conditions = [
        condition("Ready", complete, reason, message),
        condition("Reconciling", False, reason, message),
        condition("Stalled", not complete, reason, message),
        condition("Complete" if complete else "Failed", True, reason, message),
    ]
    times = {"startTime": NOW, "completionTime": "2026-11-01T11:30:00Z"}
    return {"observedGeneration": 1, "round": 1, "conditions": conditions, **times, **fields}


TRIALS = {"total": 6, "running": 2, "succeeded": 3, "failed": 1, "stopped": 0, "preempted": 0, "duplicates": 0}
BEST = {
    "id": "abc123",
    "name": "brave-sweep-3",
    "url": "http://tracker.test/team/stt/runs/abc123",
    "metric": "eval/wer",
    "value": 0.12,
    "baseline": 0.30,
    "relativeImprovement": 0.6,
    "hyperparameters": {"learning_rate": 3.2e-5, "batch_size": 16},
    "artifact": "team/stt/errors:v3",
    "test": {
        "wer": 0.14,
        "baselineWer": 0.32,
        "relativeImprovement": 0.5625,
        "pValue": 0.001,
        "suitesPassed": 1,
        "suitesTotal": 1,
    },
}
METRICS = {
    "wer": 0.14,
    "cer": 0.05,
    "baselineWer": 0.32,
    "baselineCer": 0.11,
    "pValue": 0.001,
    "relativeImprovement": 0.5625,
}


def promotion(state: str, **fields: Any) -> dict[str, Any]:
    gates = [{"name": "minImprovement", "value": 0.56, "threshold": 0.05, "passed": state != "Rejected"}]
    return {
        "state": state,
        "run": "abc123",
        "reason": f"It is {state}.",
        "gates": gates,
        "aliases": [],
        "history": [],
        **fields,
    }


def resource(body: dict[str, Any], status: dict[str, Any] | None = None) -> Resource:
    """A resource as the cluster would hand it back."""
    raw = copy.deepcopy(body)
    raw["metadata"] |= {"namespace": "team", "generation": 1, "uid": "u-1", "creationTimestamp": NOW}
    return parse(raw | ({"status": status} if status else {}))
