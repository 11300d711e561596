"""The API server over HTTPS: who may do what, limits, faults, watches that break, and the odd subresource."""

import asyncio
import base64
import json
import stat

import pytest
from finetune_sandbox.up import write_kubeconfig

from .conftest import APPLY, MERGE, Client, event

NS = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONTAINER = {"name": "main", "image": "demo:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}


def pod(name: str, **spec) -> dict:
    return {"metadata": {"name": name, "labels": {"app": "x"}}, "spec": {"containers": [CONTAINER], **spec}}


async def account(api: Client, name: str) -> Client:
    """A ServiceAccount with a token of its own."""
    await api("POST", f"{NS}/serviceaccounts", {"metadata": {"name": name}}, expect=201)
    answer = await api("POST", f"{NS}/serviceaccounts/{name}/token", {"spec": {"expirationSeconds": 600}}, expect=201)
    return api.as_user(answer["status"]["token"])


async def grant(api: Client, name: str, *rules: dict) -> None:
    await api(
        "POST", f"{RBAC}/namespaces/default/roles", {"metadata": {"name": name}, "rules": list(rules)}, expect=201
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
    await api("POST", f"{RBAC}/namespaces/default/rolebindings", body, expect=201)


def rule(verbs: str, resources: str, group: str = "", **more) -> dict:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **more}


async def test_keys_are_private(server):
    assert stat.S_IMODE((server.data_dir / "pki").stat().st_mode) == 0o700
    assert stat.S_IMODE((server.data_dir / "pki/server.key").stat().st_mode) == 0o600
    write_kubeconfig(server.data_dir / "kubeconfig", server.kubeconfig())
    assert stat.S_IMODE((server.data_dir / "kubeconfig").stat().st_mode) == 0o600


async def test_tokens(api):
    await api.as_user("nonsense")("GET", f"{NS}/pods", expect=401)
    forbidden = await api.as_user("")("GET", f"{NS}/pods", expect=403)
    assert 'User "system:anonymous" cannot list resource "pods"' in forbidden["message"]
    robot = await account(api, "robot")
    head, claims, _ = robot.token.split(".")
    forged = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged["sub"] = "system:serviceaccount:kube-system:admin"
    other = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    await robot.as_user(f"{head}.{other}.{robot.token.split('.')[2]}")("GET", f"{NS}/pods", expect=401)
    await robot("GET", f"{NS}/pods", expect=403)
    await robot("GET", "/apis", expect=200)
    await api("DELETE", f"{NS}/serviceaccounts/robot", expect=200)
    await robot("GET", "/apis", expect=401)


async def test_a_token_bound_to_a_pod_ends_with_it(api):
    await api("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "robot"}})
    found = await api("POST", f"{NS}/pods", pod("p"), expect=201)
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": found["metadata"]["uid"]}
    answer = await api("POST", f"{NS}/serviceaccounts/robot/token", {"spec": {"boundObjectRef": bound}}, expect=201)
    robot = api.as_user(answer["status"]["token"])
    await robot("GET", "/version", expect=200)
    await api("DELETE", f"{NS}/pods/p", expect=200)
    await robot("GET", "/version", expect=401)


async def test_roles(api):
    robot = await account(api, "robot")
    await grant(
        api,
        "robot",
        rule("get list", "configmaps"),
        rule("update", "pods/status"),
        rule("get", "secrets", resourceNames=["mine"]),
    )
    await robot("GET", f"{NS}/configmaps", expect=200)
    await robot("GET", "/api/v1/configmaps", expect=403)
    await robot("GET", "/api/v1/namespaces/kube-system/configmaps", expect=403)
    await robot("POST", f"{NS}/configmaps", {"metadata": {"name": "a"}}, expect=403)
    await robot("GET", f"{NS}/secrets/mine", expect=404)
    await robot("GET", f"{NS}/secrets/other", expect=403)
    review = {
        "spec": {
            "resourceAttributes": {
                "namespace": "default",
                "verb": "update",
                "resource": "pods",
                "subresource": "status",
            }
        }
    }
    found = await robot("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, expect=201)
    assert found["status"]["allowed"] is True
    rules = await robot(
        "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}, expect=201
    )
    assert {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]} in rules["status"][
        "resourceRules"
    ]


async def test_nobody_grants_what_they_lack(api):
    robot = await account(api, "robot")
    await grant(
        api, "robot", rule("create", "roles rolebindings", "rbac.authorization.k8s.io"), rule("get", "configmaps")
    )
    mine = {"metadata": {"name": "mine"}, "rules": [rule("get", "configmaps")]}
    await robot("POST", f"{RBAC}/namespaces/default/roles", mine, expect=201)
    more = {"metadata": {"name": "more"}, "rules": [rule("get", "configmaps secrets")]}
    refused = await robot("POST", f"{RBAC}/namespaces/default/roles", more, expect=403)
    assert "attempting to grant RBAC permissions not currently held" in refused["message"]
    assert 'Resources:["secrets"]' in refused["message"]
    binding = {
        "metadata": {"name": "up"},
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"},
    }
    await robot("POST", f"{RBAC}/namespaces/default/rolebindings", binding, expect=403)


async def test_impersonation(api):
    robot = await account(api, "robot")
    await grant(api, "robot", rule("list", "configmaps"))
    as_robot = {"Impersonate-User": "system:serviceaccount:default:robot"}
    await api("GET", f"{NS}/configmaps", headers=as_robot, expect=200)
    await api("GET", f"{NS}/secrets", headers=as_robot, expect=403)
    await robot("GET", f"{NS}/configmaps", headers={"Impersonate-User": "admin"}, expect=403)
    who = await api(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {},
        headers={"Impersonate-User": "eve", "Impersonate-Group": "g"},
    )
    assert who["status"]["userInfo"] == {"username": "eve", "groups": ["g", "system:authenticated"]}


async def test_quota(api):
    hard = {"pods": "2", "requests.cpu": "1500m", "count/jobs.batch": "1"}
    await api("POST", f"{NS}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}}, expect=201)
    await api("POST", f"{NS}/pods", pod("a"), expect=201)
    refused = await api("POST", f"{NS}/pods", pod("b"), expect=403)
    assert refused["message"] == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=1, used: requests.cpu=1, limited:'
        " requests.cpu=1500m"
    )
    bare = {"metadata": {"name": "c"}, "spec": {"containers": [{"name": "m", "image": "i"}]}}
    refused = await api("POST", f"{NS}/pods", bare, expect=403)
    assert "failed quota: q: must specify requests.cpu for: m" in refused["message"]
    status = (await api("GET", f"{NS}/resourcequotas/q"))["status"]
    assert status == {"hard": hard, "used": {"pods": "1", "requests.cpu": "1", "count/jobs.batch": "0"}}
    await api("PATCH", f"{NS}/pods/a/status", {"status": {"phase": "Succeeded"}}, MERGE, expect=200)
    await api("POST", f"{NS}/pods", pod("b"), expect=201)
    await api("DELETE", f"{NS}/pods/b")
    assert (await api("GET", f"{NS}/resourcequotas/q"))["status"]["used"]["pods"] == "0"


async def test_priority(api):
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await api("POST", classes, {"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"}, expect=201)
    found = await api("POST", f"{NS}/pods", pod("a", priorityClassName="high"), expect=201)
    assert (found["spec"]["priority"], found["spec"]["preemptionPolicy"]) == (7, "Never")
    refused = await api("POST", f"{NS}/pods", pod("b", priorityClassName="nope"), expect=403)
    assert "no PriorityClass with name nope was found" in refused["message"]


async def test_binding_and_graceful_deletion(api):
    await api("POST", f"{NS}/pods", pod("a"), expect=201)
    binding = {"target": {"kind": "Node", "name": "n1"}}
    await api("POST", f"{NS}/pods/a/binding", binding, expect=201)
    await api("POST", f"{NS}/pods/a/binding", binding, expect=409)
    found = await api("GET", f"{NS}/pods/a")
    assert found["spec"]["nodeName"] == "n1"
    assert found["status"]["conditions"][0]["type"] == "PodScheduled"
    going = await api("DELETE", f"{NS}/pods/a", expect=200)
    assert going["metadata"]["deletionGracePeriodSeconds"] == 30
    sooner = await api("DELETE", f"{NS}/pods/a", {"gracePeriodSeconds": 3}, expect=200)
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 3
    await api("DELETE", f"{NS}/pods/a", gracePeriodSeconds="0", expect=200)
    await api("GET", f"{NS}/pods/a", expect=404)


async def test_eviction_respects_budgets(api):
    await api("POST", f"{NS}/pods", pod("a"), expect=201)
    await api("PATCH", f"{NS}/pods/a/status", {"status": {"phase": "Running"}}, MERGE)
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    await api(
        "POST",
        budgets,
        {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}},
        expect=201,
    )
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    refused = await api("POST", f"{NS}/pods/a/eviction", eviction, expect=429)
    assert "would violate the pod's disruption budget" in refused["message"]
    await api("PATCH", f"{budgets}/b/status", {"status": {"disruptionsAllowed": 1}}, MERGE, expect=200)
    await api("POST", f"{NS}/pods/a/eviction", eviction, expect=201)
    assert (await api("GET", f"{budgets}/b"))["status"]["disruptionsAllowed"] == 0
    await api("GET", f"{NS}/pods/a", expect=404)


async def test_logs(api, server):
    found = await api("POST", f"{NS}/pods", pod("a", restartPolicy="Never"), expect=201)
    folder = server.data_dir / "pods" / f"default_a_{found['metadata']['uid']}"
    folder.mkdir(parents=True)
    log = folder / "main.log"
    log.write_text("one\ntwo\nthree\n")
    assert await api("GET", f"{NS}/pods/a/log") == "one\ntwo\nthree\n"
    assert await api("GET", f"{NS}/pods/a/log", tailLines="1") == "three\n"
    assert await api("GET", f"{NS}/pods/a/log", limitBytes="5") == "one\nt"
    await api("GET", f"{NS}/pods/a/log", container="other", expect=400)
    following = asyncio.create_task(api("GET", f"{NS}/pods/a/log", follow="true", tailLines="0"))
    await asyncio.sleep(0.1)
    with log.open("a") as file:
        file.write("four\n")
    await api("PATCH", f"{NS}/pods/a/status", {"status": {"phase": "Succeeded"}}, MERGE)
    assert await asyncio.wait_for(following, 5) == "four\n"


async def test_faults(api):
    rules = [
        {"path": "configmaps", "method": "GET", "status": 429, "count": 1, "retryAfter": 3},
        {"path": "secrets", "disconnect": True},
    ]
    await api("PUT", "/debug/faults", rules, expect=200)
    answer = await api("GET", f"{NS}/configmaps", expect=429)
    assert answer["details"]["retryAfterSeconds"] == 3
    await api("GET", f"{NS}/configmaps", expect=200)
    with pytest.raises(Exception, match=r"disconnect|reset|closed"):
        await api("GET", f"{NS}/secrets")
    await api("PUT", "/debug/faults", [{"pth": "x"}], expect=422)
    robot = await account(api, "robot")
    await robot("PUT", "/debug/faults", [], expect=403)
    await api("PUT", "/debug/faults", [], expect=200)
    await api("GET", f"{NS}/secrets", expect=200)


@pytest.mark.parametrize("history", ["keep", "lose"])
async def test_restart(api, history):
    first = await api("POST", f"{NS}/configmaps", {"metadata": {"name": "a"}}, expect=201)
    rv = first["metadata"]["resourceVersion"]
    await api("POST", f"{NS}/configmaps", {"metadata": {"name": "b"}}, expect=201)
    async with api.watch(f"{NS}/configmaps", resourceVersion=rv) as answer:
        assert (await event(answer))["object"]["metadata"]["name"] == "b"
        await api("POST", "/debug/restart", history=history, expect=202)
        assert await event(answer) == {}
    for _ in range(50):
        try:
            await api("GET", "/readyz", expect=200)
            break
        except OSError:
            await asyncio.sleep(0.05)
    async with api.watch(f"{NS}/configmaps", resourceVersion=rv) as answer:
        found = await event(answer)
    assert (found["type"], found["object"].get("code")) == (("ADDED", None) if history == "keep" else ("ERROR", 410))


async def test_bookmarks_and_initial_events(api):
    await api("POST", f"{NS}/configmaps", {"metadata": {"name": "a"}}, expect=201)
    options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with api.watch(f"{NS}/configmaps", **options) as answer:
        assert (await event(answer))["type"] == "ADDED"
        bookmark = await event(answer)
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api("DELETE", f"{NS}/configmaps/a")
        assert (await event(answer))["type"] == "DELETED"


async def test_pages_show_one_moment(api):
    for name in "abcd":
        await api("POST", f"{NS}/configmaps", {"metadata": {"name": name}}, expect=201)
    first = await api("GET", f"{NS}/configmaps", limit="2")
    await api("DELETE", f"{NS}/configmaps/c")
    await api("POST", f"{NS}/configmaps", {"metadata": {"name": "e"}}, expect=201)
    second = await api("GET", f"{NS}/configmaps", limit="9", **{"continue": first["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in first["items"] + second["items"]] == list("abcd")


def crd(**version) -> dict:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"plural": "toys", "kind": "Toy"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}]
    return {
        "metadata": {"name": "toys.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions},
    }


TOYS = "/apis/example.com/v1/namespaces/default/toys"


async def test_a_crd_goes_with_its_objects(api):
    await api("POST", CRDS, crd(), expect=201)
    found = await api("GET", f"{CRDS}/toys.example.com")
    assert {item["type"]: item["status"] for item in found["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    toy = {"apiVersion": "example.com/v1", "kind": "Toy", "metadata": {"name": "a"}}
    await api("POST", TOYS, toy, expect=201)
    await api("POST", TOYS, {**toy, "metadata": {"name": "b", "finalizers": ["example.com/f"]}}, expect=201)
    await api("DELETE", f"{CRDS}/toys.example.com", expect=200)
    await asyncio.sleep(0)
    await api("GET", f"{TOYS}/a", expect=404)
    held = await api("GET", f"{CRDS}/toys.example.com", expect=200)
    assert "Terminating" in {item["type"] for item in held["status"]["conditions"]}
    await api("PATCH", f"{TOYS}/b", {"metadata": {"finalizers": None}}, MERGE, expect=200)
    await asyncio.sleep(0)
    await api("GET", f"{CRDS}/toys.example.com", expect=404)
    await api("GET", TOYS, expect=404)


async def test_apply_takes_over_what_an_update_owns(api):
    await api(
        "POST",
        f"{NS}/configmaps",
        {"metadata": {"name": "a"}, "data": {"k": "1", "o": "1"}},
        fieldManager="maker",
        expect=201,
    )
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "2"}}
    refused = await api("PATCH", f"{NS}/configmaps/a", mine, APPLY, fieldManager="me", expect=409)
    assert 'conflict with "maker" using v1' in refused["message"]
    found = await api("PATCH", f"{NS}/configmaps/a", mine, APPLY, fieldManager="me", force="true", expect=200)
    owned = {item["manager"]: item["fieldsV1"]["f:data"] for item in found["metadata"]["managedFields"]}
    assert owned == {"maker": {".": {}, "f:o": {}}, "me": {"f:k": {}}}
    same = await api("PATCH", f"{NS}/configmaps/a", mine, APPLY, fieldManager="me", expect=200)
    assert same["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]


async def test_duplicate_fields(api):
    body = '{"metadata": {"name": "a"}, "data": {"k": "1", "k": "2"}}'
    refused = await api("POST", f"{NS}/configmaps", body, fieldValidation="Strict", expect=400)
    assert 'duplicate field "data.k"' in refused["message"] or 'duplicate field "k"' in refused["message"]
    found = await api("POST", f"{NS}/configmaps", body, expect=201)
    assert found["data"] == {"k": "2"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (f"{NS}/persistentvolumeclaims", {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}, "spec.accessModes"),
        (f"{NS}/configmaps", {"data": {"a b": "c"}}, "data[a b]"),
        (f"{RBAC}/clusterroles", {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}, "rules[0].verbs"),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
            "spec",
        ),
        (
            f"{NS}/pods",
            {"spec": {"containers": [{**CONTAINER, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}},
            "spec.containers[0].resources.requests",
        ),
        (
            f"{NS}/pods",
            {"spec": {"containers": [CONTAINER], "tolerations": [{"effect": "Sometimes", "operator": "Exists"}]}},
            "spec.tolerations[0].effect",
        ),
    ],
)
async def test_builtin_objects_that_are_refused(api, path, body, field):
    refused = await api("POST", path, {"metadata": {"name": "x"}, **body}, expect=422)
    assert field in [cause["field"] for cause in refused["details"]["causes"]]


async def test_gpu_requests_must_equal_their_limits(api):
    def gpus(**resources):
        return {
            "metadata": {"generateName": "g-"},
            "spec": {"containers": [{"name": "m", "image": "i", "resources": resources}]},
        }

    found = await api("POST", f"{NS}/pods", gpus(limits={"nvidia.com/gpu": 1}), expect=201)
    assert found["spec"]["containers"][0]["resources"]["requests"] == {"nvidia.com/gpu": "1"}
    await api("POST", f"{NS}/pods", gpus(requests={"nvidia.com/gpu": 1}), expect=422)
    await api("POST", f"{NS}/pods", gpus(requests={"nvidia.com/gpu": 1}, limits={"nvidia.com/gpu": 2}), expect=422)


async def test_too_large(api):
    await api("POST", f"{NS}/configmaps", {"metadata": {"name": "a"}, "data": {"k": "x" * (4 << 20)}}, expect=413)
