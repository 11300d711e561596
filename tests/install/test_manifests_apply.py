"""Every overlay, applied with kubectl, comes up and finishes a search; every example reaches its end.

Each overlay has a cluster of its own, so that all of them come up, and go, at the same time.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from finetune_sandbox.testing import Cluster, eventually, start
from finetune_tracker.testing import TrackerProcess, running_tracker

from tests.install.site import IMAGES, Site, free_port
from tests.install.support import MANIFESTS, Json, load_all, of_kind
from tests.install.test_kustomize import kustomize

pytestmark = pytest.mark.slow

NAMESPACE = "finetune-system"
OVERLAYS = ("namespaced", "cluster-wide", "air-gapped")
EXAMPLES = sorted((MANIFESTS / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackerProcess]:
    """The W&B server of the site."""
    with running_tracker(tmp_path_factory.mktemp("tracker")) as server:
        yield server


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


@dataclass(frozen=True)
class Applied:
    """An overlay in its cluster, with a search under way.

    Attributes:
        text: What was applied.
    """

    overlay: str
    site: Site
    text: str

    @classmethod
    def to(cls, cluster: Cluster, overlay: str, tracker: TrackerProcess) -> Applied:
        """Applies an overlay, waits for its pods and starts the search."""
        documents = kustomize(MANIFESTS / "overlays" / overlay)
        text = on_free_ports(documents)
        cluster.kubectl("label", "nodes", "--all", "node.example.com/capacity=spot")
        cluster.kubectl("create", "namespace", NAMESPACE)
        secret(cluster, "finetune-tracker", "k" * 40)
        apply = ["apply", "--server-side", "-f", "-"]
        definitions = of_kind(documents, "CustomResourceDefinition")
        cluster.kubectl(*apply, stdin="---\n".join(map(yaml.safe_dump, definitions)))
        cluster.kubectl(*apply, stdin=text)
        for document in of_kind(documents, "Deployment", "StatefulSet"):
            name = f"{document['kind']}/{document['metadata']['name']}"
            cluster.kubectl("-n", NAMESPACE, "rollout", "status", name, "--timeout=180s", timeout=200)
        if overlay == "air-gapped":  # the overlay's own tracker, the operator's default
            wandb: Json = {"apiKeySecretRef": {"name": "finetune-tracker"}}
        else:
            secret(cluster, "wandb", tracker.api_key)
            wandb = {"baseURL": tracker.base_url}
        site = Site(cluster, namespace=NAMESPACE)
        site.create("SweepRun", "search", "seconds=0.1", wandb=wandb)
        return cls(overlay, site, text)

    def remove(self) -> None:
        """Deletes the resources, then what was applied; nothing may hang."""
        kubectl = self.site.cluster.kubectl
        kubectl("-n", NAMESPACE, "delete", "sweepruns,finetunejobs", "--all", timeout=180)
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=self.text, timeout=120)
        eventually(lambda: self.site.cluster.find(f"/api/v1/namespaces/{NAMESPACE}") is None, seconds=60)


def at_once(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Does the same for all items, each in a thread."""
    with ThreadPoolExecutor(len(OVERLAYS)) as pool:
        return list(pool.map(work, items))


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, tracker: TrackerProcess) -> Iterator[dict[str, Applied]]:
    """Every overlay."""
    with contextlib.ExitStack() as stack:
        clusters = {
            name: stack.enter_context(start(tmp_path_factory.mktemp(name), "--nodes=2", "--gpus=16", images=IMAGES))
            for name in OVERLAYS
        }
        found = at_once(lambda item: Applied.to(item[1], item[0], tracker), clusters.items())
        yield {one.overlay: one for one in found}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_search_ends(applied, overlay):
    site = applied[overlay].site
    if overlay == "cluster-wide":
        status = site.await_reason("SweepRun", "search", "SecretMissing")
        assert "may not be read" in str(status)
        account = f"--serviceaccount={NAMESPACE}:finetune-operator"
        role = "finetune-operator-secret-reader"
        site.cluster.kubectl("-n", NAMESPACE, "create", "rolebinding", role, f"--clusterrole={role}", account)
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


def test_every_example_reaches_its_end(applied, tracker):
    site = applied["namespaced"].site
    surroundings(site.cluster, tracker)
    documents = [small(document, tracker) for path in EXAMPLES for document in load_all(path.read_text())]
    apply(site.cluster, documents)
    for document in of_kind(documents, "SweepRun", "FinetuneJob"):
        kind, name = document["kind"], document["metadata"]["name"]
        status = site.await_condition(kind, name, "Complete", seconds=90)
        if "promotion" in document["spec"]:
            assert status["promotion"]["state"] in ("AwaitingApproval", "Rejected"), name


def test_deleting_it_leaves_nothing(applied):
    at_once(Applied.remove, applied.values())
