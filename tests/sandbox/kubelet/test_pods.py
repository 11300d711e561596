"""Pods on the kubelet, each a real process in a real sandbox: what it sees, how it ends, what is reported."""

import base64
import time

import pytest
from finetune_sandbox.testing import PYTHON, SHELL, RequestFailedError, eventually


@pytest.fixture
def pods(sandbox, cluster, namespace):
    """Runs pods in the test's namespace."""
    return Pods(sandbox, namespace)


class Pods:
    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace
        self.path = f"/api/v1/namespaces/{namespace}"

    def create(self, kind, obj):
        return self.cluster.api("POST", f"{self.path}/{kind}", obj)

    def start(self, *args, name="pod", image=SHELL, pod=None, **container):
        main = {"name": "main", "image": image, "args": list(args), **container}
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main], **(pod or {})}
        return self.create("pods", {"metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec})

    def get(self, name="pod"):
        return self.cluster.api("GET", f"{self.path}/pods/{name}")

    def state(self, name="pod"):
        return self.get(name)["status"]["containerStatuses"][0]["state"]

    def ended(self, name="pod", seconds=20.0):
        """Waits for the end; returns the terminated state."""
        eventually(lambda: self.get(name)["status"]["phase"] in ("Succeeded", "Failed"), seconds)
        return self.state(name)["terminated"]

    def running(self, name="pod"):
        eventually(lambda: self.get(name)["status"].get("phase") == "Running")

    def log(self, name="pod"):
        return self.cluster.api("GET", f"{self.path}/pods/{name}/log")

    def shell(self, script, **options):
        """Runs a shell script to its end; returns its output."""
        self.start("-c", script, **options)
        assert self.ended()["exitCode"] == 0, self.log()
        return self.log()

    def events(self, reason):
        items = self.cluster.api("GET", f"{self.path}/events")["items"]
        return [event["message"] for event in items if event["reason"] == reason]


def test_success_is_reported_with_times_reason_message_and_conditions(pods):
    pods.start("-c", "echo result > /dev/termination-log; echo output; echo trouble >&2")
    ended = pods.ended()
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", "result\n")
    assert ended["startedAt"] <= ended["finishedAt"]
    assert pods.log() == "output\ntrouble\n"
    pod = pods.get()
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    assert (pod["status"]["phase"], ready["status"], ready["reason"]) == ("Succeeded", "False", "PodCompleted")
    assert pod["spec"]["nodeName"] == "sandbox-0"


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("kill -KILL $$; sleep 1", None), ("sleep 9 & exit 75", 75)]
)
def test_failure_is_reported_with_its_exit_code(pods, script, code):
    pods.start("-c", f"({script})" if code is None else script)
    ended = pods.ended()
    assert pods.get()["status"]["phase"] == ("Failed" if code else "Succeeded")
    assert ended["exitCode"] == (code or 0)


def test_a_program_that_is_not_there_is_a_start_error(pods):
    pods.start(command=["no-such-program"])
    ended = pods.ended()
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "No such file" in ended["message"]


@pytest.mark.parametrize("policy", ["File", "FallbackToLogsOnError"])
def test_the_end_of_the_log_is_the_message_where_the_policy_says_so(pods, policy):
    pods.start("-c", "echo why >&2; exit 1", terminationMessagePolicy=policy)
    assert pods.ended().get("message") == ("why\n" if policy == "FallbackToLogsOnError" else None)


def test_a_termination_message_path_of_ones_own_and_its_limit(pods):
    script = "head -c 5000 /dev/zero | tr '\\0' x > /tmp/bye"
    pods.start("-c", script, terminationMessagePath="/tmp/bye")
    assert pods.ended()["message"] == "x" * 4096


def test_environment_of_values_references_fields_and_the_cluster(pods):
    pods.create("secrets", {"metadata": {"name": "key"}, "stringData": {"token": "s3cret", "other": "o"}})
    pods.create("configmaps", {"metadata": {"name": "cfg"}, "data": {"mode": "fast"}})
    env = [
        {"name": "PLAIN", "value": "a"},
        {"name": "EXPANDED", "value": "$(PLAIN)-$(MISSING)-$$(PLAIN)"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "mode"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "nope", "key": "x", "optional": True}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    ]
    found = pods.shell(
        "env", env=env, envFrom=[{"secretRef": {"name": "key"}, "prefix": "K_"}], resources={"limits": {"cpu": "1500m"}}
    )
    lines = set(found.splitlines())
    assert {"PLAIN=a", "EXPANDED=a-$(MISSING)-$(PLAIN)", "TOKEN=s3cret", "MODE=fast", "K_other=o", "NAME=pod"} <= lines
    assert {"LABEL=x", "CPU=2", "HOME=/home/nonroot", "HOSTNAME=pod", "KUBERNETES_SERVICE_HOST=127.0.0.1"} <= lines
    assert not [line for line in lines if line.startswith(("NONE=", "KUBECONFIG=", "VIRTUAL_ENV="))]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "late", "key": "k"}}, 'secret "late" not found'),
        ({"configMapKeyRef": {"name": "late", "key": "k"}}, 'configmap "late" not found'),
    ],
)
def test_a_missing_secret_or_config_map_is_named_and_awaited(pods, source, message):
    pods.start("-c", "echo $V", env=[{"name": "V", "valueFrom": source}])
    eventually(lambda: pods.state()["waiting"]["reason"] == "CreateContainerConfigError")
    assert pods.state()["waiting"]["message"] == message
    kind = "secrets" if "secretKeyRef" in source else "configmaps"
    data = {"data": {"k": base64.b64encode(b"v").decode() if kind == "secrets" else "v"}}
    pods.create(kind, {"metadata": {"name": "late"}, **data})
    assert pods.ended()["exitCode"] == 0
    assert pods.log() == "v\n"


def test_an_unknown_image_cannot_be_pulled(pods):
    pods.start(image="nowhere/image:1")
    eventually(lambda: pods.state()["waiting"]["reason"] == "ErrImagePull")
    eventually(lambda: pods.state()["waiting"]["reason"] == "ImagePullBackOff")
    assert 'Failed to pull image "nowhere/image:1"' in eventually(lambda: pods.events("Failed"))[0]


def test_volumes_are_at_their_mount_paths(pods, tmp_path):
    host = tmp_path / "host"
    host.mkdir()
    host.chmod(0o777)
    pods.create("configmaps", {"metadata": {"name": "cfg"}, "data": {"trial.json": "{}", "other": "o"}})
    pods.create("secrets", {"metadata": {"name": "key"}, "stringData": {"token": "t"}})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    pods.create("persistentvolumeclaims", {"metadata": {"name": "claim"}, "spec": claim})
    volumes = [
        {"name": "cfg", "configMap": {"name": "cfg", "items": [{"key": "trial.json", "path": "deep/trial.json"}]}},
        {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o444}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": str(host)}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}},
    ]
    mounts = [
        {"name": "cfg", "mountPath": "/etc/finetune"},
        {"name": "key", "mountPath": "/etc/key", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "scratch", "mountPath": "/scratch2", "subPath": "sub"},
        {"name": "host", "mountPath": "/host"},
        {"name": "claim", "mountPath": "/srv/checkpoints"},
    ]
    script = """set -e
    cat /etc/finetune/deep/trial.json /etc/key/token; echo
    ! touch /etc/finetune/x 2>/dev/null; ! touch /etc/key/x 2>/dev/null
    echo 1 > /scratch/a; echo 2 > /scratch2/b; cat /scratch/sub/b
    echo 3 > /host/c; echo 4 > /srv/checkpoints/d
    """
    assert pods.shell(script, volumeMounts=mounts, pod={"volumes": volumes}) == "{}t\n2\n"
    assert (host / "c").read_text() == "3\n"
    pods.start(
        "-c",
        "cat /again/d",
        name="second",
        volumeMounts=[{"name": "claim", "mountPath": "/again"}],
        pod={"volumes": volumes},
    )
    pods.ended("second")
    assert pods.log("second") == "4\n", "what is in a claim outlives the pod"


def test_a_volume_that_is_missing_is_named_and_awaited(pods):
    volumes = [{"name": "cfg", "configMap": {"name": "late"}}]
    pods.start("-c", "cat /cfg/k", volumeMounts=[{"name": "cfg", "mountPath": "/cfg"}], pod={"volumes": volumes})
    assert 'configmap "late" not found' in eventually(lambda: pods.events("FailedMount"))[0]
    assert pods.state()["waiting"]["reason"] == "ContainerCreating"
    pods.create("configmaps", {"metadata": {"name": "late"}, "data": {"k": "v"}})
    pods.ended()
    assert pods.log() == "v"


def test_the_service_account_token_is_that_of_the_pod(pods):
    script = """
import json, os, ssl, urllib.request
base = "/var/run/secrets/kubernetes.io/serviceaccount/"
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
tls = ssl.create_default_context(cafile=base + "ca.crt")
body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
url = f"https://{host}:{port}/apis/authentication.k8s.io/v1/selfsubjectreviews"
request = urllib.request.Request(url, json.dumps(body).encode())
request.add_header("Authorization", "Bearer " + open(base + "token").read())
request.add_header("Content-Type", "application/json")
answer = json.load(urllib.request.urlopen(request, context=tls))
print(answer["status"]["userInfo"]["username"], open(base + "namespace").read())
"""
    pods.start("-c", script, image=PYTHON)
    assert pods.ended()["exitCode"] == 0, pods.log()
    assert pods.log() == f"system:serviceaccount:{pods.namespace}:default {pods.namespace}\n"


def test_no_token_where_none_is_wanted(pods):
    out = pods.shell("ls /var/run/secrets/kubernetes.io || echo none", pod={"automountServiceAccountToken": False})
    assert out.endswith("none\n")


def test_init_containers_run_first_and_in_order(pods):
    volumes, mounts = [{"name": "v", "emptyDir": {}}], [{"name": "v", "mountPath": "/v"}]
    init = [
        {"name": name, "image": SHELL, "args": ["-c", f"echo {name} >> /v/order"], "volumeMounts": mounts}
        for name in ("one", "two")
    ]
    assert (
        pods.shell("cat /v/order", volumeMounts=mounts, pod={"volumes": volumes, "initContainers": init})
        == "one\ntwo\n"
    )
    assert [s["state"]["terminated"]["exitCode"] for s in pods.get()["status"]["initContainerStatuses"]] == [0, 0]


def test_a_failed_init_container_fails_the_pod(pods):
    init = [{"name": "one", "image": SHELL, "args": ["-c", "exit 4"]}]
    pods.start("-c", "echo never", pod={"initContainers": init})
    eventually(lambda: pods.get()["status"]["phase"] == "Failed")
    assert "waiting" in pods.state()


def test_a_sidecar_ends_with_the_containers_beside_it(pods):
    sidecar = {"name": "side", "image": SHELL, "args": ["-c", "exec sleep 1000"], "restartPolicy": "Always"}
    pods.start("-c", "echo main", pod={"initContainers": [sidecar]})
    assert pods.ended()["exitCode"] == 0
    assert pods.get()["status"]["phase"] == "Succeeded"


def test_restart_on_failure_keeps_the_last_state(pods):
    volumes, mounts = [{"name": "v", "emptyDir": {}}], [{"name": "v", "mountPath": "/v"}]
    script = "[ -e /v/once ] && exit 0; touch /v/once; echo first > /dev/termination-log; exit 9"
    pods.start("-c", script, volumeMounts=mounts, pod={"volumes": volumes, "restartPolicy": "OnFailure"})
    pods.ended()
    status = pods.get()["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1
    assert (status["lastState"]["terminated"]["exitCode"], status["lastState"]["terminated"]["message"]) == (
        9,
        "first\n",
    )


def test_a_container_that_crashes_again_and_again_backs_off(pods):
    pods.start("-c", "exit 1", pod={"restartPolicy": "Always"})
    waiting = eventually(lambda: pods.state().get("waiting"))
    eventually(lambda: pods.state()["waiting"]["reason"] == "CrashLoopBackOff")
    assert waiting
    assert pods.get()["status"]["phase"] == "Running"
    assert eventually(lambda: pods.events("BackOff"))


def test_too_much_memory_is_oom_killed(pods):
    script = "x = bytearray(300_000_000)\nimport time\ntime.sleep(60)"
    pods.start("-c", script, image=PYTHON, resources={"limits": {"memory": "128Mi"}})
    ended = pods.ended()
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_deletion_asks_first_and_kills_after_the_grace_period(pods):
    polite = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"
    pods.start("-c", polite, name="polite", pod={"terminationGracePeriodSeconds": 30})
    pods.start("-c", "trap '' TERM; while :; do sleep 0.05; done", name="rude")
    for name in ("polite", "rude"):
        pods.running(name)
    began = time.monotonic()
    for name in ("polite", "rude"):
        pods.cluster.api("DELETE", f"{pods.path}/pods/{name}")
    for name in ("polite", "rude"):
        eventually(lambda name=name: pods.cluster.find(f"{pods.path}/pods/{name}") is None, 10)
    assert 0.9 < time.monotonic() - began < 10


def test_a_second_deletion_with_less_grace_ends_the_pod_sooner(pods):
    pods.start("-c", "trap '' TERM; while :; do sleep 0.05; done", pod={"terminationGracePeriodSeconds": 600})
    pods.running()
    pods.cluster.api("DELETE", f"{pods.path}/pods/pod")
    pods.cluster.api("DELETE", f"{pods.path}/pods/pod", {"gracePeriodSeconds": 1})
    eventually(lambda: pods.cluster.find(f"{pods.path}/pods/pod") is None, 10)


def test_deadline(pods):
    pods.start("-c", "exec sleep 100", pod={"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 0})
    pods.ended()
    assert pods.get()["status"]["reason"] == "DeadlineExceeded"


def test_readiness_follows_the_probe_and_liveness_restarts(pods):
    probe = {"periodSeconds": 1, "failureThreshold": 1}
    pods.start(
        "-c",
        "trap 'exit 0' TERM; touch /tmp/alive; while :; do sleep 0.05; done",
        pod={"restartPolicy": "Always"},
        startupProbe={"exec": {"command": ["test", "-e", "/tmp/alive"]}, **probe, "failureThreshold": 5},
        readinessProbe={"exec": {"command": ["sh", "-c", "echo $HOSTNAME | grep pod"]}, **probe},
        livenessProbe={"tcpSocket": {"port": 1}, **probe, "initialDelaySeconds": 2},
    )
    eventually(lambda: pods.get()["status"]["containerStatuses"][0]["ready"])
    eventually(lambda: pods.get()["status"]["containerStatuses"][0]["restartCount"] >= 1)
    assert eventually(lambda: pods.events("Unhealthy"))


def test_gpus_are_counted(pods):
    pods.start("-c", "echo $NVIDIA_VISIBLE_DEVICES; sleep 0.2", resources={"limits": {"nvidia.com/gpu": 2}}, name="two")
    pods.start("-c", "true", resources={"limits": {"nvidia.com/gpu": 99}}, name="many")
    pods.ended("two")
    assert len(pods.log("two").split(",")) == 2
    refusal = eventually(
        lambda: next(c for c in pods.get("many")["status"]["conditions"] if c["type"] == "PodScheduled")
    )
    assert (refusal["status"], refusal["reason"]) == ("False", "Unschedulable")
    assert refusal["message"] == "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    assert eventually(lambda: pods.events("FailedScheduling"))


def test_names_of_services_and_peers_resolve(pods):
    service = {"clusterIP": "None", "selector": {"app": "x"}, "ports": [{"port": 29500}]}
    pods.create("services", {"metadata": {"name": "peers"}, "spec": service})
    script = "\n".join(
        f"getent hosts {name} || exit 1"
        for name in ("rank-0.peers", "peers", "$HOSTNAME", f"peers.{pods.namespace}.svc")
    )
    out = pods.shell(script, pod={"hostname": "rank-0", "subdomain": "peers"})
    assert [line.split()[0] for line in out.splitlines()] == ["127.0.0.1"] * 4


def test_services_of_other_namespaces_resolve_by_their_full_name_alone(pods):
    name = pods.namespace
    services = "/api/v1/namespaces/default/services"
    pods.cluster.api("POST", services, {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
    try:
        pods.shell(f"until getent hosts {name}.default.svc; do sleep 0.1; done; ! getent hosts {name}")
    finally:
        pods.cluster.api("DELETE", f"{services}/{name}")


def test_a_peer_that_starts_later_resolves_too(pods):
    pods.create("services", {"metadata": {"name": "peers"}, "spec": {"clusterIP": "None", "ports": [{"port": 29500}]}})
    wait = "until getent hosts rank-1.peers; do sleep 0.1; done"
    pods.start("-c", wait, name="first", pod={"hostname": "rank-0", "subdomain": "peers"})
    pods.running("first")
    pods.start("-c", "true", name="second", pod={"hostname": "rank-1", "subdomain": "peers"})
    assert pods.ended("first")["exitCode"] == 0


def test_files_of_a_deleted_pod_are_removed(pods):
    uid = pods.start("-c", "echo x > /tmp/x")["metadata"]["uid"]
    pods.ended()
    pods.cluster.api("DELETE", f"{pods.path}/pods/pod")
    eventually(lambda: not list(pods.cluster.data.rglob(f"*{uid}*")))
    with pytest.raises(RequestFailedError):
        pods.get()
