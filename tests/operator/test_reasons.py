"""Reasons that no other test provokes, each by its real cause."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.operator.support.process import Lab, ready


def test_no_agent_may_run(lab: Lab):
    lab.create("SweepRun", "x", parallelism=0, trials=1)
    lab.await_reason("SweepRun", "x", "ScaledToZero")
    lab.cluster.kubectl("-n", lab.namespace, "scale", "sweeprun/x", "--replicas=1")
    lab.await_condition("SweepRun", "x", "Complete")


def test_a_search_whose_trials_all_fail_and_a_training_that_waits_for_it(lab: Lab):
    lab.create("SweepRun", "x", {"fail": 1}, trials=2)
    status = lab.await_condition("SweepRun", "x", "Failed")
    assert ready(status)["reason"] == "NoFinishedTrial"
    lab.create("FinetuneJob", "y", hyperparametersFrom={"sweepRunRef": {"name": "x"}})
    lab.await_reason("FinetuneJob", "y", "SweepRunFailed")


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


def test_a_tracker_that_asks_for_a_pause(lab: Lab):
    with throttling() as url:
        lab.create("SweepRun", "x", trials=1, wandb={"project": lab.namespace, "baseURL": url})
        status = lab.await_reason("SweepRun", "x", "TrackerThrottled")
        assert "asks for a pause" in ready(status)["message"]
        assert status.get("sweep", {}).get("id") is None
        lab.delete("SweepRun", "x")
