"""What a pod must not be able to do: write outside its volumes, read the sandbox's data, reach other processes."""

import os
import sys
from pathlib import Path

import pytest
from finetune_sandbox.testing import PYTHON, SHELL, eventually


def run(cluster, namespace, script, image=SHELL, name="pod", seconds=20, **options):
    """Runs a script to its end; returns exit code and output."""
    pod_options = options.pop("pod", {})
    container = {"name": "main", "image": image, "args": ["-c", script], **options}
    spec = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 0, **pod_options}
    path = f"/api/v1/namespaces/{namespace}/pods"
    cluster.api("POST", path, {"metadata": {"name": name}, "spec": spec})
    ended = eventually(
        lambda: cluster.api("GET", f"{path}/{name}")["status"]["containerStatuses"][0]["state"]["terminated"], seconds
    )
    return ended["exitCode"], cluster.api("GET", f"{path}/{name}/log")


def test_what_a_pod_writes_outside_its_volumes_never_reaches_the_machine(sandbox, namespace, tmp_path):
    target = Path(f"/tmp/escaped-{namespace}")
    script = f"echo x > {target}; cat {target}; echo x > $HOME/note; cat $HOME/note"
    script += f"; touch /var/tmp/{namespace} /dev/shm/{namespace}"
    code, output = run(sandbox, namespace, script)
    assert (code, output) == (0, "x\nx\n"), "it has a throw-away /tmp, home and /dev/shm"
    assert not target.exists()
    assert not Path(f"/var/tmp/{namespace}").exists()
    assert not Path(f"/dev/shm/{namespace}").exists()
    assert run(sandbox, namespace, f"cat {target}", name="second")[0] == 1, "nor the next pod"


def test_a_pod_cannot_read_keys_kubeconfig_or_other_pods_files(sandbox, namespace):
    script = f"ls -A {sandbox.data}; cat {sandbox.kubeconfig}; cat {sandbox.data}/pki/*"
    script += f"; find {sandbox.data.parent} -type f -exec cat {{}} +; true"
    _, output = run(sandbox, namespace, script)
    kept = "PRIVATE KEY", "token", "certificate-authority-data"
    assert not [word for word in kept if word in output], output


def test_a_pod_has_no_privileges(sandbox, namespace):
    script = """
    grep -E '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs)' /proc/self/status
    mount -t tmpfs none /mnt 2>/dev/null && echo mounted
    mknod /tmp/disk b 254 0 2>/dev/null && echo device
    chroot / true 2>/dev/null && echo chrooted
    echo 1 > /proc/sys/kernel/sysrq 2>/dev/null && echo sysctl
    true
    """
    code, output = run(sandbox, namespace, script)
    fields = {line.split(":")[0]: line.split()[1:] for line in output.splitlines()}
    assert code == 0
    assert fields["Uid"] == ["65532"] * 4
    assert fields["Gid"] == ["65532"] * 4
    assert int(fields["CapEff"][0], 16) == int(fields["CapBnd"][0], 16) == 0
    assert fields["NoNewPrivs"] == ["1"]
    assert not {"mounted", "device", "chrooted", "sysctl"} & set(output.split())


def test_a_pod_sees_no_other_process(sandbox, namespace):
    code, output = run(
        sandbox, namespace, f"ls -d /proc/[0-9]*; kill -0 {os.getpid()} 2>/dev/null && echo reached; true"
    )
    assert code == 0
    assert "reached" not in output
    assert len(output.split()) <= 3


def test_root_is_refused(sandbox, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"containers": [{"name": "main", "image": SHELL}], "securityContext": {"runAsUser": 0}}
    sandbox.api("POST", path, {"metadata": {"name": "root"}, "spec": spec})
    state = eventually(lambda: sandbox.api("GET", f"{path}/root")["status"]["containerStatuses"][0]["state"]["waiting"])
    eventually(
        lambda: sandbox.api("GET", f"{path}/root")["status"]["containerStatuses"][0]["state"]["waiting"].get("message")
    )
    state = sandbox.api("GET", f"{path}/root")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert "runAsUser is 0" in state["message"]


def test_user_group_and_read_only_root(sandbox, namespace):
    context = {"runAsUser": 1234, "runAsGroup": 2345, "readOnlyRootFilesystem": True}
    volumes, mounts = [{"name": "tmp", "emptyDir": {}}], [{"name": "tmp", "mountPath": "/tmp"}]
    script = "id -u; id -g; id -G; touch /tmp/x && echo volume; touch /var/tmp/x 2>/dev/null || echo read-only"
    script += "; echo m > /dev/termination-log"
    code, output = run(
        sandbox,
        namespace,
        script,
        securityContext=context,
        volumeMounts=mounts,
        pod={"volumes": volumes, "securityContext": {"fsGroup": 777}},
    )
    assert (code, output.split()) == (0, ["1234", "2345", "2345", "777", "volume", "read-only"])


SHARED_MEMORY = """
from multiprocessing import Queue, shared_memory
Queue()
block = shared_memory.SharedMemory(create=True, size=64)
block.close()
block.unlink()
"""
UNIX_SOCKET = """
import socket
server, client = (socket.socket(socket.AF_UNIX) for _ in range(2))
server.bind("/tmp/socket")
server.listen()
client.connect("/tmp/socket")
"""


@pytest.mark.parametrize("script", [SHARED_MEMORY, UNIX_SOCKET])
def test_shared_memory_and_unix_sockets_work(sandbox, namespace, script):
    code, output = run(sandbox, namespace, script, image=PYTHON)
    assert code == 0, output


def test_no_mounts_are_left_on_the_machine(sandbox, namespace):
    run(sandbox, namespace, "true")
    assert str(sandbox.data) not in Path("/proc/self/mountinfo").read_text()


NESTED = """
import os, pathlib
from finetune_sandbox.testing import SHELL, eventually, start

assert os.getuid() != 0
with start(pathlib.Path("/tmp/nested")) as cluster:
    steal = f"cat {cluster.kubeconfig} {cluster.data}/pki/*"
    script = f"echo x > /volume/x; touch /tmp/y; {steal}; echo bye > /dev/termination-log"
    mounts = [{"name": "v", "mountPath": "/volume"}]
    container = {"name": "main", "image": SHELL, "args": ["-c", script], "volumeMounts": mounts}
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]}
    pods = "/api/v1/namespaces/default/pods"
    cluster.api("POST", pods, {"metadata": {"name": "one"}, "spec": spec})
    state = lambda: cluster.api("GET", f"{pods}/one")["status"]["containerStatuses"][0]["state"]
    ended = eventually(lambda: state()["terminated"])
    assert ended["message"] == "bye\\n", ended
    assert "PRIVATE KEY" not in cluster.api("GET", f"{pods}/one/log")
    assert not pathlib.Path("/tmp/y").exists()
"""


@pytest.mark.slow
def test_a_sandbox_works_for_an_ordinary_user_even_inside_a_pod(sandbox, namespace):
    code, output = run(sandbox, namespace, NESTED, image=PYTHON, seconds=60)
    assert code == 0, output


def test_a_volume_that_covers_the_environment_takes_no_program_away(sandbox, namespace):
    above = str(Path(sys.prefix).parent)  # as an emptyDir at /tmp is above an environment that lies there
    spec = {"volumes": [{"name": "scratch", "emptyDir": {}}], "securityContext": {"fsGroup": 65532}}
    script = f"import yaml, finetune_sandbox; open('{above}/own', 'w').close(); import os; print(os.listdir('{above}'))"
    mounts = [{"name": "scratch", "mountPath": above}]
    code, output = run(sandbox, namespace, script, PYTHON, volumeMounts=mounts, pod=spec)
    assert code == 0, output
    assert "own" in output
    assert "pyproject.toml" not in output
