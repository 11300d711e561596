"""Builders of child objects: arguments in, manifest out."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from finetune_trainer.contract import CONFIG_ENV, CONFIG_PATH, ExitCode, TrialConfig

from finetune_operator import names, podtemplate
from finetune_operator.api import API_VERSION
from finetune_operator.api.shared import SecretKeyRef, TrainerSpec
from finetune_operator.trial import CHECKPOINT_MOUNT, Identity, TrackerAddress

_SCRATCH = "/var/run/finetune"
_RENDEZVOUS_PORTS = range(20000, 30000)
"""Below those that Linux gives to outgoing connections."""
_TERMINATION_GRACE_SECONDS = 120
"""Time to write a checkpoint and to flush the run after SIGTERM."""
_AGENT_BACKOFF_LIMIT = 6


@dataclass(frozen=True, slots=True)
class JobRequest:
    """All that decides the manifest of a child Job.

    Attributes:
        document: What the trainer is to do.
        parallelism: Agents at a time; for a training its nodes.
        inputs: Digest of what a training is made from; None for agents.
    """

    owner: Identity
    name: str
    document: TrialConfig
    mode: Literal["agent", "train"]
    round: int
    stage: int
    attempt: int
    parallelism: int
    trainer: TrainerSpec
    image: str
    tracker: TrackerAddress
    api_key: SecretKeyRef
    inputs: str | None = None


def owner_reference(owner: Identity) -> dict[str, Any]:
    """The controller reference of a child."""
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child_labels(owner: Identity) -> dict[str, str]:
    """Labels by which children are watched and found."""
    return {
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.KIND_LABEL: owner.kind,
        names.NAME_LABEL: names.bounded(owner.name),
        names.UID_LABEL: owner.uid,
    }


def agent_selector(owner: Identity) -> str:
    """Label selector of a resource's pods, for the scale subresource."""
    return f"{names.UID_LABEL}={owner.uid}"


def _metadata(owner: Identity, name: str, **labels: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {**child_labels(owner), **labels},
        "ownerReferences": [owner_reference(owner)],
    }


def best_config_map(owner: Identity, data: dict[str, Any]) -> dict[str, Any]:
    """The best configuration as the ConfigMap `<name>-best`, for other tools and GitOps repositories."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(owner, names.child_name(owner.name, "best")),
        "data": {
            key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in data.items()
        },
    }


def headless_service(owner: Identity, name: str) -> dict[str, Any]:
    """Gives the pods of an Indexed Job the host names by which they find each other."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(owner, name),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "rendezvous", "port": rendezvous_port(name)}],
        },
    }


def job(request: JobRequest) -> dict[str, Any]:
    """The batch/v1 Job of an attempt.

    The trial's document travels as an annotation of the pod, which the downward API mounts as a file: one object to
    write instead of two, and no Job without its document whenever the operator dies.
    """
    trainer = request.trainer
    labels = {
        names.ROUND_LABEL: str(request.round),
        names.STAGE_LABEL: str(request.stage),
        names.ATTEMPT_LABEL: str(request.attempt),
    }
    queue = {names.QUEUE_LABEL: trainer.queue_name} if trainer.queue_name else {}
    template = {
        "metadata": {
            "labels": {**child_labels(request.owner), **labels},
            "annotations": {
                names.TRIAL_ANNOTATION: request.document.model_dump_json(by_alias=True, exclude_none=True),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _TERMINATION_GRACE_SECONDS,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [_container(request)],
            "volumes": _volumes(request),
        },
    }
    spec: dict[str, Any] = {
        "parallelism": request.parallelism,
        "backoffLimit": _AGENT_BACKOFF_LIMIT if request.mode == "agent" else 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": _pod_failure_policy(),
        "template": podtemplate.merge(template, trainer.pod_template),
    }
    if trainer.nodes > 1:
        spec["completionMode"] = "Indexed"
        spec["completions"] = trainer.nodes
        spec["template"]["spec"]["subdomain"] = request.name
    elif request.mode == "train":
        spec["completions"] = 1
    metadata = _metadata(request.owner, request.name, **labels, **queue)
    if request.inputs is not None:
        metadata["annotations"] = {names.INPUTS_ANNOTATION: request.inputs}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": spec,
    }


def _pod_failure_policy() -> dict[str, Any]:
    """Disruptions and preemptions are no failures, bad input ends the Job, the rest counts towards backoffLimit."""
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {
                "action": "Ignore",
                "onExitCodes": {
                    "containerName": names.CONTAINER,
                    "operator": "In",
                    "values": [int(ExitCode.PREEMPTED)],
                },
            },
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": names.CONTAINER,
                    "operator": "In",
                    "values": [int(ExitCode.BAD_INPUT)],
                },
            },
        ]
    }


def _container(request: JobRequest) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": names.CONTAINER,
        "image": request.image,
        "args": [request.mode],
        "env": _environment(request),
        "resources": _resources(request.trainer),
        "terminationMessagePolicy": "File",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "trial", "mountPath": CONFIG_PATH.rsplit("/", 1)[0], "readOnly": True},
            {"name": "scratch", "mountPath": _SCRATCH},
            *([{"name": "checkpoints", "mountPath": CHECKPOINT_MOUNT}] if request.trainer.checkpoints else []),
        ],
    }
    if request.trainer.image_pull_policy:
        container["imagePullPolicy"] = request.trainer.image_pull_policy
    if request.trainer.nodes > 1:
        container["ports"] = [{"name": "rendezvous", "containerPort": rendezvous_port(request.name)}]
    return container


def rendezvous_port(name: str) -> int:
    """Port on which the processes of a training meet; one per Job, as pods on the host's network share theirs."""
    return _RENDEZVOUS_PORTS[zlib.crc32(name.encode()) % len(_RENDEZVOUS_PORTS)]


def _launch(request: JobRequest) -> list[dict[str, Any]]:
    """Torchrun's variables, by which the trainer starts one process per GPU and finds those of the other pods."""
    trainer = request.trainer
    plain: dict[str, str] = {}
    if trainer.resources.gpus > 1:
        plain["PET_NPROC_PER_NODE"] = str(trainer.resources.gpus)
    if trainer.nodes == 1:
        return [{"name": name, "value": value} for name, value in plain.items()]
    plain |= {
        "PET_NNODES": str(trainer.nodes),
        "PET_MASTER_ADDR": f"{request.name}-0.{request.name}.{request.owner.namespace}.svc",
        "PET_MASTER_PORT": str(rendezvous_port(request.name)),
    }
    index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        {"name": "PET_NODE_RANK", "valueFrom": index},
    ]


def _environment(request: JobRequest) -> list[dict[str, Any]]:
    plain = {
        CONFIG_ENV: CONFIG_PATH,
        "WANDB_BASE_URL": request.tracker.base_url,
        "WANDB_PROJECT": request.tracker.project,
        **({"WANDB_ENTITY": request.tracker.entity} if request.tracker.entity else {}),
        "WANDB_DIR": _SCRATCH,
        "WANDB_CACHE_DIR": f"{_SCRATCH}/wandb-cache",
        "WANDB_DATA_DIR": f"{_SCRATCH}/wandb-data",
        "TMPDIR": _SCRATCH,
        "OMP_NUM_THREADS": str(cpu_threads(request.trainer.resources.cpu)),
    }
    key = {"name": request.api_key.name, "key": request.api_key.key}
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": key}},
        *_launch(request),
    ]


def cpu_threads(cpu: str | None) -> int:
    """Threads for a CPU request: at least 1, a fraction rounds up; 1 when nothing is requested."""
    if cpu is None:
        return 1
    cores = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
    return max(1, math.ceil(cores))


def _resources(trainer: TrainerSpec) -> dict[str, Any]:
    spec = trainer.resources
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if spec.cpu:
        requests["cpu"] = spec.cpu
    if spec.memory:
        requests["memory"] = limits["memory"] = spec.memory
    if spec.gpus:
        requests[spec.gpu_resource] = limits[spec.gpu_resource] = str(spec.gpus)
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def _volumes(request: JobRequest) -> list[dict[str, Any]]:
    field = {"fieldRef": {"fieldPath": f"metadata.annotations['{names.TRIAL_ANNOTATION}']"}}
    volumes: list[dict[str, Any]] = [
        {"name": "trial", "downwardAPI": {"items": [{"path": CONFIG_PATH.rsplit("/", 1)[1], **field}]}},
        {"name": "scratch", "emptyDir": {}},
    ]
    if request.trainer.checkpoints:
        claim = {"claimName": request.trainer.checkpoints.claim_name}
        volumes.append({"name": "checkpoints", "persistentVolumeClaim": claim})
    return volumes
