"""The operator as a process, and a resource's life as a user sees it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_sandbox.kubelet.isolation import die_with_parent
from finetune_sandbox.testing import Cluster, RequestFailedError, eventually
from finetune_tracker.testing import TrackerProcess

IMAGE = "registry.test/scripted:1"
SCRIPT = Path(__file__).with_name("trainer.py")
IMAGES = {IMAGE: {"command": [sys.executable, str(SCRIPT)]}}
API = "/apis/finetune.dev/v1alpha1/namespaces"
LEARNING_RATE = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-2}}


@dataclass
class OperatorProcess:
    kubeconfig: Path
    base_url: str
    log: Path
    arguments: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "FINETUNE"))}
        env |= {"FINETUNE_WANDB_BASE_URL": self.base_url, "FINETUNE_TRAINER_IMAGE": IMAGE}
        command = [sys.executable, "-m", "finetune_operator", "run", "--kubeconfig", str(self.kubeconfig)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--poll-seconds", "0.5", *self.arguments],
                stdout=log,
                stderr=log,
                env=env,
                preexec_fn=die_with_parent,
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def running_operator(kubeconfig: Path, base_url: str, log: Path, *arguments: str) -> Iterator[OperatorProcess]:
    operator = OperatorProcess(kubeconfig, base_url, log, list(arguments))
    operator.start()
    try:
        yield operator
    finally:
        operator.stop()


def uri(**options: object) -> str:
    return "script:?" + "&".join(f"{key}={value}" for key, value in options.items())


def graphql(tracker: TrackerProcess, query: str, **variables: Any) -> dict[str, Any]:
    token = base64.b64encode(f"api:{tracker.api_key}".encode()).decode()
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{tracker.base_url}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.loads(response.read())
    assert not answer.get("errors"), answer
    data: dict[str, Any] = answer["data"]
    return data


@dataclass
class Lab:
    """A namespace with a cluster, a tracker and an operator around it."""

    cluster: Cluster
    namespace: str
    tracker: TrackerProcess

    def secret(self, name: str = "wandb", value: str | None = None) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {"api-key": value or self.tracker.api_key},
        }
        self.cluster.apply(body, namespace=self.namespace)

    def manifest(self, kind: str, name: str, script: dict[str, object] | None = None, **spec: Any) -> dict[str, Any]:
        trainer = {"model": {"name": "tiny"}, "dataset": {"uri": uri(**(script or {}))}, **spec.pop("trainer", {})}
        if kind == "SweepRun":
            spec = {"preset": "none", "parameters": LEARNING_RATE, "trials": 3, **spec}
            spec = {key: value for key, value in spec.items() if value is not None}
        spec.setdefault("wandb", {"project": self.namespace})
        return {
            "apiVersion": "finetune.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {**spec, "trainer": trainer},
        }

    def create(self, kind: str, name: str, script: dict[str, object] | None = None, **spec: Any) -> None:
        manifest = self.manifest(kind, name, script, **spec)
        self.cluster.api("POST", f"{API}/{self.namespace}/{kind.lower()}s", manifest)

    def path(self, kind: str, name: str) -> str:
        return f"{API}/{self.namespace}/{kind.lower()}s/{name}"

    def get(self, kind: str, name: str) -> dict[str, Any]:
        body: dict[str, Any] = self.cluster.api("GET", self.path(kind, name))
        return body

    def status(self, kind: str, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.get(kind, name).get("status", {})
        return status

    def patch(self, kind: str, name: str, patch: dict[str, Any]) -> None:
        self.cluster.api("PATCH", self.path(kind, name), patch, content_type="application/merge-patch+json")

    def annotate(self, kind: str, name: str, key: str, value: str) -> None:
        self.patch(kind, name, {"metadata": {"annotations": {key: value}}})

    def delete(self, kind: str, name: str) -> None:
        self.cluster.api("DELETE", self.path(kind, name))

    def list(self, path: str, selector: str = "") -> list[dict[str, Any]]:
        group, plural = path.rsplit("/", 1)
        items: list[dict[str, Any]] = self.cluster.api("GET", f"{group}/namespaces/{self.namespace}/{plural}")["items"]
        return items

    def jobs(self) -> list[dict[str, Any]]:
        return self.list("/apis/batch/v1/jobs")

    def pods(self, phase: str | None = None) -> list[dict[str, Any]]:
        return [p for p in self.list("/api/v1/pods") if phase is None or p.get("status", {}).get("phase") == phase]

    def await_condition(self, kind: str, name: str, condition: str, seconds: float = 40) -> dict[str, Any]:
        return self.await_status(kind, name, lambda status: holds(status, condition), seconds)

    def await_reason(self, kind: str, name: str, reason: str, seconds: float = 20) -> dict[str, Any]:
        return self.await_status(kind, name, lambda status: ready(status).get("reason") == reason, seconds)

    def await_status(
        self, kind: str, name: str, check: Callable[[dict[str, Any]], object], seconds: float = 40
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            status = self.status(kind, name)
            if check(status):
                return status
            assert time.monotonic() < deadline, (
                f"{kind} {name}: {json.dumps(ready(status))} {json.dumps(status)[:1500]}"
            )
            time.sleep(0.1)

    def gone(self, kind: str, name: str) -> bool:
        try:
            self.get(kind, name)
        except RequestFailedError as error:
            return error.code == 404
        return False

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        return graphql(self.tracker, query, **variables)

    def sweeps(self) -> list[dict[str, Any]]:
        query = (
            "query S($p: String!, $e: String!) { project(name: $p, entityName: $e) { sweeps(first: 200) "
            "{ edges { node { id name state description runCount } } } } }"
        )
        project = self.graphql(query, p=self.namespace, e=self.tracker.entity)["project"]
        return [edge["node"] for edge in project["sweeps"]["edges"]] if project else []

    def runs(self) -> list[dict[str, Any]]:
        query = (
            "query R($p: String!, $e: String!) { project(name: $p, entityName: $e) { runs(first: 500) "
            "{ edges { node { name state sweepName config summaryMetrics } } } } }"
        )
        project = self.graphql(query, p=self.namespace, e=self.tracker.entity)["project"]
        return [edge["node"] for edge in project["runs"]["edges"]] if project else []


def ready(status: dict[str, Any]) -> dict[str, Any]:
    return next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})


def holds(status: dict[str, Any], condition: str) -> bool:
    return any(c["type"] == condition and c["status"] == "True" for c in status.get("conditions", ()))


__all__ = ["IMAGE", "IMAGES", "Lab", "OperatorProcess", "eventually", "holds", "ready", "running_operator", "uri"]
