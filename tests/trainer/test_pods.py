"""The real trainer as pods of FinetuneJobs that kubectl applies: both families, adapters, several pods and processes.

One cluster, one tracker, one operator; all trainings are applied together, but for the one that starts from another's
result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from finetune_sandbox.testing import eventually, start
from finetune_tracker.testing import running_tracker

from tests.operator.support.process import Lab, holds, running_operator
from tests.wandb_client import wandb_client

from .material import write_manifest

pytestmark = pytest.mark.slow

IMAGE = "registry.test/trainer:1"
PROJECT = "pods"
TRAINER = {
    "command": [sys.executable, "-m", "finetune_trainer"],
    "env": {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
}
CRDS = Path(__file__).parents[2] / "manifests" / "crds"
LEARNT = {
    "seq2seq": {"learning_rate": 1e-2, "batch_size": 16, "epochs": 12},
    "ctc": {"learning_rate": 2e-2, "batch_size": 8, "epochs": 20, "freeze_feature_encoder": False},
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "checkpoints"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}


@dataclass
class Site:
    """A namespace of a cluster in which the operator works, and what pods mount from this machine."""

    lab: Lab
    mounts: dict[str, Path]

    def apply(self, name: str, hyperparameters: dict[str, Any], **trainer: Any) -> None:
        """Applies a FinetuneJob with kubectl, as a user does."""
        job = {
            "apiVersion": "finetune.dev/v1alpha1",
            "kind": "FinetuneJob",
            "metadata": {"name": name},
            "spec": {
                "wandb": {"project": PROJECT},
                "hyperparameters": hyperparameters,
                "trainer": {"image": IMAGE, "dataset": {"uri": "/tones"}, "podTemplate": self._volumes(), **trainer},
                "retry": {"limit": 0},
            },
        }
        self.lab.cluster.apply(job, namespace=self.lab.namespace)

    def _volumes(self) -> dict[str, Any]:
        mounts = [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in self.mounts]
        volumes = [{"name": name, "hostPath": {"path": str(path)}} for name, path in self.mounts.items()]
        return {"spec": {"containers": [{"name": "trainer", "volumeMounts": mounts}], "volumes": volumes}}

    def finished(self, name: str) -> dict[str, Any]:
        """The status of a FinetuneJob once it is over; it must have succeeded."""
        status = self.lab.await_status(
            "FinetuneJob", name, lambda now: holds(now, "Complete") or holds(now, "Failed"), seconds=240
        )
        assert holds(status, "Complete"), f"{json.dumps(status, indent=1)}\n{self.logs(name)}"
        return status

    def logs(self, name: str) -> str:
        """What all pods of a FinetuneJob have written."""
        assert self.lab.cluster.data
        folders = sorted((self.lab.cluster.data / "pods").glob(f"{self.lab.namespace}_{name}-*"))
        return "\n".join(
            (folder / "trainer.log").read_text() for folder in folders if (folder / "trainer.log").exists()
        )

    def run(self, status: dict[str, Any]) -> Any:
        """The W&B run of a status."""
        import wandb

        return wandb.Api(timeout=60).run(f"{self.lab.tracker.entity}/{PROJECT}/{status['run']['id']}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, bases: dict[str, Path], tones: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("pods")
    mounts = {"whisper": bases["seq2seq"], "ctc": bases["ctc"], "tones": tones.parent}
    for root in mounts.values():  # pods read them as another user
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    with (
        running_tracker(folder / "tracker") as tracker,
        start(folder / "sandbox", "--nodes", "1", "--gpus", "4", images={IMAGE: TRAINER}) as cluster,
    ):
        cluster.kubectl("apply", "--server-side", "--kustomize", str(CRDS))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        with running_operator(cluster.kubeconfig, tracker.base_url, folder / "operator.log"):
            cluster.kubectl("create", "namespace", "speech")
            eventually(lambda: cluster.find("/api/v1/namespaces/speech/serviceaccounts/default"))
            lab = Lab(cluster, "speech", tracker)
            lab.secret()
            cluster.apply(CLAIM, namespace="speech")
            yield Site(lab, mounts)


@pytest.fixture(autouse=True)
def client(site: Site, tmp_path: Path) -> Iterator[None]:
    """The SDK of this process, pointed at the tracker."""
    with wandb_client(site.lab.tracker, tmp_path / "client"):
        yield


def test_trainings_improve_the_word_error_rate_on_held_out_audio(site: Site, tmp_path: Path) -> None:
    same = [{"name": "same", "uri": "/tones", "maxDegradation": "0.0"}]
    site.apply("pair", LEARNT["seq2seq"], model={"name": "/whisper"}, nodes=2, regressionSuites=same)
    site.apply("ctc", LEARNT["ctc"], model={"name": "/ctc"})

    import wandb

    dataset = wandb.Artifact("shifted", type="dataset")
    dataset.add_dir(str(write_manifest(tmp_path / "shifted", 96, seed=5, shift=1.35).parent))
    with wandb.init(project=PROJECT, dir=tmp_path) as run:
        run.log_artifact(dataset).wait()

    pair = site.finished("pair")
    assert pair["metrics"]["wer"] < 0.35 < 0.9 < pair["metrics"]["baselineWer"]
    assert pair["regression"]["total"] == 1
    site.apply(
        "adapters", LEARNT["seq2seq"] | {"lora_rank": 8, "epochs": 10},
        model={"name": f"wandb-artifact://{pair['artifact']}"},
        dataset={"uri": f"wandb-artifact://{site.lab.tracker.entity}/{PROJECT}/shifted:latest"},
        resources={"gpus": 2},
    )  # fmt: skip
    run = site.run(pair)
    assert run.config["trainer"]["world_size"] == 2, "two pods"
    history = [row["eval/wer"] for row in run.scan_history(keys=["eval/wer"])]
    assert len(history) == LEARNT["seq2seq"]["epochs"]
    assert run.summary["eval/wer"] == min(history)
    assert pair["metrics"]["validationWer"] == pytest.approx(min(history), abs=1e-6)

    metrics = site.finished("ctc")["metrics"]
    assert metrics["wer"] < 0.35 < 0.9 < metrics["baselineWer"], site.logs("ctc")

    adapted = site.finished("adapters")
    assert adapted["metrics"]["wer"] < adapted["metrics"]["baselineWer"] - 0.05, site.logs("adapters")
    seen = site.run(adapted)
    assert seen.config["trainer"]["world_size"] == 2, "two processes of one pod"
    used = {artifact.type: artifact for artifact in seen.used_artifacts()}
    assert {kind: artifact.name for kind, artifact in used.items()} == {"model": "pair:v0", "dataset": "shifted:v0"}
    assert used["model"].logged_by().id == pair["run"]["id"]
