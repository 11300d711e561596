"""Where pods fit, as a table, with the texts that users of kube-scheduler know."""

import pytest
from finetune_sandbox.controllers.scheduling import Node, choose
from finetune_sandbox.objects import pod_requests
from finetune_sandbox.quantity import parse


def a_node(name="a", *, labels=None, taints=(), ready=True, cordoned=False, used=None, pods=0, **allocatable):
    room = {
        "cpu": "4",
        "memory": "8Gi",
        "pods": "10",
        **{key.replace("_", "/"): value for key, value in allocatable.items()},
    }
    obj = {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints), "unschedulable": cordoned},
        "status": {"allocatable": room, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    return Node(obj, {key: parse(value) for key, value in (used or {}).items()}, pods)


def a_pod(**spec):
    requests = spec.pop("requests", {})
    return {"spec": {"containers": [{"name": "main", "resources": {"requests": requests}}], **spec}}


GPU_NODE = a_node("gpu", labels={"gpu": "h100"}, **{"nvidia.com_gpu": "2"})
TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("pod", "nodes", "chosen", "message"),
    [
        (a_pod(), [], None, "no nodes available to schedule pods"),
        (a_pod(), [a_node()], "a", ""),
        (a_pod(requests={"nvidia.com/gpu": 1}), [a_node(), GPU_NODE], "gpu", ""),
        (
            a_pod(requests={"nvidia.com/gpu": 3}),
            [a_node(), GPU_NODE],
            None,
            "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
        ),
        (
            a_pod(requests={"cpu": "5", "memory": "9Gi"}),
            [a_node()],
            None,
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
        ),
        (a_pod(requests={"cpu": "1500m"}), [a_node(used={"cpu": "2600m"}), a_node("b")], "b", ""),
        (a_pod(), [a_node(pods=10)], None, "0/1 nodes are available: 1 Too many pods."),
        (a_pod(), [a_node(cordoned=True)], None, "0/1 nodes are available: 1 node(s) were unschedulable."),
        (a_pod(), [a_node(ready=False)], None, "0/1 nodes are available: 1 node(s) were not ready."),
        (
            a_pod(),
            [a_node(taints=[TAINT])],
            None,
            "0/1 nodes are available: 1 node(s) had untolerated taint(s) {dedicated: gpu}.",
        ),
        (a_pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]), [a_node(taints=[TAINT])], "a", ""),
        (a_pod(tolerations=[{"key": "dedicated", "value": "cpu"}]), [a_node(taints=[TAINT]), a_node("b")], "b", ""),
        (a_pod(nodeSelector={"gpu": "h100"}), [a_node(), GPU_NODE], "gpu", ""),
        (
            a_pod(nodeSelector={"gpu": "a100"}),
            [a_node(), GPU_NODE],
            None,
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
        ),
    ],
)
def test_choice(pod, nodes, chosen, message):
    assert choose(pod, nodes) == (chosen, message)


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [("In", ["h100"], True), ("NotIn", ["h100"], False), ("Exists", [], True), ("DoesNotExist", [], False)],
)
def test_node_affinity(operator, values, fits):
    term = {"matchExpressions": [{"key": "gpu", "operator": operator, "values": values}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    assert (choose(a_pod(affinity={"nodeAffinity": required}), [GPU_NODE]).node == "gpu") is fits


def test_a_pod_asks_for_the_sum_of_its_containers_or_its_largest_init_container():
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "500m"}}}, {"resources": {"limits": {"cpu": "1"}}}],
        "initContainers": [{"resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}],
    }
    assert pod_requests(spec) == {"cpu": parse(2), "memory": parse("1Gi")}
