"""`finetune doctor` finds planted faults, each with its fix."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from finetune_sandbox.testing import eventually, start
from finetune_tracker.testing import running_tracker

from tests.cli.conftest import CRDS, install_definitions, putter, runner
from tests.cli.support import job, running, sweep

GPU = {"resources": {"gpus": 1}}


@dataclass
class Site:
    """A cluster of its own, as definitions and nodes are not a namespace's."""

    cluster: Any
    tracker: Any
    finetune: Callable[..., Any]
    put: Callable[..., Any]

    def spec(self, **trainer: Any) -> dict[str, Any]:
        return {"wandb": {"baseURL": self.tracker.base_url}, "trainer": trainer}

    def secret(self, key: str | None = None, name: str = "api-key") -> None:
        data = {name: base64.b64encode((key or self.tracker.api_key).encode()).decode()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wandb"}, "data": data}
        self.drop("/api/v1/namespaces/default/secrets/wandb")
        self.cluster.api("POST", "/api/v1/namespaces/default/secrets", secret)

    def drop(self, path: str) -> None:
        if self.cluster.find(path) is not None:
            self.cluster.api("DELETE", path, {"gracePeriodSeconds": 0})

    def faults(self, *arguments: str) -> dict[str, tuple[str, str]]:
        result = self.finetune("doctor", *arguments, "-o", "json", code=None)
        found = {f["check"]: (f["message"], f["fix"]) for f in json.loads(result.stdout) if f["level"] == "fault"}
        assert result.exit_code == (1 if found else 0)
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    with (
        start(folder / "sandbox", "--nodes", "1", "--gpus", "2") as cluster,
        running_tracker(folder / "tracker") as tracker,
    ):
        install_definitions(cluster)
        eventually(lambda: cluster.find("/api/v1/namespaces/default/serviceaccounts/default"))
        site = Site(cluster, tracker, runner(cluster, "default"), putter(cluster, "default"))
        yield site


@pytest.fixture(autouse=True)
def _healthy(site):
    """Before each test a Secret that works, and none of the earlier test's resources."""
    for kind in ("finetunejobs", "sweepruns"):
        site.cluster.api("DELETE", f"/apis/finetune.dev/v1alpha1/namespaces/default/{kind}")
    site.drop("/api/v1/namespaces/default/resourcequotas/team")
    site.secret()


def test_a_sound_site_has_no_fault(site):
    site.put(sweep(**site.spec(**GPU)))
    assert site.faults("errors") == {}
    assert "no fault found" in site.finetune("doctor", "errors").output


def test_missing_secret(site):
    site.put(job(**site.spec()))
    site.drop("/api/v1/namespaces/default/secrets/wandb")
    message, fix = site.faults("candidate")["secret"]
    assert "does not exist" in message
    assert "kubectl -n default create secret generic wandb --from-literal=api-key=" in fix


def test_secret_without_the_key(site):
    site.put(job(**site.spec()))
    site.drop("/api/v1/namespaces/default/secrets/wandb")
    site.secret(name="token")
    message, fix = site.faults("candidate")["secret"]
    assert "lacks the key api-key; it has token" in message
    assert "apiKeySecretRef" in fix


def test_key_with_a_line_feed(site):
    site.put(job(**site.spec()))
    site.secret(site.tracker.api_key + "\n")
    message, _ = site.faults("candidate")["secret"]
    assert "white space" in message
    assert site.tracker.api_key not in site.finetune("doctor", "candidate", code=None).output


def test_key_that_the_tracker_refuses(site):
    site.put(job(**site.spec()))
    site.secret("x" * 40)
    message, fix = site.faults("candidate")["tracker"]
    assert "refused the API key" in message
    assert "create a key" in fix


def test_tracker_that_does_not_answer(site):
    site.put(job(wandb={"baseURL": "http://127.0.0.1:1"}))
    message, fix = site.faults("candidate")["tracker"]
    assert "does not answer" in message
    assert "wandb.baseURL" in fix


def test_more_gpus_than_any_node_has(site):
    site.put(job(**site.spec(resources={"gpus": 8})))
    message, fix = site.faults("candidate")["gpus"]
    assert "asks for 8 nvidia.com/gpu, the largest node has 2" in message
    assert "spec.trainer.resources.gpus to 2" in fix


def test_a_resource_that_no_node_offers(site):
    site.put(job(**site.spec(resources={"gpus": 1, "gpuResource": "amd.com/gpu"})))
    message, fix = site.faults("candidate")["gpus"]
    assert "no node offers amd.com/gpu" in message
    assert "device plugin" in fix


def test_tainted_gpu_nodes(site):
    site.put(job(**site.spec(**GPU)))
    site.cluster.kubectl("taint", "node", "sandbox-0", "nvidia.com/gpu=present:NoSchedule")
    try:
        message, fix = site.faults("candidate")["gpus"]
    finally:
        site.cluster.kubectl("taint", "node", "sandbox-0", "nvidia.com/gpu-")
    assert "taint nvidia.com/gpu=present:NoSchedule" in message
    assert "spec.trainer.podTemplate.spec.tolerations" in fix


def test_quota_that_is_used_up(site):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "team"},
        "spec": {"hard": {"requests.nvidia.com/gpu": "0"}},
    }
    site.cluster.apply(quota)
    site.put(job(**site.spec(**GPU)))
    message, fix = site.faults("candidate")["quota"]
    assert "team: requests.nvidia.com/gpu 0 of 0 used" in message
    assert "quota raised" in fix


def test_missing_volume_queue_and_sweep(site):
    spec = site.spec(checkpoints={"claimName": "checkpoints"}, queueName="gpu-queue")
    site.put(job(hyperparametersFrom={"sweepRunRef": {"name": "nowhere"}}, **spec))
    found = site.faults("candidate")
    assert "PersistentVolumeClaim checkpoints does not exist" in found["volumes"][0]
    assert "LocalQueue gpu-queue does not exist" in found["queue"][0]
    assert "SweepRun nowhere does not exist" in found["hyperparameters"][0]
    assert "create the LocalQueue" in found["queue"][1]


def test_image_that_cannot_be_pulled(site):
    body = site.put(job(**site.spec(image="registry.test/nothing:9")))
    labels = {"finetune.dev/uid": body["metadata"]["uid"]}
    container = {"name": "trainer", "image": "registry.test/nothing:9"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "train", "labels": labels},
        "spec": {"containers": [container]},
    }
    site.cluster.apply(pod)
    eventually(lambda: "image" in site.faults("candidate"))
    message, fix = site.faults("candidate")["image"]
    assert "pod train cannot pull registry.test/nothing:9" in message
    assert "spec.trainer.image" in fix
    site.cluster.kubectl("delete", "pod", "train", "--force", "--grace-period=0")


def test_dataset_that_a_pod_cannot_read(site, tmp_path):
    site.put(job(**site.spec(image="registry.test/python:3", dataset={"uri": str(tmp_path / "nothing.jsonl")})))
    message, fix = site.faults("candidate", "--probe")["dataset"]
    assert "nothing.jsonl" in message
    assert "JSONL or Parquet" in fix
    assert site.cluster.api("GET", "/api/v1/namespaces/default/pods")["items"] == []


def test_an_operator_that_is_paused_or_absent(site):
    site.put(job(**site.spec()))
    labels = {"app.kubernetes.io/part-of": "finetune-operator", "app.kubernetes.io/component": "operator"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "operator", "image": "registry.test/shell:1"}]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "finetune", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }
    site.cluster.apply(deployment)
    try:
        message, fix = site.faults("candidate")["operator"]
    finally:
        site.cluster.kubectl("delete", "deployment", "finetune")
    assert "is paused: it has 0 replicas" in message
    assert "`replicas` back to 1" in fix


def test_what_the_operator_waits_for(site):
    site.put(job(**site.spec()), running("PodCreationFailed", "violates PodSecurity"))
    message, fix = site.faults("candidate")["resource"]
    assert "PodCreationFailed: violates PodSecurity" in message
    assert "podTemplate" in fix


def test_missing_and_outdated_definitions(site):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sweepruns.finetune.dev"
    crd = site.cluster.api("GET", path)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    rules = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rules.pop("x-kubernetes-validations", None)
    del spec["stages"], spec["budget"]
    site.cluster.api("PATCH", path, {"spec": crd["spec"]}, content_type="application/merge-patch+json")
    message, fix = site.faults()["definitions"]
    assert "outdated: it lacks spec.budget, spec.stages" in message
    assert "helm upgrade" in fix
    site.cluster.kubectl("delete", "crd", "sweepruns.finetune.dev")
    message, fix = site.faults()["definitions"]
    assert "sweepruns.finetune.dev is not installed" in message
    assert "helm install" in fix
    site.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(CRDS))
