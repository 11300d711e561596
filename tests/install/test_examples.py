"""The pods that the examples lead to: valid for every Kubernetes version, and within Pod Security `restricted`."""

from __future__ import annotations

import pytest
from finetune_operator import jobs, trial
from finetune_operator.api import FinetuneJob, SweepRun
from finetune_operator.trial import Identity, TrackerAddress

from tests.install.support import (
    KUBERNETES,
    MANIFESTS,
    Json,
    load_all,
    of_kind,
    pod_specs,
    schema_errors,
    security_errors,
)

DOCUMENTS = {
    f"{path.stem}-{document['metadata']['name']}": document
    for path in sorted((MANIFESTS / "examples").glob("*.yaml"))
    for document in of_kind(load_all(path.read_text()), "SweepRun", "FinetuneJob")
}
SITUATIONS = {
    "minimal",
    "whisper-one-gpu",
    "staged-search",
    "continuous",
    "kueue",
    "spot-nodes",
    "multi-node",
    "air-gapped",
    "promotion",
}


def job(document: Json) -> Json:
    """The child Job of an example, as the operator builds it."""
    kind = document["kind"]
    resource = (SweepRun if kind == "SweepRun" else FinetuneJob).model_validate(document)
    owner = Identity(kind, "speech", document["metadata"]["name"], "uid", 1)
    tracker = TrackerAddress("https://wandb.internal", "stt-finetuning", None)
    request = jobs.JobRequest(
        owner=owner,
        name="job-1",
        document=trial.agent_document(resource.spec, owner, tracker, "sweep", 1)
        if isinstance(resource, SweepRun)
        else trial.train_document(resource.spec, owner, tracker, {}, 1),
        mode="agent" if kind == "SweepRun" else "train",
        round=1,
        stage=0,
        attempt=1,
        parallelism=resource.spec.trainer.nodes,
        trainer=resource.spec.trainer,
        image=resource.spec.trainer.image or "finetune-trainer",
        tracker=tracker,
        api_key=resource.spec.wandb.api_key_secret_ref,
    )
    return jobs.job(request)


def test_there_is_one_for_each_situation():
    assert {path.stem for path in (MANIFESTS / "examples").glob("*.yaml")} >= SITUATIONS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_pods_are_valid_and_restricted(name):
    built = job(DOCUMENTS[name])
    for version in KUBERNETES:
        assert schema_errors([built], version) == []
    ((_, spec),) = pod_specs([built])
    assert security_errors(spec) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_other_objects_are_valid(name):
    path = next(path for path in (MANIFESTS / "examples").glob("*.yaml") if name.startswith(path.stem))
    for version in KUBERNETES:
        assert schema_errors(load_all(path.read_text()), version) == []


def test_examples_say_what_they_promise():
    assert job(DOCUMENTS["kueue-queued"])["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    spot = job(DOCUMENTS["spot-nodes-spot"])["spec"]["template"]["spec"]
    assert any(volume["name"] == "checkpoints" for volume in spot["volumes"])
    assert spot["tolerations"]
    large = job(DOCUMENTS["multi-node-whisper-large"])["spec"]
    assert (large["completionMode"], large["completions"], large["parallelism"]) == ("Indexed", 2, 2)
    closed = job(DOCUMENTS["air-gapped-closed"])["spec"]["template"]["spec"]
    assert closed["containers"][0]["image"].startswith("registry.internal/")
