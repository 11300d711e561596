"""Starting and stopping a sandbox: readiness, and that nothing survives it, however it ends."""

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
from finetune_sandbox.testing import SHELL, Cluster, eventually, start

SLEEPERS = 'trap "" TERM; sleep 100000 & setsid sleep 100000 & echo up; wait'


def sleepers(marker: str) -> list[int]:
    """Processes of this machine with that text in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                environment = (process / "environ").read_bytes()
            except OSError:
                continue
            if marker.encode() in environment:
                found.append(int(process.name))
    return found


def run_sleepers(cluster: Cluster, marker: str) -> list[int]:
    container = {"name": "main", "image": SHELL, "args": ["-c", SLEEPERS], "env": [{"name": "MARK", "value": marker}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleepers"}, "spec": {"containers": [container]}}
    cluster.api("POST", "/api/v1/namespaces/default/pods", pod)
    return eventually(lambda: len(found := sleepers(marker)) >= 3 and found)


def test_ready_in_time_with_a_private_kubeconfig_and_a_default_service_account(tmp_path):
    began = time.monotonic()
    with start(tmp_path) as cluster:
        elapsed = time.monotonic() - began
        assert cluster.api("GET", "/api/v1/namespaces/default/serviceaccounts/default")["metadata"]["name"] == "default"
        assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert json.loads(cluster.kubeconfig.read_text())["kind"] == "Config"
        assert not list(tmp_path.glob(".kubeconfig*")), "the temporary file is gone"
    assert elapsed < 30, f"{elapsed:.1f} s"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_no_process_of_a_pod_survives_the_sandbox(tmp_path, number):
    marker = f"marker-{os.getpid()}-{number}"
    with start(tmp_path) as cluster:
        assert run_sleepers(cluster, marker)
        assert cluster.process
        cluster.process.send_signal(number)
        code = cluster.process.wait(15)
        eventually(lambda: not sleepers(marker), seconds=5)
    assert code == (-number if number == signal.SIGKILL else 0)


def test_a_malformed_images_file_names_entry_and_field(tmp_path):
    with (
        pytest.raises(AssertionError, match=r"broken:1\.command: must be a list of strings"),
        start(tmp_path, images={"broken:1": {"command": "sh"}}),
    ):
        pass


ETCD = """#!/bin/sh
exec sleep 1000
"""
KUBE_APISERVER = """#!{python}
import asyncio, pathlib, secrets, sys
flags = dict(flag[2:].partition("=")[::2] for flag in sys.argv[1:])
token = pathlib.Path(flags["token-auth-file"]).read_text().split(",")[0]
secrets.token_urlsafe = lambda length: token
from finetune_sandbox.apiserver import ApiServer

async def serve():
    server = ApiServer(pathlib.Path(flags["cert-dir"]), port=int(flags["secure-port"]))
    server.pki.cert_file = pathlib.Path(flags["tls-cert-file"])
    server.pki.key_file = pathlib.Path(flags["tls-private-key-file"])
    await server.start()
    await asyncio.Event().wait()

asyncio.run(serve())
"""


def test_the_controllers_serve_a_control_plane_in_processes_of_its_own(tmp_path):
    assets = tmp_path / "assets"
    assets.mkdir()
    for name, text in (("etcd", ETCD), ("kube-apiserver", KUBE_APISERVER.replace("{python}", sys.executable))):
        (assets / name).write_text(text)
        (assets / name).chmod(0o755)
    environment = {"KUBEBUILDER_ASSETS": str(assets)}
    with start(tmp_path / "run", "--control-plane", "envtest", environment=environment) as cluster:
        container = {"name": "main", "image": SHELL, "args": ["-c", "true"]}
        pod = {"metadata": {"name": "one"}, "spec": {"restartPolicy": "Never", "containers": [container]}}
        cluster.api("POST", "/api/v1/namespaces/default/pods", pod)
        eventually(lambda: cluster.find("/api/v1/namespaces/default/pods/one")["status"].get("phase") == "Succeeded")
        processes = sleepers(str(assets))
        cluster.process.kill()
        cluster.process.wait()
        eventually(lambda: not [pid for pid in processes if Path(f"/proc/{pid}").exists()])


def test_missing_control_plane_programs_are_named(tmp_path):
    environment = {"KUBEBUILDER_ASSETS": str(tmp_path)}
    with (
        pytest.raises(AssertionError, match="has no program etcd"),
        start(tmp_path / "run", "--control-plane", "envtest", environment=environment),
    ):
        pass
