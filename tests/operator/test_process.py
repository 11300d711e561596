"""The process: one active replica, probes, metrics, memory of what is secret."""

from __future__ import annotations

import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetune_sandbox.testing import Cluster, eventually, start
from finetune_tracker.testing import TrackerProcess

from tests.operator.conftest import install_crds
from tests.operator.support.process import IMAGES, Lab, running_operator


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own: the operator of the other tests serves every namespace of theirs, and would help out."""
    with start(tmp_path_factory.mktemp("process-sandbox"), "--nodes", "1", "--gpus", "4", images=IMAGES) as cluster:
        install_crds(cluster)
        yield cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())


def test_one_replica_leads_and_the_other_takes_over(
    cluster: Cluster, namespace: str, tracker: TrackerProcess, tmp_path: Path
):
    lab = Lab(cluster, namespace, tracker)
    lab.secret()
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/finetune"
    arguments = ("--namespace", namespace, "--lease", f"{namespace}/finetune")
    metrics, liveness = free_port(), free_port()
    ports = ("--metrics-port", str(metrics), "--liveness-port", str(liveness))
    with running_operator(cluster.kubeconfig, tracker.base_url, tmp_path / "a.log", *arguments) as first:
        holder = eventually(lambda: (cluster.find(lease) or {"spec": {}})["spec"].get("holderIdentity"))
        with running_operator(cluster.kubeconfig, tracker.base_url, tmp_path / "b.log", *arguments, *ports) as second:
            lab.create("FinetuneJob", "one", wandb={"project": namespace})
            lab.await_condition("FinetuneJob", "one", "Complete")
            eventually(lambda: "finetune_leader 0.0" in fetch(f"http://127.0.0.1:{metrics}/metrics"))
            assert not [line for line in second.lines() if "/one" in line.get("resource", "")]
            first.stop(signal.SIGTERM)  # gives the Lease back
            eventually(lambda: cluster.find(lease)["spec"]["holderIdentity"] not in ("", holder), 20)
            lab.create("FinetuneJob", "two", wandb={"project": namespace}, promotion={})
            lab.await_condition("FinetuneJob", "two", "Complete")
            text = fetch(f"http://127.0.0.1:{metrics}/metrics")
            assert "finetune_leader 1.0" in text
            assert 'finetune_reconcile_total{kind="FinetuneJob",outcome="ok"}' in text
            assert 'finetune_tracker_requests_total{operation="Viewer",outcome="ok"}' in text
            assert 'finetune_promotions_total{kind="FinetuneJob",state="Promoted"} 1.0' in text
            assert "finetune_queue_depth" in text
            assert "reconciling" in fetch(f"http://127.0.0.1:{liveness}/healthz")
            assert second.stop(signal.SIGTERM) == 0
    assert tracker.api_key not in (tmp_path / "a.log").read_text() + (tmp_path / "b.log").read_text()
