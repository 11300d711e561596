"""Which node a pod fits on: resources, node selector, node affinity, taints; with the texts of kube-scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from finetune_sandbox.objects import Object, expression_matches, pod_requests
from finetune_sandbox.quantity import parse

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True)
class Node:
    """A node and what its pods ask for together."""

    obj: Object
    used: Mapping[str, Decimal]
    pods: int

    @property
    def name(self) -> str:
        """The node's name."""
        return str(self.obj["metadata"]["name"])

    def free(self, resource: str) -> Decimal:
        """What is left of a resource."""
        allocatable = (self.obj.get("status") or {}).get("allocatable") or {}
        return parse(allocatable.get(resource, 0)) - self.used.get(resource, Decimal(0))


class Choice(NamedTuple):
    """A node's name, or the message why there is none."""

    node: str | None
    message: str


def choose(pod: Object, nodes: Sequence[Node]) -> Choice:
    """The fitting node with the most room, so that pods spread."""
    reasons: Counter[str] = Counter()
    fitting = []
    for node in nodes:
        against = objections(pod, node)
        reasons.update(against)
        if not against:
            fitting.append(node)
    if fitting:
        best = max(fitting, key=lambda node: (node.free("nvidia.com/gpu"), -node.pods, node.free("cpu"), node.name))
        return Choice(best.name, "")
    if not nodes:
        return Choice(None, "no nodes available to schedule pods")
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return Choice(None, f"0/{len(nodes)} nodes are available: {listed}.")


def objections(pod: Object, node: Node) -> list[str]:
    """Why the pod cannot run on the node; the first kind of reason found counts, as in kube-scheduler."""
    spec = pod["spec"]
    if not _ready(node.obj):
        return ["node(s) were not ready"]
    if node.obj["spec"].get("unschedulable") and not _tolerated(UNSCHEDULABLE, spec):
        return ["node(s) were unschedulable"]
    for taint in node.obj["spec"].get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerated(taint, spec):
            return [f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"]
    if not selects(spec, node.obj):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if node.pods + 1 > node.free("pods"):
        return ["Too many pods"]
    return [
        f"Insufficient {name}" for name, amount in pod_requests(spec).items() if amount and amount > node.free(name)
    ]


def selects(spec: Object, node: Object) -> bool:
    """Whether the pod's nodeSelector and required node affinity admit the node."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(expression_matches(rule, labels) for rule in term.get("matchExpressions") or ())
        and all(expression_matches(rule, fields) for rule in term.get("matchFields") or ())
        for term in affinity["nodeSelectorTerms"]
        if term.get("matchExpressions") or term.get("matchFields")
    )


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether one toleration covers one taint."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _tolerated(taint: Object, spec: Object) -> bool:
    return any(tolerates(toleration, taint) for toleration in spec.get("tolerations") or ())


def _ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
