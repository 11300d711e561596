"""The controllers at work in a sandbox: garbage collection, namespaces, Jobs, rollouts, faults."""

import json

import pytest
from finetune_sandbox.testing import PYTHON, SHELL, eventually

STAY = ["-c", "trap 'exit 143' TERM; while :; do sleep 0.05; done"]


class Api:
    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    def path(self, kind):
        roots = {
            "jobs": "apis/batch/v1",
            "deployments": "apis/apps/v1",
            "statefulsets": "apis/apps/v1",
            "replicasets": "apis/apps/v1",
        }
        return f"/{roots.get(kind, 'api/v1')}/namespaces/{self.namespace}/{kind}"

    def create(self, kind, name, body):
        meta = {"name": name, **body.pop("metadata", {})}
        return self.cluster.api("POST", self.path(kind), {"metadata": meta, **body})

    def get(self, kind, name):
        return self.cluster.find(f"{self.path(kind)}/{name}")

    def list(self, kind):
        return self.cluster.api("GET", self.path(kind))["items"]

    def delete(self, kind, name, policy=None):
        options = {"propagationPolicy": policy} if policy else {}
        self.cluster.api("DELETE", f"{self.path(kind)}/{name}", options)

    def patch(self, kind, name, body, kind_of_patch="application/merge-patch+json"):
        return self.cluster.api("PATCH", f"{self.path(kind)}/{name}", body, content_type=kind_of_patch)

    def job(self, name, *args, image=SHELL, pod=None, **spec):
        main = {"name": "main", "image": image, "args": list(args)}
        pod_spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main], **(pod or {})}
        return self.create("jobs", name, {"spec": {"template": {"spec": pod_spec}, **spec}})

    def finished(self, name, kind="Complete"):
        def ended():
            conditions = self.get("jobs", name)["status"].get("conditions", [])
            return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)

        return eventually(ended, 30)


@pytest.fixture
def api(sandbox, namespace):
    return Api(sandbox, namespace)


def owned(owner, api_version, kind, block=True):
    reference = {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {"metadata": {"ownerReferences": [{**reference, "blockOwnerDeletion": block, "controller": True}]}}


def test_background_deletion_takes_dependents_and_their_dependents(api):
    root = api.create("configmaps", "root", {})
    child = api.create("configmaps", "child", owned(root, "v1", "ConfigMap"))
    api.create("configmaps", "grandchild", owned(child, "v1", "ConfigMap"))
    api.delete("configmaps", "root", "Background")
    eventually(lambda: not [c for c in ("root", "child", "grandchild") if api.get("configmaps", c)])


def test_orphan_deletion_frees_dependents(api):
    root = api.create("configmaps", "root", {})
    api.create("configmaps", "child", owned(root, "v1", "ConfigMap"))
    api.delete("configmaps", "root", "Orphan")
    eventually(lambda: api.get("configmaps", "root") is None)
    assert not api.get("configmaps", "child")["metadata"].get("ownerReferences")


def test_foreground_deletion_waits_for_dependents(api):
    root = api.create("configmaps", "root", {})
    child = owned(root, "v1", "ConfigMap")
    child["metadata"]["finalizers"] = ["test.dev/hold"]
    api.create("configmaps", "child", child)
    api.delete("configmaps", "root", "Foreground")
    eventually(lambda: api.get("configmaps", "child")["metadata"].get("deletionTimestamp"))
    assert api.get("configmaps", "root")["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.patch("configmaps", "child", {"metadata": {"finalizers": None}})
    eventually(lambda: not api.get("configmaps", "root") and not api.get("configmaps", "child"))


def test_an_object_whose_owner_never_was_is_deleted_and_one_with_a_living_owner_is_kept(api):
    alive = api.create("configmaps", "alive", {})
    ghost = {"metadata": {"name": "ghost", "uid": "00000000-0000-0000-0000-000000000000"}}
    api.create("configmaps", "stray", owned(ghost, "v1", "ConfigMap"))
    both = owned(alive, "v1", "ConfigMap")
    both["metadata"]["ownerReferences"].append(
        {**owned(ghost, "v1", "ConfigMap")["metadata"]["ownerReferences"][0], "controller": False}
    )
    api.create("configmaps", "kept", both)
    eventually(lambda: api.get("configmaps", "stray") is None)
    eventually(lambda: len(api.get("configmaps", "kept")["metadata"]["ownerReferences"]) == 1)


def test_custom_resources_own_jobs(api, kubectl):
    group = f"g{api.namespace[5:]}.test.dev"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]
    names = {"plural": "things", "kind": "Thing"}
    crd = {
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": versions},
    }
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.cluster.api("POST", crds, crd)
    path = f"/apis/{group}/v1/namespaces/{api.namespace}/things"
    eventually(lambda: api.cluster.find(path))
    thing = api.cluster.api("POST", path, {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "t"}})
    template = {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": SHELL, "args": ["-c", "true"]}]}
    }
    api.create("jobs", "j", {**owned(thing, f"{group}/v1", "Thing"), "spec": {"template": template}})
    api.finished("j")
    api.cluster.api("DELETE", f"{path}/t", {"propagationPolicy": "Background"})
    eventually(lambda: not api.get("jobs", "j") and not api.list("pods"))
    api.cluster.api("DELETE", f"{crds}/things.{group}")


def test_a_namespace_is_emptied_before_it_goes(api):
    api.job("j", *STAY, pod={"terminationGracePeriodSeconds": 5})
    eventually(lambda: [p for p in api.list("pods") if p["status"].get("phase") == "Running"])
    other = f"{api.namespace}-other"
    api.cluster.api("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    api.cluster.api("DELETE", f"/api/v1/namespaces/{api.namespace}")
    eventually(lambda: api.cluster.find(f"/api/v1/namespaces/{api.namespace}") is None, 30)
    assert api.cluster.find(f"/api/v1/namespaces/{other}")
    api.cluster.api("DELETE", f"/api/v1/namespaces/{other}")
    api.cluster.api("POST", "/api/v1/namespaces", {"metadata": {"name": api.namespace}})


def test_a_job_of_processes_runs_to_completion_and_explains_itself(api, kubectl):
    api.job("sum", "-c", "echo index $JOB_COMPLETION_INDEX", completionMode="Indexed", completions=3, parallelism=2)
    api.finished("sum")
    status = api.get("jobs", "sum")["status"]
    assert (status["succeeded"], status["completedIndexes"]) == (3, "0-2")
    logs = kubectl("logs", "-l", "batch.kubernetes.io/job-name=sum", "--tail=-1")
    assert sorted(logs.splitlines()) == ["index 0", "index 1", "index 2"]
    assert "Completed" in eventually(lambda: "Job completed" in (text := kubectl("describe", "job", "sum")) and text)


def test_exit_codes_decide_by_failure_policy(api):
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}]
    api.job("bad", "-c", "exit 2", backoffLimit=5, podFailurePolicy={"rules": rules})
    failed = api.finished("bad", "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert "exit code 2" in failed["message"]


def test_quota_is_told_and_the_job_goes_on_when_there_is_room(api):
    api.create("resourcequotas", "q", {"spec": {"hard": {"pods": "0"}}})
    eventually(lambda: api.get("resourcequotas", "q")["status"].get("hard"))
    api.job("late", "-c", "true")

    def told():
        events = api.list("events")
        return [e["message"] for e in events if e["reason"] == "FailedCreate"]

    assert "exceeded quota" in eventually(told)[0]
    assert not api.get("jobs", "late")["status"].get("active")
    api.patch("resourcequotas", "q", {"spec": {"hard": {"pods": "5"}}})
    api.finished("late")


def test_the_clock_can_be_set_forward(api):
    api.job("old", "-c", "true", ttlSecondsAfterFinished=3600)
    api.finished("old")
    api.job("slow", *STAY, activeDeadlineSeconds=1800)
    eventually(lambda: api.get("jobs", "slow")["status"].get("ready"))
    api.cluster.fault("clock", "4000")
    eventually(lambda: api.get("jobs", "old") is None)
    assert api.finished("slow", "Failed")["reason"] == "DeadlineExceeded"


def test_a_killed_pod_fails_with_137_and_is_replaced(api):
    api.job("one", *STAY, backoffLimit=3)
    pod = eventually(lambda: [p for p in api.list("pods") if p["status"].get("phase") == "Running"])[0]
    api.cluster.fault("signal", f"{api.namespace}/{pod['metadata']['name']}", "KILL")
    ended = eventually(
        lambda: api.get("pods", pod["metadata"]["name"])["status"]["containerStatuses"][0]["state"]["terminated"]
    )
    assert ended["exitCode"] == 137
    eventually(lambda: api.get("jobs", "one")["status"].get("failed") == 1)


def test_a_drain_marks_pods_as_disrupted_and_they_run_again_elsewhere(api):
    ignore = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    api.job("one", *STAY, backoffLimit=0, podFailurePolicy={"rules": ignore})
    pod = eventually(lambda: [p for p in api.list("pods") if p["status"].get("phase") == "Running"])[0]
    node = pod["spec"]["nodeName"]
    api.cluster.fault("drain", node)
    try:
        eventually(lambda: api.get("pods", pod["metadata"]["name"]) is None)
        assert not api.get("jobs", "one")["status"].get("failed")
        api.cluster.fault("clock", "30")  # past the delay after a failure
        pending = eventually(
            lambda: [p for p in api.list("pods") if p["metadata"]["uid"] != pod["metadata"]["uid"]], 30
        )[0]
        refused = eventually(lambda: api.get("pods", pending["metadata"]["name"])["status"]["conditions"][0])
        assert "1 node(s) were unschedulable" in refused["message"]
    finally:
        api.cluster.fault("uncordon", node)
    eventually(lambda: api.get("jobs", "one")["status"].get("ready"))


def deployment(*args, replicas=2, image=SHELL, **options):
    container = {"name": "main", "image": image, "args": list(args)}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **options}}


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Recreate"])
def test_a_rollout_and_its_undoing(api, kubectl, strategy):
    api.create("deployments", "web", deployment(*STAY, strategy={"type": strategy}))
    kubectl("rollout", "status", "deploy/web", "--timeout=20s")
    first = {p["metadata"]["name"] for p in api.list("pods")}
    kubectl("set", "env", "deploy/web", "A=b")
    kubectl("rollout", "status", "deploy/web", "--timeout=20s")
    assert not first & {p["metadata"]["name"] for p in api.list("pods") if not p["metadata"].get("deletionTimestamp")}
    kubectl("rollout", "undo", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout=20s")
    assert "env" not in api.get("deployments", "web")["spec"]["template"]["spec"]["containers"][0]
    assert len(api.list("replicasets")) == 2
    assert kubectl("rollout", "history", "deploy/web").split()[-4:] == ["2", "<none>", "3", "<none>"]
    kubectl("scale", "deploy/web", "--replicas=1")
    eventually(lambda: api.get("deployments", "web")["status"].get("replicas") == 1)
    api.delete("deployments", "web", "Foreground")
    eventually(lambda: not api.list("replicasets") and not api.list("pods"))


def test_a_service_has_its_ready_pods_as_endpoints(api):
    body = deployment("-m", "http.server", "18211", replicas=1, image=PYTHON)
    main = body["spec"]["template"]["spec"]["containers"][0]
    main |= {
        "ports": [{"name": "http", "containerPort": 18211}],
        "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
    }
    api.create("services", "web", {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}})
    api.create("deployments", "web", body)
    subset = eventually(lambda: (api.get("endpoints", "web") or {}).get("subsets"))[0]
    assert subset["ports"] == [{"port": 18211, "protocol": "TCP"}]
    ready = eventually(lambda: api.get("endpoints", "web")["subsets"][0].get("addresses"))
    assert ready[0]["ip"] == "127.0.0.1"


def test_a_stateful_set_starts_in_order_and_keeps_its_claims(api, kubectl):
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    body = deployment("-c", "echo $HOSTNAME >> /data/log; " + STAY[1], serviceName="db", volumeClaimTemplates=[claim])
    body["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    api.create("statefulsets", "db", body)
    kubectl("rollout", "status", "statefulset/db", "--timeout=20s")
    assert sorted(p["metadata"]["name"] for p in api.list("pods")) == ["db-0", "db-1"]
    api.delete("pods", "db-0")
    volume = api.get("persistentvolumeclaims", "data-db-0")["spec"]["volumeName"]
    log = api.cluster.data / "volumes" / volume / "log"
    eventually(lambda: log.read_text() == "db-0\ndb-0\n")
    kubectl("delete", "statefulset", "db")
    kubectl("delete", "pvc", "--all")
    eventually(lambda: not log.exists())


def test_kubectl_apply_and_wait(kubectl):
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "m", "image": SHELL, "args": ["-c", "echo hi"]}],
                }
            }
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(job))
    kubectl("wait", "--for=condition=Complete", "job/j", "--timeout=20s")
    assert kubectl("logs", "job/j") == "hi\n"


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429, "retryAfter": 1}, {"disconnect": True}])
def test_jobs_complete_while_the_server_fails_every_third_request(api, fault):
    rule = {"method": "POST|PUT|PATCH", "path": "/status$|/binding$|/token$|/events$", "probability": 0.33, **fault}
    api.cluster.api("PUT", "/debug/faults", [rule])
    try:
        for number in range(3):
            api.job(f"j{number}", "-c", "true", completions=2, parallelism=2)
        for number in range(3):
            api.finished(f"j{number}")
    finally:
        api.cluster.api("PUT", "/debug/faults", [])
