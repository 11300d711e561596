"""The processes of a chaos run, and what is done to them. Shares no code with the operator."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from finetune_sandbox.kubelet.isolation import die_with_parent
from finetune_sandbox.testing import Cluster, eventually, start
from finetune_tracker.testing import TrackerProcess

ROOT = Path(__file__).parents[2]
TRAINER = ROOT / "tests" / "operator" / "support" / "trainer.py"
IMAGE = "registry.test/scripted:1"
QUICK = {
    "FINETUNE_TRACKER_RUN_TIMEOUT": "10",
    "FINETUNE_TRACKER_RUN_GRACE": "8",
    "FINETUNE_TRACKER_AGENT_TIMEOUT": "10",
    "FINETUNE_TRACKER_SYNCHRONOUS": "NORMAL",
}


@dataclass
class Stage:
    """A sandbox, a tracker, an operator, and counters of what was done to them."""

    folder: Path
    chance: random.Random
    cluster: Cluster
    tracker: TrackerProcess
    operator: subprocess.Popen[bytes] | None = None
    calm: threading.Event = field(default_factory=threading.Event)
    counts: dict[str, int] = field(
        default_factory=lambda: {
            "operator_kills": 0,
            "api_restarts": 0,
            "tracker_outages": 0,
            "pods_killed": 0,
            "pods_seen": 0,
        }
    )

    # -- the operator --------------------------------------------------------------------------------------------------

    def start_operator(self) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "FINETUNE"))}
        env |= {"FINETUNE_WANDB_BASE_URL": self.tracker.base_url, "FINETUNE_TRAINER_IMAGE": IMAGE}
        env["PYTHONPATH"] = f"{Path(__file__).with_name('image')}{os.pathsep}{env.get('PYTHONPATH', '')}"
        command = [sys.executable, "-m", "finetune_operator", "run", "--kubeconfig", str(self.cluster.kubeconfig)]
        with (self.folder / "operator.log").open("ab") as log:
            self.operator = subprocess.Popen(
                [*command, "--poll-seconds", "2"], stdout=log, stderr=log, env=env, preexec_fn=die_with_parent
            )

    def kill_operator(self) -> None:
        if self.operator is not None:
            self.operator.kill()
            self.operator.wait()
            self.operator = None

    def torment_operator(self, kills: int, mean: float, stop: threading.Event) -> None:
        """SIGKILL at random moments, from before it has started to long after, and a new one at once."""
        while self.counts["operator_kills"] < kills and not stop.is_set():
            self.start_operator()
            early = self.chance.random() < 0.4  # while it starts and reads its first lists
            stop.wait(self.chance.uniform(0, 2) if early else 2 + self.chance.expovariate(1 / mean))
            self.kill_operator()
            self.counts["operator_kills"] += 1
        if not stop.is_set():
            self.start_operator()
            self.calm.set()
        stop.wait()  # the last operator would not outlive this thread

    # -- everything else -----------------------------------------------------------------------------------------------

    def restart_api(self) -> None:
        """As one does whose etcd lives on: nothing listens for a while, then it is back with all it had."""
        query = {"history": self.chance.choice(["keep", "lose"]), "away": "2"}
        eventually(lambda: self.cluster.api("POST", "/debug/restart", query=query), 60)
        self.counts["api_restarts"] += 1

    def take_tracker_down(self, seconds: float, stop: threading.Event) -> None:
        self.tracker.kill()
        stop.wait(seconds)
        self.tracker.start()
        self.counts["tracker_outages"] += 1

    def kill_pods(self, share: float, stop: threading.Event) -> None:
        """Ends a share of the trainer pods soon after their start: half by SIGKILL, half by deletion."""
        decided: set[str] = set()
        doomed: list[tuple[float, dict[str, Any], bool]] = []
        while not stop.wait(0.15):
            with contextlib.suppress(Exception):  # the API server may be away
                for pod in self.cluster.api("GET", "/api/v1/pods", query={"labelSelector": "finetune.dev/uid"})[
                    "items"
                ]:
                    uid = pod["metadata"]["uid"]
                    if uid in decided or pod.get("status", {}).get("phase") != "Running":
                        continue
                    decided.add(uid)
                    self.counts["pods_seen"] += 1
                    behind = self.counts["pods_killed"] + len(doomed) < share * self.counts["pods_seen"]
                    if behind or self.chance.random() < share / 2:
                        doomed.append((time.monotonic() + self.chance.uniform(0, 0.5), pod, self.chance.random() < 0.5))
                for item in [item for item in doomed if item[0] <= time.monotonic()]:
                    doomed.remove(item)
                    self._end_pod(item[1], item[2])

    def _end_pod(self, pod: dict[str, Any], hard: bool) -> None:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        current = self.cluster.find(path)
        if current is None or current.get("status", {}).get("phase") != "Running":
            return
        if hard:
            patch = {"metadata": {"annotations": {"sandbox.finetune.dev/signal": f"KILL {time.time_ns()}"}}}
            self.cluster.api("PATCH", path, patch, content_type="application/merge-patch+json")
        else:
            self.cluster.api("DELETE", path, {"gracePeriodSeconds": self.chance.choice([1, 30])})
        self.counts["pods_killed"] += 1


@contextlib.contextmanager
def stage(folder: Path, seed: int, gpus: int) -> Iterator[Stage]:
    """Brings the processes up, but for the operator; ends them all."""
    folder.mkdir(parents=True, exist_ok=True)
    tracker = TrackerProcess(folder / "tracker", os.urandom(20).hex(), env=QUICK)
    images = {IMAGE: {"command": [sys.executable, str(TRAINER)]}}
    try:
        tracker.data.mkdir()
        tracker.start()
        with start(folder, "--nodes", "1", "--gpus", str(gpus), images=images) as cluster:
            for path in sorted((ROOT / "manifests" / "crds").glob("finetune.dev_*.yaml")):
                cluster.api(
                    "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(path.read_text())
                )
            place = Stage(folder, random.Random(seed), cluster, tracker)
            try:
                yield place
            finally:
                place.kill_operator()
    finally:
        tracker.stop()


def save(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
