"""Reasons that no other test provokes, each by its real cause."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from finetune_operator import names

from tests.operator.support.process import SCRIPT, Lab, OperatorProcess, eventually, holds, ready


@pytest.mark.provokes("ScaledToZero", "Accepted", "Starting", "Complete")
def test_no_agent_may_run(lab: Lab):
    lab.create("SweepRun", "x", parallelism=0, trials=1)
    lab.await_reason("SweepRun", "x", "ScaledToZero")
    lab.cluster.kubectl("-n", lab.namespace, "scale", "sweeprun/x", "--replicas=1")
    lab.await_condition("SweepRun", "x", "Complete")


@pytest.mark.provokes("NoFinishedTrial", "SweepRunFailed")
def test_a_search_whose_trials_all_fail_and_a_training_that_waits_for_it(lab: Lab):
    lab.create("SweepRun", "x", {"fail": 1}, trials=2)
    status = lab.await_condition("SweepRun", "x", "Failed")
    assert ready(status)["reason"] == "NoFinishedTrial"
    lab.create("FinetuneJob", "y", hyperparametersFrom={"sweepRunRef": {"name": "x"}})
    lab.await_reason("FinetuneJob", "y", "SweepRunFailed")


@pytest.mark.provokes("ContainerCreateFailed")
def test_a_container_that_cannot_be_created(lab: Lab):
    missing = {"name": "HF_HOME", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "home"}}}
    template = {"spec": {"containers": [{"name": "trainer", "env": [missing]}]}}
    lab.create("FinetuneJob", "x", trainer={"podTemplate": template})
    status = lab.await_reason("FinetuneJob", "x", "ContainerCreateFailed", 15)
    assert 'configmap "none" not found' in ready(status)["message"]


@contextlib.contextmanager
def throttling() -> Iterator[str]:
    """A W&B server that asks everybody to come again later; yields its base URL."""

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.provokes("TrackerThrottled")
def test_a_tracker_that_asks_for_a_pause(lab: Lab):
    with throttling() as url:
        lab.create("SweepRun", "x", trials=1, wandb={"project": lab.namespace, "baseURL": url})
        status = lab.await_reason("SweepRun", "x", "TrackerThrottled")
        assert "asks for a pause" in ready(status)["message"]
        assert status.get("sweep", {}).get("id") is None
        lab.delete("SweepRun", "x")


@pytest.mark.slow
@pytest.mark.provokes("AgentsExited", "Diverged", "BadData", "ResultLost", "AdaptationFailed")
def test_ends_without_a_result(lab: Lab):
    """All at once, as each is mostly waiting for processes to start."""
    continuous = {"newErrorCases": 100, "trials": 2}
    lab.create("SweepRun", "kept", {"exit": 2, "round": 2}, trials=1, continuous=continuous)
    lab.create("SweepRun", "idle", {"exit": 0}, trials=2)
    lab.create("FinetuneJob", "nan", {"exit": 1, "class": "Diverged"})
    lab.create("FinetuneJob", "bare", {"exit": 2, "class": "BadData"})
    lab.create("FinetuneJob", "mute", {"exit": 0, "after": -1})  # it tells neither its pod's status nor the tracker
    status = lab.await_condition("SweepRun", "kept", "Complete")
    before = status["bestRun"]
    for cases in ("1000", "1100"):
        lab.annotate("SweepRun", "kept", names.ERROR_CASES_ANNOTATION, cases)
        lab.await_status("SweepRun", "kept", lambda s, n=int(cases): s["continuous"].get("errorCases") == n)
    for name, reason in (("nan", "Diverged"), ("bare", "BadData"), ("mute", "ResultLost")):
        status = lab.await_condition("FinetuneJob", name, "Failed")
        assert (ready(status)["reason"], status["attempts"]) == (reason, 1)
    status = lab.await_condition("SweepRun", "idle", "Failed")
    assert (ready(status)["reason"], status["attempts"]) == ("AgentsExited", 3)
    status = lab.await_reason("SweepRun", "kept", "AdaptationFailed")
    assert "BadConfig" in ready(status)["message"]
    assert holds(status, "Complete")
    assert status["bestRun"] == before


JOBS = "/apis/batch/v1/namespaces"
MERGE = "application/merge-patch+json"


def running_pod(lab: Lab, owner: str, number: int) -> str:
    """Name of a pod of a resource, the oldest first, once it runs."""

    def found() -> str:
        mine = [p for p in lab.pods("Running") if p["metadata"]["labels"][names.NAME_LABEL] == owner]
        return str(sorted(mine, key=lambda p: p["status"]["startTime"])[number]["metadata"]["name"])

    return eventually(found)


def awaits_a_leaving_job(lab: Lab) -> None:
    """An edit makes a new round; the Job of the old one stays for as long as somebody's finalizer holds it."""
    job = f"{JOBS}/{lab.namespace}/jobs/edited-t1-1"
    lab.await_reason("FinetuneJob", "edited", "Running")
    lab.cluster.api("PATCH", job, {"metadata": {"finalizers": ["test/hold"]}}, content_type=MERGE)
    lab.patch("FinetuneJob", "edited", {"spec": {"trainer": {"dataset": {"uri": "script:?seconds=0.1"}}}})
    lab.await_reason("FinetuneJob", "edited", "Replacing")
    lab.cluster.api("PATCH", job, {"metadata": {"finalizers": None}}, content_type=MERGE)


def loses_its_last_agent(lab: Lab) -> None:
    """One agent leaves of its own accord after a trial, so that none replaces the second, whose node shuts down."""
    lab.await_status("SweepRun", "evicted", lambda s: s.get("trials", {}).get("running") == 1)
    lab.patch("SweepRun", "evicted", {"spec": {"parallelism": 2}})
    second = running_pod(lab, "evicted", 1)
    eventually(lambda: any(p["metadata"]["labels"][names.NAME_LABEL] == "evicted" for p in lab.pods("Succeeded")))
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            trainer = str(SCRIPT).encode() in (process / "cmdline").read_bytes()
            if trainer and f"HOSTNAME={second}\0".encode() in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.provokes("Replacing", "Finishing", "StageEnding", "StageStarting", "Preempted", "NameTaken")
def test_what_passes(lab: Lab):
    """States that mostly last for milliseconds, held for long enough to be seen; the `provokes` mark checks them."""
    stages = [{"name": name, "method": "random", "trials": 1} for name in ("first", "second")]
    foreign = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "taken-t1-1"}}
    idle = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.test/idle:1"}]}
    lab.cluster.apply({**foreign, "spec": {"suspend": True, "template": {"spec": idle}}}, namespace=lab.namespace)
    lab.create("SweepRun", "staged", {"linger": 3}, trials=None, stages=stages)
    lab.create("SweepRun", "evicted", {"exit": 0, "after": 1, "attempt": 1, "seconds": 4}, trials=2, parallelism=1)
    lab.create("FinetuneJob", "edited", {"seconds": 60})
    lab.create("FinetuneJob", "late", {"seconds": 3})
    lab.create("FinetuneJob", "taken")
    lab.await_reason("FinetuneJob", "late", "Running")
    slow = {"method": "PUT", "path": f"/{lab.namespace}/jobs/late-t1-1/status", "delay": 8, "count": 1}
    lab.cluster.api("PUT", "/debug/faults", [slow])
    try:
        loses_its_last_agent(lab)
        awaits_a_leaving_job(lab)
        lab.await_reason("FinetuneJob", "taken", "NameTaken")
        lab.cluster.api("DELETE", f"{JOBS}/{lab.namespace}/jobs/taken-t1-1", {"propagationPolicy": "Background"})
        for name in ("late", "edited", "taken"):
            lab.await_condition("FinetuneJob", name, "Complete")
        for name in ("staged", "evicted"):
            lab.await_condition("SweepRun", name, "Complete")
    finally:
        lab.cluster.api("PUT", "/debug/faults", [])


@pytest.mark.provokes("PodCreationFailed")
def test_a_job_that_the_api_server_refuses(lab: Lab):
    mount = {"name": "trainer", "volumeMounts": [{"name": "none", "mountPath": "/none"}]}
    lab.create("FinetuneJob", "x", trainer={"podTemplate": {"spec": {"containers": [mount]}}})
    status = lab.await_reason("FinetuneJob", "x", "PodCreationFailed", 15)
    assert "volumeMounts" in ready(status)["message"]
    lab.patch("FinetuneJob", "x", {"spec": {"trainer": {"podTemplate": None}}})
    lab.await_condition("FinetuneJob", "x", "Complete")


@pytest.mark.provokes("Suspended", "Resuming")
def test_a_suspension_that_is_lifted_while_the_operator_is_away(lab: Lab, operator: OperatorProcess):
    lab.create("SweepRun", "x", {"seconds": 0.1}, trials=20)
    lab.await_status("SweepRun", "x", lambda s: s.get("trials", {}).get("succeeded", 0) >= 1)
    lab.patch("SweepRun", "x", {"spec": {"suspend": True, "trials": 4}})
    lab.await_status("SweepRun", "x", lambda s: holds(s, "Suspended") and s["activeAgents"] == 0)
    operator.kill()
    try:
        lab.patch("SweepRun", "x", {"spec": {"suspend": False}})
    finally:
        operator.start()
    lab.await_condition("SweepRun", "x", "Complete")
