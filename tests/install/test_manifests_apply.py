"""Every overlay, applied with kubectl, comes up and finishes a search; every example reaches its end."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml
from finetune_sandbox.testing import Cluster, eventually, start
from finetune_tracker.testing import TrackerProcess, running_tracker

from tests.install.site import IMAGES, Site, free_port
from tests.install.support import MANIFESTS, Json, load_all, of_kind
from tests.install.test_kustomize import kustomize

pytestmark = pytest.mark.slow

NAMESPACE = "finetune-system"
EXAMPLES = sorted((MANIFESTS / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackerProcess]:
    """The W&B server of the site."""
    with running_tracker(tmp_path_factory.mktemp("tracker")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start(tmp_path_factory.mktemp("manifests"), "--nodes=2", "--gpus=16", images=IMAGES) as cluster:
        cluster.kubectl("label", "nodes", "--all", "node.example.com/capacity=spot")
        yield cluster


def on_free_ports(documents: list[Json]) -> str:
    """The documents as text; pods of a sandbox share one network, so every port becomes a free one."""
    ports = {port: str(free_port()) for port in ("8080", "8081", "9090")}
    text = "---\n".join(yaml.safe_dump(document) for document in documents)
    return re.sub(r"\b(8080|8081|9090)\b", lambda found: ports[found[1]], text)


def apply(cluster: Cluster, documents: list[Json]) -> None:
    cluster.kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin="---\n".join(map(yaml.safe_dump, documents)))


def secret(cluster: Cluster, name: str, key: str) -> None:
    cluster.kubectl("-n", NAMESPACE, "delete", "secret", name, "--ignore-not-found")
    cluster.kubectl("-n", NAMESPACE, "create", "secret", "generic", name, f"--from-literal=api-key={key}")


@pytest.fixture(scope="module", params=["namespaced", "cluster-wide", "air-gapped"])
def overlay(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """An overlay, applied, and deleted afterwards."""
    documents = kustomize(MANIFESTS / "overlays" / request.param)
    text = on_free_ports(documents)
    cluster.kubectl("create", "namespace", NAMESPACE)
    secret(cluster, "finetune-tracker", "k" * 40)
    apply = ["apply", "--server-side", "-f", "-"]
    cluster.kubectl(*apply, stdin="---\n".join(map(yaml.safe_dump, of_kind(documents, "CustomResourceDefinition"))))
    cluster.kubectl(*apply, stdin=text)
    for kind in ("Deployment", "StatefulSet"):
        for document in of_kind(documents, kind):
            name = f"{kind}/{document['metadata']['name']}"
            cluster.kubectl("-n", NAMESPACE, "rollout", "status", name, "--timeout=180s", timeout=200)
    yield request.param
    for plural in ("sweepruns", "finetunejobs"):
        cluster.kubectl("-n", NAMESPACE, "delete", plural, "--all", timeout=180)
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=text, timeout=120)
    eventually(lambda: cluster.find(f"/api/v1/namespaces/{NAMESPACE}") is None, seconds=60)


def test_a_search_ends(overlay, cluster, tracker):
    site = Site(cluster, namespace=NAMESPACE)
    if overlay == "air-gapped":  # the overlay's own tracker, the operator's default
        wandb: Json = {"apiKeySecretRef": {"name": "finetune-tracker"}}
    else:
        secret(cluster, "wandb", tracker.api_key)
        wandb = {"baseURL": tracker.base_url}
    if overlay == "cluster-wide":
        site.create("SweepRun", "search", "seconds=0.1", wandb=wandb)
        status = site.await_reason("SweepRun", "search", "SecretMissing")
        assert "may not be read" in str(status)
        account = f"--serviceaccount={NAMESPACE}:finetune-operator"
        role = "finetune-operator-secret-reader"
        cluster.kubectl("-n", NAMESPACE, "create", "rolebinding", role, f"--clusterrole={role}", account)
    else:
        site.create("SweepRun", "search", "seconds=0.1", wandb=wandb)
    assert site.await_condition("SweepRun", "search", "Complete")["trials"]["succeeded"] == 3


def small(document: Json, tracker: TrackerProcess) -> Json:
    """An example at the scale of a test: a trainer that follows a script, few trials, this site's tracker and names."""
    if document["kind"] not in ("SweepRun", "FinetuneJob"):
        return document
    spec = document["spec"]
    spec["trainer"]["dataset"]["uri"] = "script:?seconds=0.1&wer=0.2"
    resources = spec["trainer"].get("resources", {})
    resources.update({key: value for key, value in {"cpu": "10m", "memory": "64Mi"}.items() if key in resources})
    spec["wandb"] = {**spec.get("wandb", {}), "baseURL": tracker.base_url}
    spec["wandb"].pop("entity", None)
    if document["kind"] == "SweepRun":
        spec |= {"trials": 4 if spec.get("stages") else 2, "parallelism": 2}
    for stage in spec.get("stages", ()):
        stage["trials"] = 2
    return document


def surroundings(cluster: Cluster, tracker: TrackerProcess) -> None:
    """What the examples say that they need."""
    for name in ("wandb", "finetune-tracker", "speech-bucket", "registry"):
        secret(cluster, name, tracker.api_key)
    claim: Json = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    room = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    claims = [{**claim, "metadata": {"name": name}, "spec": room} for name in ("models", "error-cases", "checkpoints")]
    apply(cluster, claims)
    cluster.kubectl("create", "priorityclass", "batch", "--value=1")


def test_every_example_reaches_its_end(overlay, cluster, tracker):
    if overlay != "namespaced":
        return
    site = Site(cluster, namespace=NAMESPACE)
    surroundings(cluster, tracker)
    documents = [small(document, tracker) for path in EXAMPLES for document in load_all(path.read_text())]
    apply(cluster, documents)
    for document in of_kind(documents, "SweepRun", "FinetuneJob"):
        kind, name = document["kind"], document["metadata"]["name"]
        status = site.await_condition(kind, name, "Complete", seconds=90)
        if "promotion" in document["spec"]:
            assert status["promotion"]["state"] in ("AwaitingApproval", "Rejected"), name
