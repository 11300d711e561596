"""Reads the facts that the checks judge; what may not be read becomes an `Unknown` and hides nothing else."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from finetune_operator.api import GROUP, FinetuneJob, FinetuneJobSpec, SweepRunSpec
from finetune_operator.names import UID_LABEL

from finetune_cli.cluster import PLURALS, Cluster, Object, path, resource_path
from finetune_cli.doctor.facts import RIGHTS, Facts, Right, TrackerAnswer, Unknown
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource
from finetune_cli.tracker import CLOUD, Address, Tracker, address

T = TypeVar("T")

_SPECS: dict[str, type[SweepRunSpec] | type[FinetuneJobSpec]] = {
    "SweepRun": SweepRunSpec,
    "FinetuneJob": FinetuneJobSpec,
}
_OPERATOR = "app.kubernetes.io/part-of=finetune-operator,app.kubernetes.io/component=operator"


def attempt(read: Callable[[], T]) -> T | Unknown:
    """What `read` returns, or why it could not; a cluster that does not answer at all is no `Unknown`."""
    try:
        return read()
    except CliError as error:
        if error.exit_code == ExitCode.UNREACHABLE:
            raise
        return Unknown(error.message)


def facts(cluster: Cluster, resource: Resource | None, tracker_url: str | None) -> Facts:
    """Everything but the probe."""
    namespace = resource.namespace if resource else cluster.namespace
    secret = attempt(lambda: cluster.get(path("secrets", namespace, _secret_ref(resource)[0])))
    operators = attempt(lambda: _operators(cluster, namespace))
    return Facts(
        namespace=namespace,
        namespace_exists=attempt(lambda: cluster.get(path("namespaces", None, namespace)) is not None),
        crds=attempt(lambda: _definitions(cluster)),
        wanted_fields=_wanted_fields(),
        missing_rights=attempt(lambda: _missing_rights(cluster, namespace)),
        operators=operators,
        resource=resource,
        submitted=_age(resource),
        source_exists=_source_exists(cluster, resource),
        secret=secret,
        tracker=_ask_tracker(resource, secret, tracker_url, operators),
        nodes=attempt(lambda: cluster.items(path("nodes", None))),
        pods=attempt(lambda: _pods(cluster, resource)),
        claims={
            name: attempt(lambda name=name: cluster.get(path("persistentvolumeclaims", namespace, name)))  # type: ignore[misc]
            for name in _claim_names(resource)
        },
        quotas=attempt(lambda: cluster.items(path("resourcequotas", namespace))),
        queue_exists=_queue_exists(cluster, resource),
    )


def _definitions(cluster: Cluster) -> dict[str, Object | None]:
    names = [f"{plural}.{GROUP}" for plural in PLURALS.values()]
    where = "customresourcedefinitions"
    return {name: cluster.get(path(where, None, name, group="apiextensions.k8s.io")) for name in names}


def _wanted_fields() -> dict[str, set[str]]:
    return {
        f"{PLURALS[kind]}.{GROUP}": {str(f.alias or name) for name, f in model.model_fields.items()}
        for kind, model in _SPECS.items()
    }


def _missing_rights(cluster: Cluster, namespace: str) -> tuple[Right, ...]:
    return tuple(right for right in RIGHTS if not cluster.allowed(right.verb, right.group, right.resource, namespace))


def _operators(cluster: Cluster, namespace: str) -> list[Object]:
    """Deployments of the operator: in all namespaces where that may be read, else in this one."""
    try:
        return cluster.items(path("deployments", None, group="apps"), labelSelector=_OPERATOR)
    except CliError as error:
        if error.exit_code != ExitCode.FORBIDDEN:
            raise
    return cluster.items(path("deployments", namespace, group="apps"), labelSelector=_OPERATOR)


def _age(resource: Resource | None) -> float:
    created = (resource.raw["metadata"].get("creationTimestamp") or "") if resource else ""
    if not created:
        return 0.0
    moments = (
        [created, *(m.get("time") or "" for m in resource.raw["metadata"].get("managedFields") or ())]
        if resource
        else []
    )
    latest = max(m for m in moments if m)
    return (datetime.now(UTC) - datetime.fromisoformat(latest)).total_seconds()


def _source_exists(cluster: Cluster, resource: Resource | None) -> bool | Unknown | None:
    if (
        resource is None
        or not isinstance(resource.parsed, FinetuneJob)
        or resource.parsed.spec.hyperparameters_from is None
    ):
        return None
    name = resource.parsed.spec.hyperparameters_from.sweep_run_ref.name
    return attempt(lambda: cluster.get(resource_path("SweepRun", resource.namespace, name)) is not None)


def _secret_ref(resource: Resource | None) -> tuple[str, str]:
    if resource is None:
        return "wandb", "api-key"
    ref = resource.parsed.spec.wandb.api_key_secret_ref
    return ref.name, ref.key


def _pods(cluster: Cluster, resource: Resource | None) -> list[Object]:
    if resource is None or "uid" not in resource.raw["metadata"]:
        return []
    return cluster.items(
        path("pods", resource.namespace), labelSelector=f"{UID_LABEL}={resource.raw['metadata']['uid']}"
    )


def _claim_names(resource: Resource | None) -> list[str]:
    if resource is None:
        return []
    trainer = resource.parsed.spec.trainer
    volumes = (trainer.pod_template.get("spec") or {}).get("volumes") or []
    found = [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]
    return sorted({*found, *([trainer.checkpoints.claim_name] if trainer.checkpoints else [])})


def _queue_exists(cluster: Cluster, resource: Resource | None) -> bool | Unknown | None:
    queue = resource.parsed.spec.trainer.queue_name if resource else None
    if resource is None or queue is None:
        return None
    where = path("localqueues", resource.namespace, queue, group="kueue.x-k8s.io", version="v1beta1")
    return attempt(lambda: cluster.get(where) is not None)


def _ask_tracker(
    resource: Resource | None, secret: Object | Unknown | None, url: str | None, operators: Any
) -> TrackerAnswer | Unknown:
    name = _secret_ref(resource)[1]
    key = os.environ.get("WANDB_API_KEY")
    if isinstance(secret, dict) and name in (secret.get("data") or {}):
        key = base64.b64decode(secret["data"][name]).decode("utf-8", "replace").strip()
    if not key:
        return Unknown("without an API key the tracker cannot be asked")
    installed = _installed_tracker(operators)
    if resource is None:
        where = Address(url or installed or os.environ.get("WANDB_BASE_URL") or CLOUD, "", None)
    else:
        environment = {"WANDB_BASE_URL": installed} if installed else os.environ
        where = address(resource, url, environment)
    try:
        viewer = Tracker(where, key).viewer()
    except CliError as error:
        refused = "refused the API key" in error.message
        detail = error.message.partition("does not answer: ")[2] or error.message
        return TrackerAnswer(where.base_url, "refused" if refused else "unreachable", detail)
    if not viewer:
        return TrackerAnswer(where.base_url, "refused")
    return TrackerAnswer(where.base_url, "accepted", user=str(viewer.get("username") or viewer.get("entity") or ""))


def _installed_tracker(operators: Any) -> str | None:
    """The tracker that the operator was installed with."""
    for deployment in operators if isinstance(operators, list) else ():
        for container in deployment["spec"].get("template", {}).get("spec", {}).get("containers") or ():
            for variable in container.get("env") or ():
                if variable["name"] == "FINETUNE_WANDB_BASE_URL":
                    return str(variable.get("value") or "") or None
    return None
