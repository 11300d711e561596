"""How the operator gets into the cluster: as a process beside it, or as a pod of the Helm chart."""

from __future__ import annotations

import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from finetune_demo.errors import DemoError
from finetune_demo.kubectl import Kubectl
from finetune_demo.processes import Program

Way = Literal["process", "helm"]

RELEASE = "finetune"
DEPLOYMENT = f"{RELEASE}-operator"
_VERSION = "demo"
_READY_SECONDS = 60.0
_HELM_SECONDS = 180


def images() -> dict[str, Any]:
    """The operator's image, as the sandbox knows images."""
    return {f"finetune-operator:{_VERSION}": {"command": [sys.executable, "-m", "finetune_operator"]}}


def as_process(source: Path, kubectl: Kubectl, start: Callable[..., Program]) -> None:
    """Apply the CRDs and run the operator with the cluster's kubeconfig; waits until it is healthy.

    Raises:
        DemoError: It is not, in time.
    """
    kubectl.run("apply", "--server-side", "--kustomize", str(source / "manifests" / "crds"))
    kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    port = free_port()
    operator = start(
        "finetune-operator", "run", f"--kubeconfig={kubectl.kubeconfig}", "--all-namespaces", "--host=127.0.0.1",
        f"--liveness-port={port}",
    )  # fmt: skip
    _wait_for_health(operator, f"http://127.0.0.1:{port}/healthz")


def with_helm(source: Path, kubeconfig: Path, namespace: str) -> None:
    """`helm install --wait --create-namespace`: the operator is a pod with the rights of its own ServiceAccount alone.

    Raises:
        DemoError: Helm's library is not installed, or the release does not come up.
    """
    try:
        from helm_python.chart import Chart
        from helm_python.config import Config
    except ImportError:
        raise DemoError("Helm's Python library is missing", hint="`make venv` installs it.") from None
    chart = source / "charts" / "finetune-operator"
    values = {
        "fullnameOverride": DEPLOYMENT,
        "image": {"tag": _VERSION},
        # pods of the sandbox share this machine's network
        "livenessProbe": {"port": free_port(), "initialDelaySeconds": 1},
        "metrics": {"port": free_port()},
    }
    helm = Config(kubeconfig_path=kubeconfig, namespace=namespace)
    try:
        helm.install(
            Chart.load(chart), RELEASE, values=values, create_namespace=True, wait="watcher", timeout=_HELM_SECONDS
        )
    except Exception as error:
        raise DemoError(f"helm install failed: {error}") from error


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_health(operator: Program, url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a loopback address made above
                return
        except (urllib.error.URLError, OSError):
            pass
        if operator.process.poll() is not None:
            raise DemoError(f"{operator.name} ended with status {operator.process.returncode}", log=operator.log)
        if time.monotonic() > deadline:
            raise DemoError(f"{operator.name} was not ready within {_READY_SECONDS:.0f} s", log=operator.log)
        time.sleep(0.2)
