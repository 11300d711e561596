"""The chart in a cluster with RBAC enforced: install, use, upgrade, uninstall. One release, told in order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from finetune_sandbox.testing import Cluster, eventually, start
from helm_python.chart import Chart

from tests.install.site import API, IMAGES, VERSION, Site, holds, values
from tests.install.support import CHART, Json
from tests.trainer.material import make_ctc, write_manifest

pytestmark = pytest.mark.slow

PATIENCE = {"name": "FINETUNE_TRACKER_PATIENCE", "value": "1"}
IMPATIENT = {"podTemplate": {"spec": {"containers": [{"name": "trainer", "env": [PATIENCE]}]}}}
"""Trainers that do not wait long for a tracker that has been uninstalled."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start(tmp_path_factory.mktemp("install"), "--nodes=1", "--gpus=16", images=IMAGES) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def chosen() -> Json:
    """Values of the release."""
    return values(secretAccess={"names": ["wandb"]})


@pytest.fixture(scope="module")
def site(cluster: Cluster, chosen: Json, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The chart's previous version, installed."""
    previous = tmp_path_factory.mktemp("previous") / "finetune-operator"
    shutil.copytree(CHART, previous)
    metadata = yaml.safe_load((previous / "Chart.yaml").read_text())
    (previous / "Chart.yaml").write_text(yaml.safe_dump({**metadata, "version": "0.0.9"}))
    site = Site(cluster)
    site.install(chosen, previous)
    return site


@pytest.fixture(scope="module")
def material() -> Iterator[Json]:
    """spec.trainer of the real trainer on a few tones, in a folder that every user may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(folder / "data", rows=48)
        write_manifest(folder / "suite", rows=16, seed=1)
        make_ctc(folder / "model")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        mount = {"name": "material", "mountPath": "/material", "readOnly": True}
        volume = {"name": "material", "hostPath": {"path": name, "type": "Directory"}}
        pod = {"containers": [{"name": "trainer", "volumeMounts": [mount]}], "volumes": [volume]}
        yield {
            "image": f"finetune-real-trainer:{VERSION}",
            "model": {"name": "/material/model"},
            "dataset": {"uri": "/material/data/manifest.jsonl", "minErrorCases": 20},
            "regressionSuites": [{"name": "tones", "uri": "/material/suite/manifest.jsonl"}],
            "resources": {"gpus": 1, "cpu": "1"},
            "podTemplate": {"spec": pod},
        }


def labels(body: Json) -> dict[str, str]:
    found: dict[str, str] = body["metadata"].get("labels", {})
    return found


def leader(site: Site) -> str:
    lease = site.get(f"/apis/coordination.k8s.io/v1/namespaces/{site.namespace}/leases/{site.name}")
    return str(lease["spec"]["holderIdentity"]).rpartition("_")[0]


def operator_pods(site: Site) -> list[str]:
    pods = site.items("/api/v1", "pods")
    return [
        pod["metadata"]["name"]
        for pod in pods
        if labels(pod).get("app.kubernetes.io/component") == "operator" and "deletionTimestamp" not in pod["metadata"]
    ]


def test_it_installs_and_tests_itself(site):
    assert eventually(lambda: leader(site)) in operator_pods(site)
    answer = site.helm().test(site.release, logs=False, timeout=180)
    assert answer["release"]["status"] == "deployed"


def test_from_error_cases_to_a_model_in_service(site, material):
    """The whole story with the trainer itself: data prepared, sweep, best run, training, gates, approval, promotion."""
    key = site.use_the_tracker()
    search = {"learning_rate": {"values": [0.001, 0.003]}, "batch_size": {"value": 8}, "max_steps": {"value": 30}}
    site.create("SweepRun", "errors", method="grid", parameters=search, trials=2, parallelism=1, trainer=material)
    gates = {"minImprovement": "0", "significance": "1", "minRegressionPassRate": "0", "maxErrorTypeDegradation": "1"}
    promotion = {"approval": "Manual", "registry": {"model": "stt"}, "gates": gates}
    source = {"sweepRunRef": {"name": "errors"}}
    site.create("FinetuneJob", "best", hyperparametersFrom=source, promotion=promotion, trainer=material)
    swept = site.await_condition("SweepRun", "errors", "Complete", seconds=150)
    site.await_status("FinetuneJob", "best", lambda s: s["promotion"]["state"] == "AwaitingApproval", seconds=100)
    site.annotate("FinetuneJob", "best", "finetune.dev/approved-by", "ada")
    trained = site.await_condition("FinetuneJob", "best", "Promoted")
    assert swept["trials"]["succeeded"] == 2
    assert trained["hyperparameters"] == swept["bestRun"]["hyperparameters"]
    assert trained["metrics"]["wer"] is not None
    assert trained["regression"]["total"] == 1
    assert {gate["name"] for gate in trained["promotion"]["gates"]} == gates.keys()
    assert trained["promotion"]["approvedBy"] == "ada"
    pods = site.items("/api/v1", "pods")
    assert all(key not in str(pod) for pod in pods)


def test_an_upgrade_with_a_running_search_loses_nothing(site, chosen):
    key = site.use_the_tracker()
    site.create("SweepRun", "long", "seconds=1", trials=8, parallelism=2)
    before = site.await_status("SweepRun", "long", lambda status: status.get("trials", {}).get("succeeded", 0) >= 1)
    jobs = {job["metadata"]["uid"] for job in site.items("/apis/batch/v1", "jobs")}
    (old,) = operator_pods(site)
    changed = {**chosen, "podAnnotations": {"restarted": "true"}}
    release = site.helm().upgrade(Chart.load(CHART), site.release, values=changed, wait="watcher", timeout=180)
    assert (release["revision"], release["chart_version"]) == (2, "0.1.0")
    eventually(lambda: operator_pods(site) != [old] and leader(site) in operator_pods(site), seconds=40)
    after = site.await_condition("SweepRun", "long", "Complete")
    assert after["sweep"]["id"] == before["sweep"]["id"]
    assert after["trials"]["succeeded"] == after["trials"]["total"] == 8
    assert {job["metadata"]["uid"] for job in site.items("/apis/batch/v1", "jobs")} == jobs
    assert site.use_the_tracker() == key, "the generated key survives"


def test_what_is_finished_stays_finished(site):
    """A sync that applies everything again, and the loss of all children, start nothing."""
    jobs = {job["metadata"]["name"] for job in site.items("/apis/batch/v1", "jobs")}
    for name in jobs:
        site.cluster.kubectl("-n", site.namespace, "delete", "job", name)
    site.annotate("SweepRun", "errors", "argocd.argoproj.io/tracking-id", "speech-models")
    generation = site.get(site.path("SweepRun", "errors"))["metadata"]["generation"]
    assert generation == 1
    site.create("FinetuneJob", "later", "seconds=0.1", hyperparameters={"learning_rate": 1e-4})
    site.await_condition("FinetuneJob", "later", "Complete")  # the operator was at work all the while
    left = {job["metadata"]["name"] for job in site.items("/apis/batch/v1", "jobs")}
    assert not left & jobs
    assert holds(site.status("SweepRun", "errors"), "Complete")


def test_uninstalling_leaves_nothing_hanging(site, cluster):
    site.create("SweepRun", "unfinished", "seconds=60", trainer=IMPATIENT)
    site.await_reason("SweepRun", "unfinished", "Running")
    assert site.get(site.path("SweepRun", "unfinished"))["metadata"]["finalizers"]
    site.helm().uninstall(site.release, wait="watcher", timeout=180)
    left = site.get(f"{API}/sweepruns")["items"]
    assert {item["metadata"]["name"] for item in left} == {"errors", "long", "unfinished"}
    assert all("finalizers" not in item["metadata"] for item in left)
    assert holds(site.status("SweepRun", "errors"), "Complete")
    for group, plural in (("/apis/batch/v1", "jobs"), ("/api/v1", "serviceaccounts"), ("/api/v1", "configmaps")):
        names = {item["metadata"]["name"] for item in site.items(group, plural)}
        assert not {name for name in names if name.startswith(site.name)}, plural
    pods = [pod["metadata"] for pod in site.items("/api/v1", "pods")]
    assert not [pod["name"] for pod in pods if pod["name"].startswith(site.name) and "deletionTimestamp" not in pod]
    site.delete("SweepRun", "unfinished")
    eventually(lambda: cluster.find(site.path("SweepRun", "unfinished")) is None, seconds=10)


def test_cluster_wide_over_crds_that_were_kept(cluster):
    other = Site(cluster, namespace="platform")
    chosen = values(scope={"mode": "Cluster"}, secretAccess={"namespaces": ["speech"]}, crds={"enabled": False})
    other.install(chosen)
    other.helm().test(other.release, timeout=180)
    other.helm().uninstall(other.release, wait="watcher", timeout=180)


def test_without_a_trace(site, cluster):
    """Uninstalled with `crds.keep: false`, the operator ends its sweeps first, then everything goes."""
    site.install(values(crds={"keep": False}, cleanup={"timeoutSeconds": 20}))
    key = site.use_the_tracker()
    site.create("SweepRun", "doomed", "seconds=60", trainer=IMPATIENT)
    status = site.await_reason("SweepRun", "doomed", "Running")
    assert key not in str(status)
    site.helm().uninstall(site.release, wait="watcher", timeout=180)
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    eventually(lambda: not cluster.api("GET", definitions)["items"])
    eventually(lambda: not [job for job in site.items("/apis/batch/v1", "jobs") if "finetune.dev/uid" in labels(job)])
    cluster.api("DELETE", f"/api/v1/namespaces/{site.namespace}")
    eventually(lambda: cluster.find(f"/api/v1/namespaces/{site.namespace}") is None, seconds=40)
