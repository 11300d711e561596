"""Unmodified clients against the sandbox: kubectl of several versions, the Python client, Helm and kopf."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import yaml
from finetune_sandbox.testing import SHELL, eventually
from helm_python.chart import Chart
from helm_python.config import Config
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

OLDEST = (1, 29)
"""Earlier versions of kubectl validate with OpenAPI v2 in protobuf, which the sandbox does not serve."""


def kubectls() -> list[str]:
    """Every kubectl beside the one on the path whose version is in its name, else that one."""
    found = shutil.which("kubectl")
    assert found, "kubectl is needed"
    beside = sorted(Path(found).resolve().parent.glob("kubectl.1.*"))
    return [str(path) for path in beside if tuple(map(int, path.name.split(".")[1:3])) >= OLDEST] or [found]


def crd(group: str) -> dict:
    rules = [{"rule": "self.size >= oldSelf.size", "message": "sizes only grow"}]
    spec = {
        "type": "object",
        "properties": {"size": {"type": "integer", "default": 1}},
        "x-kubernetes-validations": rules,
    }
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture
def group(cluster):
    """An API group of its own with the kind Widget."""
    name = f"g{uuid.uuid4().hex[:6]}.example.com"
    cluster.apply(crd(name))
    cluster.kubectl("wait", "--for=condition=Established", f"crd/widgets.{name}", "--timeout=10s")
    yield name
    cluster.kubectl("delete", "crd", f"widgets.{name}", "--wait=false")


@pytest.mark.parametrize("program", kubectls(), ids=lambda path: Path(path).name)
def test_kubectl(cluster, namespace, group, program, tmp_path):
    def run(*args, stdin=None, code=0):
        command = [program, "--kubeconfig", str(cluster.kubeconfig), "-n", namespace, *args]
        env = {**os.environ, "HOME": str(tmp_path)}
        result = subprocess.run(command, input=stdin, text=True, capture_output=True, env=env, timeout=60, check=False)
        assert result.returncode == code, result.stderr
        return result.stdout + result.stderr

    widget = {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": namespace},
        "spec": {"size": 3},
    }
    assert "created" in run("apply", "-f", "-", stdin=json.dumps(widget))
    assert "unchanged" in run("apply", "-f", "-", stdin=json.dumps(widget))
    assert "sizes only grow" in run("apply", "-f", "-", stdin=json.dumps({**widget, "spec": {"size": 2}}), code=1)
    assert 'unknown field "spec.sise"' in run(
        "apply", "-f", "-", stdin=json.dumps({**widget, "spec": {"size": 4, "sise": 5}}), code=1
    )
    assert "serverside-applied" in run(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps({**widget, "spec": {"size": 5}})
    )
    assert run("get", "widgets", "w", "-o", "jsonpath={.spec.size}") == "5"
    assert "secret/s created" in run("create", "secret", "generic", "s", "--from-literal=a=b")
    assert run("get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="
    assert "FIELD: size <integer>" in run("explain", "widget.spec.size")
    assert "Events:" in run("describe", "widget", "w")
    assert "deleted" in run("delete", "widget", "w", "--timeout=20s")


@pytest.fixture
def api(cluster):
    """The Python client's connection."""
    return config.new_client_from_config(str(cluster.kubeconfig))


def test_typed_client(api, namespace):
    core, batch = client.CoreV1Api(api), client.BatchV1Api(api)
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"), data={"k": "1"})
    made = core.create_namespaced_config_map(namespace, body)
    made.data["k"] = "2"
    core.replace_namespaced_config_map("a", namespace, made)
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("a", namespace, made)
    assert caught.value.status == 409
    container = client.V1Container(name="main", image=SHELL, command=["/bin/sh"], args=["-c", "echo hello"])
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
    job = client.V1Job(metadata=client.V1ObjectMeta(name="j"), spec=client.V1JobSpec(template=template))
    batch.create_namespaced_job(namespace, job)
    for event in watch.Watch().stream(batch.list_namespaced_job, namespace, timeout_seconds=60):
        if event["object"].status.succeeded:
            break
    (pod,) = core.list_namespaced_pod(namespace, label_selector="batch.kubernetes.io/job-name=j").items
    assert core.read_namespaced_pod_log(pod.metadata.name, namespace) == "hello\n"
    batch.delete_namespaced_job("j", namespace, propagation_policy="Background")
    eventually(lambda: not core.list_namespaced_pod(namespace).items)


def test_dynamic_client(api, namespace, group):
    widgets = DynamicClient(api).resources.get(api_version=f"{group}/v1", kind="Widget")
    body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 2}}
    widgets.server_side_apply(body=body, name="w", namespace=namespace, field_manager="one")
    with pytest.raises(ApiException) as caught:
        widgets.server_side_apply(
            body={**body, "spec": {"size": 3}}, name="w", namespace=namespace, field_manager="two"
        )
    assert caught.value.status == 409
    forced = widgets.server_side_apply(
        body={**body, "spec": {"size": 3}}, name="w", namespace=namespace, field_manager="two", force_conflicts=True
    )
    assert forced.spec.size == 3
    widgets.status.patch(
        body={"status": {"ok": True}}, name="w", namespace=namespace, content_type="application/merge-patch+json"
    )
    assert widgets.get(name="w", namespace=namespace).status.ok is True
    widgets.delete(name="w", namespace=namespace)


CHART = {
    "Chart.yaml": {"apiVersion": "v2", "name": "demo", "version": "0.1.0"},
    "values.yaml": {"text": "one"},
    "templates/config.yaml": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "{{ .Release.Name }}"},
        "data": {"text": "{{ .Values.text }}"},
    },
}


def hook(name: str, kind: str, text: str) -> dict:
    """A pod that Helm runs at some point of a release."""
    container = {"name": "main", "image": SHELL, "command": ["/bin/sh", "-c", text]}
    meta = {
        "name": "{{ .Release.Name }}-" + name,
        "annotations": {"helm.sh/hook": kind, "helm.sh/hook-delete-policy": "before-hook-creation"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


def test_helm(cluster, namespace, kubectl, tmp_path):
    files = {
        **CHART,
        "templates/before.yaml": hook("before", "pre-install", "true"),
        "templates/tests/test.yaml": hook("test", "test", "echo tested"),
    }
    for name, content in files.items():
        path = tmp_path / "demo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))

    def text() -> str:
        return kubectl("get", "configmap", "r", "-o", "jsonpath={.data.text}")

    with (
        Chart.load(tmp_path / "demo") as chart,
        Config(kubeconfig_path=cluster.kubeconfig, namespace=namespace) as helm,
    ):
        helm.install(chart, "r", namespace=namespace, wait="watcher", timeout=60)
        assert text() == "one"
        assert kubectl("get", "pod", "r-before", "-o", "jsonpath={.status.phase}") == "Succeeded"
        helm.upgrade(chart, "r", {"text": "two"}, namespace=namespace, wait="watcher", timeout=60)
        assert text() == "two"
        helm.rollback("r", version=1, wait="watcher", timeout=60)
        assert text() == "one"
        helm.test("r", timeout=60)
        assert kubectl("logs", "r-test") == "tested\n"
        assert len(helm.history("r")) == 3
        helm.uninstall("r", wait="watcher", timeout=60)
        assert "NotFound" in cluster.kubectl("-n", namespace, "get", "configmap", "r", check=False).stderr


OPERATOR = """
import kopf

@kopf.index("{group}", "v1", "widgets")
def sizes(name, spec, **_):
    return {{name: spec["size"]}}

@kopf.on.create("{group}", "v1", "widgets")
def made(spec, patch, **_):
    patch.status["made"] = spec["size"]

@kopf.on.field("{group}", "v1", "widgets", field="spec.size")
def grown(old, new, patch, **_):
    patch.status["grown"] = [old, new]

@kopf.timer("{group}", "v1", "widgets", interval=0.3)
def tick(status, patch, sizes, **_):
    patch.status["ticks"] = status.get("ticks", 0) + 1
    patch.status["indexed"] = sum(value for found in sizes.values() for value in found)

@kopf.daemon("{group}", "v1", "widgets", cancellation_timeout=1)
async def live(stopped, body, **_):
    kopf.event(body, type="Normal", reason="Alive", message="here")
    await stopped.wait()

@kopf.on.delete("{group}", "v1", "widgets")
def gone(body, **_):
    kopf.event(body, type="Normal", reason="Gone", message="bye")
"""


@pytest.mark.slow
def test_kopf(cluster, namespace, group, kubectl, tmp_path):
    script = tmp_path / "operator.py"
    script.write_text(OPERATOR.format(group=group))
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(script)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}, stdout=log, stderr=log
        )

    def read(name: str) -> dict:
        return cluster.api("GET", f"/apis/{group}/v1/namespaces/{namespace}/widgets/{name}")

    def status(name: str) -> dict:
        return read(name).get("status") or {}

    try:
        widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 2}}
        cluster.apply(widget, namespace=namespace)
        eventually(lambda: status("w").get("made") == 2, 30)
        assert read("w")["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        kubectl("patch", f"widgets.{group}", "w", "--type=merge", "-p", '{"spec":{"size":3}}')
        eventually(lambda: status("w").get("grown") == [2, 3])
        ticks = status("w").get("ticks", 0)
        eventually(lambda: status("w").get("ticks", 0) > ticks + 1 and status("w").get("indexed") == 3)
        if cluster.data is not None:  # only the sandbox loses its history on command
            cluster.api("POST", "/debug/restart", query={"history": "lose"})
            time.sleep(0.2)
            eventually(lambda: cluster.api("GET", "/readyz") == "ok")
        cluster.apply({**widget, "metadata": {"name": "v"}}, namespace=namespace)
        eventually(lambda: status("v").get("made") == 2, 30)
        kubectl("delete", f"widgets.{group}", "w", "v", "--timeout=30s")
        eventually(
            lambda: {"Alive", "Gone"} <= set(kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").split())
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        print((tmp_path / "log").read_text()[-6000:])  # pytest shows it when the test failed
    assert process.returncode == 0
