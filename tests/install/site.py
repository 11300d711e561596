"""A sandbox cluster with the chart in it, as a platform team would run it."""

from __future__ import annotations

import base64
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_sandbox.testing import Cluster, RequestFailedError, eventually
from helm_python.chart import Chart
from helm_python.config import Config

from tests.install.support import CHART, Json

TRAINER = CHART.parents[1] / "tests" / "operator" / "support" / "trainer.py"
VERSION = "0.1.0"
PROGRAMS = {
    "operator": {"command": [sys.executable, "-m", "finetune_operator"]},
    "tracker": {"command": [sys.executable, "-m", "finetune_tracker"]},
    "trainer": {"command": [sys.executable, str(TRAINER)]},
    "real-trainer": {
        "command": [sys.executable, "-m", "finetune_trainer"],
        "env": {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
    },
}
IMAGES = {
    f"{registry}finetune-{name}:{VERSION}": program
    for registry in ("", "registry.internal/")
    for name, program in PROGRAMS.items()
}
API = "/apis/finetune.dev/v1alpha1"
LEARNING_RATE = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-2}}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def values(**more: Any) -> Json:
    """Values for a machine whose pods share one network; every port is a free one."""
    tracker = free_port()
    return {
        "livenessProbe": {"port": free_port(), "initialDelaySeconds": 1},
        "metrics": {"port": free_port()},
        "extraArgs": ["--poll-seconds=0.5"],
        "tracker": {"enabled": True, "containerPort": tracker, "service": {"port": tracker}},
        **more,
    }


@dataclass
class Site:
    """A namespace of a cluster, seen as its users see it."""

    cluster: Cluster
    namespace: str = "speech"
    release: str = "ft"

    @property
    def name(self) -> str:
        """Full name of the release's objects."""
        return f"{self.release}-finetune-operator"

    def helm(self) -> Config:
        return Config(kubeconfig_path=self.cluster.kubeconfig, namespace=self.namespace)

    def install(self, chosen: Json, chart: Path = CHART) -> None:
        """`helm install --wait --create-namespace`."""
        loaded = Chart.load(chart)
        self.helm().install(loaded, self.release, values=chosen, create_namespace=True, wait="watcher", timeout=180)

    def get(self, path: str) -> Json:
        answer: Json = self.cluster.api("GET", path)
        return answer

    def items(self, group: str, plural: str) -> list[Json]:
        return list(self.get(f"{group}/namespaces/{self.namespace}/{plural}")["items"])

    def use_the_tracker(self, secret: str = "wandb") -> str:
        """Gives the namespace a Secret with the tracker's generated key; returns the key."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        key = str(self.get(f"{path}/{self.name}-tracker")["data"]["api-key"])
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": {"api-key": key}}
        try:
            self.cluster.api("POST", path, body)
        except RequestFailedError as error:
            if error.code != 409:
                raise
            self.cluster.api("PUT", f"{path}/{secret}", body)
        return base64.b64decode(key).decode()

    def create(self, kind: str, name: str, script: str = "", **spec: Any) -> None:
        """Creates a resource whose trainer follows a script (see the scripted trainer)."""
        trainer = {"model": {"name": "tiny"}, "dataset": {"uri": f"script:?{script}"}, **spec.pop("trainer", {})}
        if kind == "SweepRun":
            spec = {"preset": "none", "parameters": LEARNING_RATE, "trials": 3, **spec}
        body = {
            "apiVersion": "finetune.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {**spec, "trainer": trainer},
        }
        self.cluster.api("POST", f"{API}/namespaces/{self.namespace}/{kind.lower()}s", body)

    def path(self, kind: str, name: str) -> str:
        return f"{API}/namespaces/{self.namespace}/{kind.lower()}s/{name}"

    def patch(self, kind: str, name: str, **spec: Any) -> None:
        self.cluster.api("PATCH", self.path(kind, name), {"spec": spec}, content_type="application/merge-patch+json")

    def annotate(self, kind: str, name: str, key: str, value: str) -> None:
        patch = {"metadata": {"annotations": {key: value}}}
        self.cluster.api("PATCH", self.path(kind, name), patch, content_type="application/merge-patch+json")

    def delete(self, kind: str, name: str) -> None:
        self.cluster.api("DELETE", self.path(kind, name))

    def status(self, kind: str, name: str) -> Json:
        status: Json = self.get(self.path(kind, name)).get("status", {})
        return status

    def await_status(self, kind: str, name: str, check: Callable[[Json], object], seconds: float = 60) -> Json:
        def look() -> Json:
            status = self.status(kind, name)
            assert check(status), status
            return status

        return eventually(look, seconds)

    def await_condition(self, kind: str, name: str, condition: str, seconds: float = 60) -> Json:
        return self.await_status(kind, name, lambda status: holds(status, condition), seconds)

    def await_reason(self, kind: str, name: str, reason: str, seconds: float = 30) -> Json:
        return self.await_status(kind, name, lambda status: ready(status).get("reason") == reason, seconds)


def ready(status: Json) -> Json:
    return next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})


def holds(status: Json, condition: str) -> bool:
    return any(c["type"] == condition and c["status"] == "True" for c in status.get("conditions", ()))
