"""The commands against a cluster. Where no operator runs, the tests write the status that it would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from finetune_cli.completion import candidates
from finetune_sandbox.testing import eventually

from tests.cli.conftest import report, runner
from tests.cli.support import BEST, METRICS, TRIALS, condition, ended, job, promotion, running, sweep

BIN = Path(sys.executable).parent


@pytest.fixture
def write(tmp_path):
    def write(*bodies):
        file = tmp_path / "resources.yaml"
        file.write_text(yaml.safe_dump_all(bodies))
        return str(file)

    return write


def test_submit_applies_and_says_so(finetune, definitions, namespace, write):
    result = finetune("submit", "-f", write(sweep(), job()))
    assert result.output.split("\n")[:2] == [
        "sweeprun.finetune.dev/errors applied",
        "finetunejob.finetune.dev/candidate applied",
    ]
    found = definitions.api("GET", f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/sweepruns/errors")
    assert found["spec"]["trials"] == 8
    finetune("submit", "-f", write(sweep(trials=9)))
    assert json.loads(finetune("submit", "-f", write(sweep(trials=9)), "-o", "json").stdout)["spec"]["trials"] == 9


def test_submit_reads_standard_input_and_may_only_check(finetune, definitions, namespace):
    result = finetune("submit", "-f", "-", "--dry-run", stdin=json.dumps(sweep()))
    assert "valid (dry run)" in result.output
    assert definitions.find(f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/sweepruns/errors") is None


def test_submit_applies_all_or_none(finetune, definitions, namespace, write):
    broken = job(hyperparameters={"learning_rate": 1e-5}, hyperparametersFrom={"sweepRunRef": {"name": "errors"}})
    result = finetune("submit", "-f", write(sweep(), broken), code=2)
    assert "exclude each other" in result.stderr
    assert definitions.find(f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/sweepruns/errors") is None


def test_submit_names_the_field_before_anything_is_sent(finetune, write):
    result = finetune("submit", "-f", write(sweep(trials="many")), code=2)
    assert "spec.trials" in result.stderr
    assert "kubectl explain" in result.stderr
    assert "no.yaml" in finetune("submit", "-f", "no.yaml", code=2).stderr


def test_submit_and_watch_until_the_end(finetune, definitions, namespace, write):
    def operate():
        eventually(lambda: definitions.find(f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/sweepruns/errors"))
        report(definitions, namespace, "SweepRun", "errors", running(trials=TRIALS))
        report(definitions, namespace, "SweepRun", "errors", ended(bestRun=BEST, trials=TRIALS | {"running": 0}))

    operator = threading.Thread(target=operate)
    operator.start()
    result = finetune("submit", "-f", write(sweep()), "--watch", "--timeout", "20")
    operator.join()
    assert "Complete" in result.output
    assert "eval/wer 0.12" in result.output


@pytest.mark.parametrize(("complete", "code"), [(True, 0), (False, 1)])
def test_watch_exits_as_the_resource_ended(finetune, put, complete, code):
    put(sweep(), ended(complete, reason="NoFinishedTrial", bestRun=BEST))
    assert "NoFinishedTrial" in finetune("watch", "errors", "-o", "json", code=code).output
    finetune("watch", "swr/errors", "--once", code=code)


def test_watch_gives_up_in_time(finetune, put):
    put(sweep(), running("Unschedulable", "no node"))
    result = finetune("watch", "errors", "--timeout", "0.2", code=124)
    assert "Unschedulable: no node" in result.output
    assert "lower spec.trainer.resources" in finetune("watch", "errors", "--once").output
    assert "still Unschedulable" in result.stderr


def test_names_that_fit_nothing_or_both_kinds(finetune, put, definitions, namespace):
    assert "no SweepRun or FinetuneJob 'nothing'" in finetune("watch", "nothing", code=3).stderr
    put(sweep("twin"))
    put(job("twin"))
    assert "sweeprun/twin or finetunejob/twin" in finetune("best", "twin", code=2).stderr
    assert "did you mean twin?" in finetune("watch", "twim", code=3).stderr
    elsewhere = runner(definitions, "default")("watch", "swr/twin", "--once", code=3).stderr
    assert f"there is one in namespace {namespace}: give -n {namespace}" in elsewhere


def test_best(finetune, put):
    put(sweep(), ended(bestRun=BEST))
    assert "learning_rate  3.2e-05" in finetune("best", "errors").output
    document = yaml.safe_load(finetune("best", "errors", "-o", "yaml").stdout)
    assert document["hyperparameters"] == {"learning_rate": 3.2e-5, "batch_size": 16}
    assert document["test"]["pValue"] == 0.001
    put(job(), ended(metrics=METRICS, artifact="team/stt/candidate:v0"))
    assert "WER" in finetune("best", "ftj/candidate").output
    put(sweep("new"), running())
    assert "no result yet" in finetune("best", "new", code=3).stderr


def answering(cluster, namespace, name, key, status):
    """An operator that answers one annotation."""

    def operate():
        where = f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/finetunejobs/{name}"
        eventually(lambda: key in (cluster.api("GET", where)["metadata"].get("annotations") or {}))
        report(cluster, namespace, "FinetuneJob", name, status)

    thread = threading.Thread(target=operate)
    thread.start()
    return thread


def test_approve_waits_for_the_operators_answer(finetune, put, definitions, namespace):
    put(job(promotion={"approval": "Manual"}), ended(metrics=METRICS, promotion=promotion("AwaitingApproval")))
    done = promotion("Promoted", version="v4", approvedBy="kim")
    operator = answering(definitions, namespace, "candidate", "finetune.dev/approved-by", {"promotion": done})
    result = finetune("approve", "candidate", "--as", "kim")
    operator.join()
    assert "Promoted v4" in result.output
    assert "awaits no approval (promotion: Promoted)" in finetune("approve", "candidate", code=6).stderr


def test_rollback_asks_anew_each_time(finetune, put, definitions, namespace):
    put(job(promotion={}), ended(promotion=promotion("Promoted", version="v4", previous="v3")))
    back = promotion("RolledBack", version="v3", previous="v4")
    operator = answering(definitions, namespace, "candidate", "finetune.dev/rollback", {"promotion": back})
    result = finetune("rollback", "candidate", "--as", "kim")
    operator.join()
    assert "RolledBack v3" in result.output
    assert "asked" in finetune("rollback", "candidate", "--no-wait").output


def test_promote_writes_what_was_asked_for(finetune, put, definitions, namespace):
    put(job(), ended(metrics=METRICS))
    assert "asks for no promotion" in finetune("promote", "candidate", code=6).stderr
    finetune("promote", "candidate", "--model", "stt", "--alias", "production", "--no-wait")
    body = definitions.api("GET", f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/finetunejobs/candidate")
    assert body["spec"]["promotion"]["registry"]["aliases"] == ["production"]
    missed = {"observedGeneration": 2, "promotion": promotion("Rejected")}
    report(definitions, namespace, "FinetuneJob", "candidate", ended(metrics=METRICS) | missed)
    conditions = [condition("Complete", True, "Rejected", generation=2)]
    report(definitions, namespace, "FinetuneJob", "candidate", {"conditions": conditions})
    assert "was rejected" in finetune("promote", "candidate", code=6).stderr


def test_logs_of_pods_that_run_and_have_run(finetune, put, definitions, namespace):
    body = put(sweep(), running())
    assert "no pods" in finetune("logs", "errors", code=3).stderr
    for number in (1, 2):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"agent-{number}", "labels": {"finetune.dev/uid": body["metadata"]["uid"]}},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "trainer",
                        "image": "registry.test/shell:1",
                        "args": ["-c", f"echo one {number}; echo two {number}"],
                    }
                ],
            },
        }
        definitions.apply(pod, namespace=namespace)
    for number in (1, 2):
        where = f"/api/v1/namespaces/{namespace}/pods/agent-{number}"
        eventually(lambda where=where: definitions.api("GET", where)["status"]["phase"] == "Succeeded")
    assert finetune("logs", "errors").output.splitlines() == [
        "agent-1: one 1",
        "agent-1: two 1",
        "agent-2: one 2",
        "agent-2: two 2",
    ]
    assert finetune("logs", "errors", "--pod", "agent-2", "--tail", "1").output == "two 2\n"
    assert min(finetune("logs", "errors", "-f").output.splitlines()) == "agent-1: one 1"


def test_init_writes_what_submit_takes(finetune, tmp_path):
    sweep_file, job_file = str(tmp_path / "sweep.yaml"), str(tmp_path / "job.yaml")
    finetune("init", "sweep", "--dataset", "/data/manifest.jsonl", "-y", "-O", sweep_file)
    finetune("init", "job", "--name", "final", "--dataset", "/d.jsonl", "--sweep", "errors", "-y", "-O", job_file)
    finetune("submit", "-f", str(tmp_path), "--dry-run")
    assert "exists" in finetune("init", "sweep", "--dataset", "/d", "-O", sweep_file, code=2).stderr
    assert "--dataset is needed" in finetune("init", "sweep", "-y", code=2).stderr


def test_completion_knows_commands_and_resources(definitions, namespace, put, monkeypatch):
    put(sweep("first"))
    put(job("second"))
    monkeypatch.setenv("KUBECONFIG", str(definitions.kubeconfig))
    assert candidates(["wat"]) == ["watch"]
    where = ["--kubeconfig", str(definitions.kubeconfig), "-n", namespace]
    assert candidates(["watch", *where, "f"]) == ["first", "finetunejob/second"]
    assert candidates(["best", *where, "swee"]) == ["sweeprun/first"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(finetune, shell):
    assert "_FINETUNE_COMPLETE" in finetune("completion", shell).output


def test_it_is_a_kubectl_plugin(definitions, namespace, put):
    put(sweep(), ended(bestRun=BEST))
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "KUBECONFIG": str(definitions.kubeconfig)}
    command = ["kubectl", "finetune", "best", "errors", "-n", namespace, "-o", "json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["id"] == "abc123"


def test_a_cluster_that_is_not_there(tmp_path):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    run = subprocess.run(
        [BIN / "finetune", "best", "errors", "--kubeconfig", file], capture_output=True, text=True, check=False
    )
    assert run.returncode == 5
    assert "does not answer" in run.stderr
    run = subprocess.run(
        [BIN / "finetune", "doctor", "--kubeconfig", file], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "FAULT   cluster" in run.stdout
