"""The command line in the test's namespace, and our definitions in the cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest
from finetune_cli import waiting
from finetune_cli.app import cli
from finetune_cli.cluster import PLURALS
from finetune_sandbox.testing import Cluster, eventually

CRDS = Path(__file__).parents[2] / "manifests" / "crds"

Run = Callable[..., click.testing.Result]
Put = Callable[..., Any]


def install_definitions(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(CRDS))
    for plural in PLURALS.values():
        eventually(lambda plural=plural: cluster.api("GET", f"/apis/finetune.dev/v1alpha1/{plural}"))


@pytest.fixture(scope="session")
def definitions(cluster: Cluster) -> Cluster:
    install_definitions(cluster)
    return cluster


def runner(cluster: Cluster, namespace: str) -> Run:
    def run(
        *args: str, stdin: str | None = None, code: int | None = 0, env: dict[str, str | None] | None = None
    ) -> Any:
        plain = ["completion", "init"]
        where = [] if args and args[0] in plain else ["--kubeconfig", str(cluster.kubeconfig), "-n", namespace]
        clean = {"WANDB_API_KEY": None, "WANDB_BASE_URL": None, "FINETUNE_TRACKER_URL": None}
        result = click.testing.CliRunner().invoke(cli, [*args, *where], input=stdin, env=clean | (env or {}))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code is None or result.exit_code == code, result.output
        return result

    return run


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "INTERVAL", 0.05)


@pytest.fixture
def finetune(definitions: Cluster, namespace: str) -> Run:
    """`finetune("best", "errors")` -> result with `output` and `exit_code`; expects 0 unless told otherwise."""
    return runner(definitions, namespace)


def putter(cluster: Cluster, namespace: str) -> Put:
    def put(body: dict[str, Any], status: dict[str, Any] | None = None) -> Any:
        name = body["metadata"]["name"]
        where = f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/{PLURALS[body['kind']]}/{name}"
        query = {"fieldManager": "test", "force": "true"}
        cluster.api("PATCH", where, body, query, content_type="application/apply-patch+yaml")
        if status is not None:
            report(cluster, namespace, body["kind"], name, status)
        return cluster.api("GET", f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/{PLURALS[body['kind']]}/{name}")

    return put


def report(cluster: Cluster, namespace: str, kind: str, name: str, status: dict[str, Any]) -> None:
    """Writes a status, as the operator would."""
    where = f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/{PLURALS[kind]}/{name}/status"
    cluster.api("PATCH", where, {"status": status}, content_type="application/merge-patch+json")


@pytest.fixture
def put(definitions: Cluster, namespace: str) -> Put:
    """Puts a resource, and its status, into the namespace."""
    return putter(definitions, namespace)
