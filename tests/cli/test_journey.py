"""The whole way with the real operator: write, check, submit, watch, train with the best, approve, replace, go back."""

from __future__ import annotations

import json

import pytest
import yaml
from finetune_sandbox.testing import eventually, start
from finetune_tracker.testing import running_tracker

from tests.cli.conftest import install_definitions, runner
from tests.operator.support.process import IMAGE, IMAGES, Lab, running_operator, uri


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journey")
    with (
        start(folder / "sandbox", "--nodes", "1", "--gpus", "4", images=IMAGES) as cluster,
        running_tracker(folder / "tracker") as tracker,
    ):
        install_definitions(cluster)
        eventually(lambda: cluster.find("/api/v1/namespaces/default/serviceaccounts/default"))
        with running_operator(cluster.kubeconfig, tracker.base_url, folder / "operator.log"):
            lab = Lab(cluster, "default", tracker)
            lab.secret()
            yield lab


@pytest.fixture
def finetune(lab):
    return runner(lab.cluster, "default")


def test_from_init_to_a_model_in_service_and_back(lab, finetune, tmp_path):
    sweep, final = str(tmp_path / "sweep.yaml"), str(tmp_path / "final.yaml")
    common = ("--image", IMAGE, "--gpus", "1", "-y", "--base-url", lab.tracker.base_url)
    finetune("init", "sweep", "--name", "errors", "--dataset", uri(seconds=0.2), "--trials", "3", *common, "-O", sweep)
    assert "no fault found" in finetune("doctor", "-f", sweep).output
    result = finetune("submit", "-f", sweep, "--watch", "--timeout", "60")
    assert "3 of 3 ended" in result.output
    assert "Complete" in result.output
    best = json.loads(finetune("best", "errors", "-o", "json").stdout)
    assert best["value"] < best["baseline"] == 0.4

    data = ("--dataset", uri(wer=0.2, suites="2/2"))
    finetune("init", "job", "--name", "first", "--sweep", "errors", *data, *common, "-O", final)
    finetune("submit", "-f", final, "--watch", "--timeout", "60")
    text = finetune("watch", "first", "--once").output
    assert "WER         20.0% (baseline 40.0%" in text
    assert "AwaitingApproval" in text
    assert "Promoted v0" in finetune("approve", "first", "--as", "kim").output
    assert "replaced no earlier version" in finetune("rollback", "first", code=6).stderr
    assert "history" in finetune("best", "first", "-o", "yaml").output

    second = yaml.safe_load((tmp_path / "final.yaml").read_text())
    second["metadata"]["name"] = "second"
    del second["spec"]["promotion"]
    second["spec"]["trainer"]["dataset"]["uri"] = uri(wer=0.1, suites="2/2")
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(second))
    finetune("submit", "-f", str(tmp_path / "second.yaml"), "--watch", "--timeout", "60")
    missed = finetune("promote", "second", "--model", "stt", "--min-improvement", "0.99", code=6)
    assert "MISSED  minImprovement" in missed.output
    assert "Promoted v1" in finetune("promote", "second", "--min-improvement", "0.1").output
    assert "RolledBack v0" in finetune("rollback", "second", "--as", "kim").output
    assert "no fault found" in finetune("doctor", "second").output
    assert lab.tracker.api_key not in finetune("watch", "second", "-o", "yaml").output


def test_what_stalls_is_told_with_its_fix(lab, finetune, tmp_path):
    file = tmp_path / "stuck.yaml"
    file.write_text(
        yaml.safe_dump(lab.manifest("FinetuneJob", "stuck", wandb={"apiKeySecretRef": {"name": "nowhere"}}))
    )
    finetune("submit", "-f", str(file))
    lab.await_reason("FinetuneJob", "stuck", "SecretMissing")
    assert "SecretMissing" in finetune("watch", "stuck", "--once").output
    output = finetune("doctor", "stuck", code=1).output
    assert "create secret generic nowhere --from-literal=api-key=" in output
    assert "FAULT   resource: finetunejob/stuck waits: SecretMissing" in output
