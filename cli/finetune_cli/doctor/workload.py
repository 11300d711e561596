"""Checks of what a resource asks of the cluster: nodes, quota, queue, volumes, image, data. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetune_operator.api import FinetuneJob
from finetune_operator.api.shared import TrainerSpec

from finetune_cli.cluster import Object
from finetune_cli.doctor.facts import Facts, Finding, Unknown, fault, ok, unknown
from finetune_cli.reasons import FIXES

_UNAVAILABLE_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?")


def trainer(facts: Facts) -> TrainerSpec | None:
    """How the resource's pods run."""
    return facts.resource.parsed.spec.trainer if facts.resource else None


def reference(facts: Facts) -> Iterator[Finding]:
    """The SweepRun that hyperparameters come from exists."""
    if facts.resource is None or not isinstance(facts.resource.parsed, FinetuneJob):
        return
    source = facts.resource.parsed.spec.hyperparameters_from
    if source is None or facts.source_exists is None:
        return
    name = source.sweep_run_ref.name
    if isinstance(facts.source_exists, Unknown):
        yield unknown("hyperparameters", facts.source_exists)
    elif not facts.source_exists:
        fix = f"submit a SweepRun named {name}, or correct spec.hyperparametersFrom.sweepRunRef.name"
        yield fault("hyperparameters", f"SweepRun {name} does not exist in {facts.namespace}", fix)
    else:
        yield ok("hyperparameters", f"SweepRun {name} exists")


def nodes(facts: Facts) -> Iterator[Finding]:
    """Some node can take a pod with as many GPUs as asked for."""
    spec = trainer(facts)
    resource = spec.resources.gpu_resource if spec else "nvidia.com/gpu"
    wanted = spec.resources.gpus if spec else 0
    if isinstance(facts.nodes, Unknown):
        yield unknown("gpus", facts.nodes)
        return
    if spec is not None and wanted == 0:
        yield ok("gpus", "none asked for")
        return
    offers = {node["metadata"]["name"]: gpus(node, resource) for node in facts.nodes}
    if not any(offers.values()):
        message = f"no node offers {resource}"
        if spec is None:
            yield unknown("gpus", message, "add GPU nodes with their device plugin, unless you train on CPUs")
        else:
            fix = "add GPU nodes and install their device plugin, or correct spec.trainer.resources.gpuResource"
            yield fault("gpus", message, fix)
        return
    if (most := max(offers.values())) < wanted:
        fix = f"set spec.trainer.resources.gpus to {most} or less; spec.trainer.nodes spreads a training over nodes"
        yield fault("gpus", f"a pod asks for {wanted} {resource}, the largest node has {most}", fix)
        return
    fitting = [node for node in facts.nodes if offers[node["metadata"]["name"]] >= max(1, wanted)]
    barred = {node["metadata"]["name"]: why for node in fitting if (why := bar(node, spec))}
    if len(barred) == len(fitting):
        listed = "; ".join(f"{name}: {why}" for name, why in sorted(barred.items()))
        fix = "tolerate the taint in spec.trainer.podTemplate.spec.tolerations, or uncordon the node"
        yield fault("gpus", f"no GPU node takes the pod: {listed}", fix)
    else:
        yield ok(
            "gpus", f"{len(fitting) - len(barred)} of {len(facts.nodes)} nodes fit, the largest with {most} {resource}"
        )


def gpus(node: Object, resource: str) -> int:
    """GPUs that a node offers."""
    try:
        return int(node.get("status", {}).get("allocatable", {}).get(resource, 0))
    except ValueError:
        return 0


def bar(node: Object, spec: TrainerSpec | None) -> str | None:
    """Why a node takes no pod of ours: cordoned, not ready, or a taint that is not tolerated."""
    if node.get("spec", {}).get("unschedulable"):
        return "cordoned"
    ready = next((c for c in node.get("status", {}).get("conditions") or () if c["type"] == "Ready"), None)
    if ready is not None and ready["status"] != "True":
        return "not ready"
    tolerations = (spec.pod_template.get("spec") or {}).get("tolerations") or [] if spec else []
    for taint in node.get("spec", {}).get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not any(tolerates(t, taint) for t in tolerations):
            return f"taint {taint['key']}={taint.get('value', '')}:{taint['effect']}"
    return None


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether a toleration matches a taint, as the scheduler judges it."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def quota(facts: Facts) -> Iterator[Finding]:
    """No ResourceQuota of the namespace is used up in what the pods need."""
    if isinstance(facts.quotas, Unknown):
        yield unknown("quota", facts.quotas)
        return
    spec = trainer(facts)
    gpu = spec.resources.gpu_resource if spec else "nvidia.com/gpu"
    needs = {"pods", "count/jobs.batch"} | ({f"requests.{gpu}"} if spec is None or spec.resources.gpus else set())
    full = []
    for item in facts.quotas:
        hard, used = (
            item.get("status", {}).get("hard") or item["spec"].get("hard", {}),
            item.get("status", {}).get("used", {}),
        )
        for key in sorted(needs & set(hard)):
            demand = spec.resources.gpus if spec and key.startswith("requests.") else 1
            if _count(used.get(key, 0)) + demand > _count(hard[key]):
                full.append(f"{item['metadata']['name']}: {key} {used.get(key, 0)} of {hard[key]} used")
    own = facts.resource is not None and any(
        _active(pod) for pod in (facts.pods if not isinstance(facts.pods, Unknown) else ())
    )
    if full and not own:
        fix = "wait for other work to end, lower spec.parallelism or spec.trainer.resources, or have the quota raised"
        yield fault("quota", f"a ResourceQuota leaves no room: {'; '.join(full)}", fix)
    else:
        yield ok("quota", "leaves room" if facts.quotas else "none")


def _active(pod: Object) -> bool:
    return str(pod.get("status", {}).get("phase")) == "Running"


def _count(quantity: object) -> float:
    text = str(quantity)
    scale = {"k": 1e3, "M": 1e6, "m": 1e-3}.get(text[-1:], 1.0)
    try:
        return float(text.rstrip("kMm")) * scale
    except ValueError:
        return 0.0


def queue(facts: Facts) -> Iterator[Finding]:
    """The Kueue LocalQueue exists."""
    spec = trainer(facts)
    if spec is None or spec.queue_name is None or facts.queue_exists is None:
        return
    if isinstance(facts.queue_exists, Unknown):
        yield unknown("queue", facts.queue_exists)
    elif not facts.queue_exists:
        fix = "install Kueue and create the LocalQueue, or remove spec.trainer.queueName"
        yield fault("queue", f"LocalQueue {spec.queue_name} does not exist in {facts.namespace}", fix)
    else:
        yield ok("queue", f"LocalQueue {spec.queue_name} exists")


def claims(facts: Facts) -> Iterator[Finding]:
    """The volumes that the pods mount exist."""
    for name, claim in facts.claims.items():
        if isinstance(claim, Unknown):
            yield unknown("volumes", claim)
        elif claim is None:
            fix = "create it (kubectl apply a PersistentVolumeClaim), or correct the name in spec.trainer"
            yield fault("volumes", f"PersistentVolumeClaim {name} does not exist in {facts.namespace}", fix)
        elif claim.get("status", {}).get("phase") == "Lost":
            yield fault("volumes", f"PersistentVolumeClaim {name} has lost its volume", "restore or recreate it")
        else:
            yield ok("volumes", f"PersistentVolumeClaim {name} exists")


def image(facts: Facts) -> Iterator[Finding]:
    """The trainer's image can be pulled, as far as pods have tried."""
    spec = trainer(facts)
    if spec is None:
        return
    if spec.image is not None and not _IMAGE.fullmatch(spec.image):
        yield fault("image", f"spec.trainer.image {spec.image!r} is not an image reference", "write registry/name:tag")
        return
    if isinstance(facts.pods, Unknown):
        yield unknown("image", facts.pods)
        return
    for pod in facts.pods:
        for status in pod.get("status", {}).get("containerStatuses") or ():
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _UNAVAILABLE_IMAGE:
                fix = "correct spec.trainer.image, or add an imagePullSecret to the namespace's ServiceAccount"
                detail = waiting.get("message") or waiting["reason"]
                pod_name, wanted = pod["metadata"]["name"], status.get("image")
                yield fault("image", f"pod {pod_name} cannot pull {wanted}: {detail}", fix)
                return
    seen = any(
        (s.get("state") or {}).keys() & {"running", "terminated"}
        for p in facts.pods
        for s in p.get("status", {}).get("containerStatuses") or ()
    )
    yield ok("image", "pulled") if seen else unknown("image", "no pod has tried to pull it yet", "--probe starts one")


def dataset(facts: Facts) -> Iterator[Finding]:
    """The dataset can be read by a pod."""
    if facts.resource is None:
        return
    parsed, uri = facts.resource.parsed, facts.resource.parsed.spec.trainer.dataset.uri
    said = parsed.status.failure if isinstance(parsed, FinetuneJob) else None
    fix = "name a JSONL or Parquet manifest that the pods reach; mount its volume in spec.trainer.podTemplate"
    reason = facts.resource.condition("Ready")
    if isinstance(facts.dataset, Unknown):
        yield unknown("dataset", facts.dataset)
    elif facts.dataset is not None:
        yield (
            ok("dataset", facts.dataset.detail)
            if facts.dataset.readable
            else fault("dataset", facts.dataset.detail, fix)
        )
    elif said is not None and said.failure_class == "BadData":
        yield fault("dataset", said.message or f"{uri} is not usable", fix)
    elif reason is not None and reason.reason == "BadData":
        yield fault("dataset", reason.message, fix)
    elif parsed.status.usage is not None and float(parsed.status.usage.gpu_hours) > 0:
        yield ok("dataset", uri)
    else:
        yield unknown(
            "dataset", f"{uri} is read by the pods, not from here", "--probe reads it in a pod of the trainer's image"
        )


def resource(facts: Facts) -> Iterator[Finding]:
    """What the operator itself says."""
    if facts.resource is None:
        return
    ready = facts.resource.condition("Ready")
    if ready is None or not facts.resource.observed:
        return
    if facts.resource.holds("Stalled"):
        fix = FIXES.get(ready.reason, "correct the spec; the message names the field")
        yield fault("resource", f"{facts.resource.label}: {ready.reason}: {ready.message}", fix)
    elif ready.reason in FIXES and facts.resource.outcome is None:
        yield fault("resource", f"{facts.resource.label} waits: {ready.reason}: {ready.message}", FIXES[ready.reason])
    else:
        yield ok("resource", f"{facts.resource.label}: {ready.reason}")
