"""Many short Jobs leave nothing behind: no process, no open file, no directory."""

import os
from pathlib import Path

import pytest
from finetune_sandbox.testing import SHELL, eventually, start

JOBS = 25
PATH = "/apis/batch/v1/namespaces/default/jobs"


def descendants(pid):
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def run_jobs(cluster, batch):
    container = {"name": "main", "image": SHELL, "args": ["-c", "true"]}
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    for number in range(JOBS):
        cluster.api("POST", PATH, {"metadata": {"name": f"j{batch}-{number}"}, "spec": spec})
    eventually(lambda: sum("completionTime" in job["status"] for job in cluster.api("GET", PATH)["items"]) == JOBS, 60)
    cluster.api("DELETE", PATH, {"propagationPolicy": "Background"})
    eventually(lambda: not cluster.api("GET", "/api/v1/namespaces/default/pods")["items"], 60)


@pytest.mark.slow
def test_jobs_leave_nothing_behind(tmp_path):
    with start(tmp_path) as cluster:
        pid = cluster.process.pid
        run_jobs(cluster, 0)
        assert len(eventually(lambda: len(found := descendants(pid)) == 1 and found)) == 1, "the shim alone"
        files = len(os.listdir(f"/proc/{pid}/fd"))
        shim = len(os.listdir(f"/proc/{descendants(pid)[0]}/fd"))
        run_jobs(cluster, 1)
        eventually(lambda: len(descendants(pid)) == 1)
        assert len(os.listdir(f"/proc/{descendants(pid)[0]}/fd")) == shim
        assert len(os.listdir(f"/proc/{pid}/fd")) <= files + 10, "but for idle connections"
        eventually(lambda: not [*(cluster.data / "pods").iterdir(), *(cluster.data / "kubelet" / "pods").iterdir()])
