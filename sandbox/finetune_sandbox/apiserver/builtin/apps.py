"""Deployments, ReplicaSets, StatefulSets and DaemonSets: defaults and checks."""

from __future__ import annotations

from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, unsupported
from finetune_sandbox.apiserver.selectors import selects

from . import meta, pods

Obj = dict[str, Any]


def default_workload(plural: str, obj: Obj) -> None:
    """Fills in the defaults of a workload."""
    spec = obj.setdefault("spec", {})
    pods.default_template(spec.get("template"))
    if plural != "daemonsets":
        spec.setdefault("replicas", 1)
    if plural == "deployments":
        strategy = spec.setdefault("strategy", {})
        strategy.setdefault("type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
    elif plural == "statefulsets":
        spec.setdefault("podManagementPolicy", "OrderedReady")
        spec.setdefault("revisionHistoryLimit", 10)
        strategy = spec.setdefault("updateStrategy", {})
        strategy.setdefault("type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
        for claim in spec.get("volumeClaimTemplates") or ():
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            claim.setdefault("status", {"phase": "Pending"})
    elif plural == "daemonsets":
        strategy = spec.setdefault("updateStrategy", {})
        strategy.setdefault("type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
        spec.setdefault("revisionHistoryLimit", 10)


def validate_workload(plural: str, obj: Obj) -> list[FieldError]:
    """Checks a workload."""
    spec, errors = obj["spec"], []
    if (replicas := spec.get("replicas", 0)) < 0:
        errors.append(FieldError("Invalid", "spec.replicas", "must be greater than or equal to 0", replicas))
    selector = spec.get("selector")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is None:
        errors.append(FieldError("Required", "spec.selector"))
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(FieldError("Invalid", "spec.selector", f"empty selector is invalid for {plural[:-1]}", selector))
    if selector is None or not selects(selector, labels):
        errors.append(
            FieldError(
                "Invalid", "spec.template.metadata.labels", "`selector` does not match template `labels`", labels
            )
        )
    errors += meta.labels(labels, "spec.template.labels")
    if plural == "deployments":
        kind = spec["strategy"]["type"]
        if kind not in ("Recreate", "RollingUpdate"):
            errors.append(unsupported("spec.strategy", spec["strategy"], ["Recreate", "RollingUpdate"]))
        if kind == "Recreate" and spec["strategy"].get("rollingUpdate"):
            text = "may not be specified when strategy `type` is 'Recreate'"
            errors.append(FieldError("Forbidden", "spec.strategy.rollingUpdate", text))
    pod_spec = template.get("spec")
    if pod_spec is None:
        return [*errors, FieldError("Required", "spec.template.spec.containers")]
    claims = [{"name": claim["metadata"]["name"]} for claim in spec.get("volumeClaimTemplates") or ()]
    mountable = {**pod_spec, "volumes": [*(pod_spec.get("volumes") or ()), *claims]} if claims else pod_spec
    found = pods.validate_spec(mountable, "spec.template.spec")
    if pod_spec["restartPolicy"] in ("Never", "OnFailure"):
        found.append(unsupported("spec.template.spec.restartPolicy", pod_spec["restartPolicy"], ["Always"]))
    return errors + found


_STATEFUL_MUTABLE = frozenset(
    [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ]
)


def validate_workload_update(plural: str, obj: Obj, old: Obj) -> list[FieldError]:
    """Selectors of workloads do not change."""
    errors = validate_workload(plural, obj)
    if plural == "statefulsets":
        frozen = [
            {key: value for key, value in spec.items() if key not in _STATEFUL_MUTABLE}
            for spec in (obj["spec"], old["spec"])
        ]
        if frozen[0] != frozen[1]:
            text = (
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',"
                " 'updateStrategy',"
                " 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
            )
            errors.append(FieldError("Forbidden", "spec", text))
    elif obj["spec"].get("selector") != old["spec"].get("selector"):
        errors.append(FieldError("Invalid", "spec.selector", "field is immutable", obj["spec"].get("selector")))
    return errors
