"""Many short Jobs on one sandbox: how fast, how much memory, and what is left behind.

`python -m tests.sandbox.load --jobs 1000 --out build/sandbox-load.json` measures; `test_load.py` does with fewer.
"""

import argparse
import http.client
import json
import os
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from finetune_sandbox.testing import SHELL, Cluster, eventually, start

JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
JOB = {
    "template": {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": SHELL, "args": ["-c", "true"]}]}
    }
}


@dataclass
class Left:
    """What there is of things that must not pile up."""

    processes: int
    files: int
    shim_files: int
    folders: int


@dataclass
class Figures:
    """What was measured; memory is resident, of the sandbox's process, in MB."""

    jobs: int
    ready_seconds: float
    requests_per_second: float
    jobs_seconds: float
    cpu_seconds: float
    fresh_mb: float
    loaded_mb: float
    peak_mb: float
    emptied_mb: float
    before: Left
    after: Left


class Connection:
    """One connection that is kept open, for requests one after the other."""

    def __init__(self, cluster: Cluster) -> None:
        server = urlsplit(cluster.access.url)
        self._http = http.client.HTTPSConnection(server.hostname, server.port, context=cluster.access.tls, timeout=60)
        self._headers = {"Authorization": f"Bearer {cluster.access.token}", "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body=None, media: str = "application/json"):
        headers = {**self._headers, "Content-Type": media}
        self._http.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._http.getresponse()
        found = json.loads(answer.read())
        assert answer.status < 400, found
        return found

    def close(self) -> None:
        self._http.close()


def memory(pid: int, field: str = "VmRSS") -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def left(cluster: Cluster) -> Left:
    pid = cluster.process.pid
    (shim,) = eventually(lambda: len(found := descendants(pid)) == 1 and found, 60)
    folders = [*(cluster.data / "pods").iterdir(), *(cluster.data / "kubelet" / "pods").iterdir()]
    return Left(1, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{shim}/fd")), len(folders))


def requests_per_second(cluster: Cluster, seconds: float) -> float:
    """Writes, patches and reads of ConfigMaps by two clients; the sandbox has one core to itself, they the others."""
    pid, cores = cluster.process.pid, sorted(os.sched_getaffinity(0))
    threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    for thread in threads:
        os.sched_setaffinity(thread, cores[:1])
    counts, deadline = [0, 0], time.monotonic() + seconds

    def client(number: int) -> None:
        os.sched_setaffinity(0, cores[1:] or cores)
        with closing(Connection(cluster)) as request:
            while time.monotonic() < deadline:
                name = f"load-{number}-{counts[number]}"
                request("POST", CONFIG_MAPS, {"metadata": {"name": name}, "data": {"key": "x" * 200}})
                path = f"{CONFIG_MAPS}/{name}"
                request("PATCH", path, {"data": {"key": "y"}}, "application/merge-patch+json")
                request("GET", path)
                request("DELETE", path)
                counts[number] += 4

    clients = [threading.Thread(target=client, args=(number,)) for number in range(2)]
    began = time.monotonic()
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    rate = sum(counts) / (time.monotonic() - began)
    for thread in threads:
        os.sched_setaffinity(thread, cores)
    return rate


def run_jobs(request: Connection, jobs: int, prefix: str, limit: float) -> None:
    """Creates Jobs as fast as they are accepted, and waits for the last to be complete."""
    for number in range(jobs):
        request("POST", JOBS, {"metadata": {"name": f"{prefix}-{number}"}, "spec": JOB})

    def complete() -> bool:
        return all("completionTime" in job.get("status", {}) for job in request("GET", JOBS)["items"])

    eventually(complete, limit, interval=2.0)


def delete_jobs(request: Connection, limit: float) -> None:
    request("DELETE", JOBS, {"propagationPolicy": "Background"})
    eventually(lambda: not request("GET", f"{PODS}?limit=1")["items"], limit, interval=0.5)


def measure(folder: Path, jobs: int, seconds: float = 5.0, limit: float = 900.0) -> Figures:
    """Starts a sandbox, measures its requests, runs one Job to warm it up, then the Jobs, and removes them."""
    began = time.monotonic()
    with start(folder) as cluster, closing(Connection(cluster)) as request:
        ready, pid = time.monotonic() - began, cluster.process.pid
        fresh = memory(pid)
        rate = requests_per_second(cluster, seconds)
        run_jobs(request, 5, "warm", 60)
        delete_jobs(request, 60)
        before, cpu, began = left(cluster), cpu_seconds(pid), time.monotonic()
        run_jobs(request, jobs, "job", limit)
        took, used, loaded = time.monotonic() - began, cpu_seconds(pid) - cpu, memory(pid)
        delete_jobs(request, limit)
        after = left(cluster)
        return Figures(
            jobs, ready, rate, took, used, fresh, loaded, memory(pid, "VmHWM"), memory(pid), before, after
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(asdict(measure(Path(folder), args.jobs)), indent=2)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
