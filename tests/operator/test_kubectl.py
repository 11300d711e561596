"""What a user of kubectl sees, with the real kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest
from finetune_sandbox.testing import eventually

from tests.operator.support.process import Lab

Kubectl = Callable[..., str]


def test_wait_get_describe(lab: Lab, kubectl: Kubectl):
    kubectl("apply", "-f", "-", stdin=json.dumps(lab.manifest("SweepRun", "seen", {"seconds": 0.3}, trials=3)))
    kubectl("wait", "--for=condition=Complete", "sweeprun/seen", "--timeout=60s")
    kubectl("wait", "--for=jsonpath={.status.trials.succeeded}=3", "swr/seen", "--timeout=5s")
    header, row = kubectl("get", "swr").splitlines()
    assert header.split() == ["NAME", "STATE", "BEST", "DONE", "TRIALS", "AGENTS", "GPU-HOURS", "AGE"]
    assert row.split()[:2] == ["seen", "Complete"]
    wide = kubectl("get", "swr", "-o", "wide")
    assert "URL" in wide
    assert "MODEL" in wide
    assert "seen" in kubectl("get", "finetune")
    described = kubectl("describe", "swr", "seen")
    assert "Events:" in described
    assert "Complete" in described
    kubectl("apply", "-f", "-", stdin=json.dumps(lab.manifest("FinetuneJob", "seen", {"wer": 0.2})))
    kubectl("wait", "--for=condition=Complete", "ftj/seen", "--timeout=60s")
    assert kubectl("get", "ftj", "seen").splitlines()[1].split()[:4] == ["seen", "Trained", "0.2", "0.4"]


def test_explain_reads_like_documentation(kubectl: Kubectl):
    text = kubectl("explain", "sweeprun.spec", "--recursive")
    for field in ("parallelism", "earlyTerminate", "podTemplate", "gpuHours", "apiKeySecretRef"):
        assert field in text
    assert "kubectl scale" in kubectl("explain", "sweeprun.spec.parallelism")
    assert "hyperband" in kubectl("explain", "swr.spec.preset")
    assert "why is it not running" in kubectl("explain", "ftj.status.conditions")


@pytest.mark.provokes("Trained")
def test_watch_sees_reconciling_first(lab: Lab):
    """A resource without conditions counts as done for kstatus: the first write must already say Reconciling."""
    command = [
        "kubectl",
        "--kubeconfig",
        str(lab.cluster.kubeconfig),
        "-n",
        lab.namespace,
        "get",
        "ftj",
        "-w",
        "-o",
        "json",
    ]
    env = {"HOME": str(lab.cluster.home), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        time.sleep(0.5)  # kubectl lists before it watches; either order is fine
        lab.create("FinetuneJob", "watched", {"seconds": 0.2})
        lab.await_condition("FinetuneJob", "watched", "Complete")
        seen = eventually(lambda: lab.status("FinetuneJob", "watched"))
        assert seen
    finally:
        watching.terminate()
        output = watching.communicate(timeout=10)[0]
    decoder, states = json.JSONDecoder(), []
    while output.strip():
        body, end = decoder.raw_decode(output.lstrip())
        output = output.lstrip()[end:]
        if body["kind"] == "FinetuneJob":
            states.append({c["type"]: c["status"] for c in body.get("status", {}).get("conditions", ())})
    written = [state for state in states if state]
    assert written[0]["Reconciling"] == "True"
    assert written[0]["Ready"] == "False"
    assert written[-1]["Ready"] == "True"


def test_scale_subresource(lab: Lab, kubectl: Kubectl):
    lab.create("SweepRun", "scaled", suspend=True)
    kubectl("scale", "sweeprun/scaled", "--replicas=7")
    assert lab.get("SweepRun", "scaled")["spec"]["parallelism"] == 7
    lab.await_status("SweepRun", "scaled", lambda s: s.get("selector"))
    scale = json.loads(kubectl("get", "--raw", f"{lab.path('SweepRun', 'scaled')}/scale"))
    assert scale["status"]["selector"].startswith("finetune.dev/uid=")


def test_no_annotations_of_the_framework_on_our_resources(lab: Lab):
    lab.create("FinetuneJob", "clean")
    lab.await_condition("FinetuneJob", "clean", "Complete")
    metadata = lab.get("FinetuneJob", "clean")["metadata"]
    assert not metadata.get("annotations")
    assert not metadata.get("finalizers")
