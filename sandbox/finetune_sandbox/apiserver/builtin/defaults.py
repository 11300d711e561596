"""Defaults of the built-in kinds, by the type of the object that they are in."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

from finetune_sandbox.apiserver.resources import Resource
from finetune_sandbox.apiserver.schema.walk import parts

from . import crd

Obj = dict[str, Any]

_VOLUME_MODE = {"defaultMode": 0o644}
_ROLLING = {"type": "RollingUpdate"}
_PLAIN: dict[str, Obj] = {
    "ConfigMapVolumeSource": _VOLUME_MODE,
    "Container": {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    },
    "ContainerPort": {"protocol": "TCP"},
    "Deployment": {"spec": {}, "status": {}},
    "DeploymentSpec": {"replicas": 1, "strategy": {}, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    "DeploymentStrategy": _ROLLING,
    "DownwardAPIVolumeSource": _VOLUME_MODE,
    "Event": {
        "source": {},
        **dict.fromkeys(("firstTimestamp", "lastTimestamp", "eventTime")),
        **dict.fromkeys(("reportingComponent", "reportingInstance"), ""),
    },
    "HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    "HostPathVolumeSource": {"type": ""},
    "Job": {"spec": {}, "status": {}},
    "Namespace": {"spec": {}, "status": {}},
    "NamespaceStatus": {"phase": "Active"},
    "NetworkPolicy": {"spec": {}},
    "NetworkPolicyPort": {"protocol": "TCP"},
    "NetworkPolicySpec": {"podSelector": {}},
    "ObjectFieldSelector": {"apiVersion": "v1"},
    "PersistentVolume": {"spec": {}, "status": {}},
    "PersistentVolumeClaim": {"spec": {}, "status": {}},
    "PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    "PersistentVolumeClaimStatus": {"phase": "Pending"},
    "PersistentVolumeSpec": {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"},
    "PersistentVolumeStatus": {"phase": "Pending"},
    "Pod": {"spec": {}},
    "PodDisruptionBudget": {"status": {}},
    "PodDisruptionBudgetStatus": dict.fromkeys(
        ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0
    ),
    "PodFailurePolicyOnPodConditionsPattern": {"status": "True"},
    "PodSpec": {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    },
    "PodTemplateSpec": {"metadata": {}, "spec": {}},
    "PriorityClass": {"value": 0, "preemptionPolicy": "PreemptLowerPriority"},
    "Probe": {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
    "ProjectedVolumeSource": _VOLUME_MODE,
    "ReplicaSet": {"spec": {}, "status": {}},
    "ReplicaSetSpec": {"replicas": 1},
    "ReplicaSetStatus": {"replicas": 0},
    "ResourceQuota": {"spec": {}, "status": {}},
    "RoleBinding": {"roleRef": {}},
    "ClusterRoleBinding": {"roleRef": {}},
    "RoleRef": {"apiGroup": "rbac.authorization.k8s.io"},
    "Secret": {"type": "Opaque"},
    "SecretVolumeSource": _VOLUME_MODE,
    "Service": {"spec": {}, "status": {"loadBalancer": {}}},
    "ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    "ServicePort": {"protocol": "TCP"},
    "ServiceSpec": {"type": "ClusterIP", "sessionAffinity": "None"},
    "StatefulSet": {"spec": {}, "status": {}},
    "StatefulSetSpec": {
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": 10,
        "updateStrategy": {},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    },
    "StatefulSetStatus": {"replicas": 0, "availableReplicas": 0},
    "StatefulSetUpdateStrategy": _ROLLING,
    "StorageClass": {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
}


def _container(container: Obj) -> None:
    image = container.get("image", "").rpartition("/")[2]
    latest = "@" not in image and (":" not in image or image.endswith(":latest"))
    container.setdefault("imagePullPolicy", "Always" if latest and image else "IfNotPresent")


def _resources(resources: Obj) -> None:
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **resources.get("requests", {})}


def _variable(variable: Obj) -> None:
    if variable.get("value") == "" and "valueFrom" not in variable:
        del variable["value"]


def _volume(volume: Obj) -> None:
    if not set(volume) - {"name"}:
        volume["emptyDir"] = {}


def _pod_spec(spec: Obj) -> None:
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    if spec.get("hostNetwork"):
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            for port in container.get("ports") or ():
                port.setdefault("hostPort", port.get("containerPort"))


def _pod(pod: Obj) -> None:
    pod["spec"].setdefault("enableServiceLinks", True)


def _job(job: Obj) -> None:
    spec = job["spec"]
    spec |= {"completionMode": "NonIndexed", "suspend": False, "manualSelector": False} | spec
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")


def _rolling(**values: Any) -> Callable[[Obj], None]:
    def fill(strategy: Obj) -> None:
        if strategy["type"] == "RollingUpdate":
            strategy["rollingUpdate"] = {**values, **(strategy.get("rollingUpdate") or {})}

    return fill


def _service_spec(spec: Obj) -> None:
    if spec["type"] != "ExternalName":
        for key, value in (("internalTrafficPolicy", "Cluster"), ("ipFamilyPolicy", "SingleStack")):
            spec.setdefault(key, value)
        spec.setdefault("ipFamilies", ["IPv4"])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _service_port(port: Obj) -> None:
    if port.get("targetPort") in (None, "", 0):
        port["targetPort"] = port.get("port", 0)


def _secret(secret: Obj) -> None:
    for key, value in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()


def _namespace(namespace: Obj) -> None:
    meta = namespace["metadata"]
    meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta.get("name", "")


def _subject(subject: Obj) -> None:
    if subject.get("kind") in ("User", "Group"):
        subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _policy_spec(spec: Obj) -> None:
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


_COMPUTED: dict[str, Callable[[Obj], None]] = {
    "Container": _container,
    "CustomResourceDefinition": crd.default,
    "DeploymentStrategy": _rolling(maxUnavailable="25%", maxSurge="25%"),
    "EnvVar": _variable,
    "Job": _job,
    "Namespace": _namespace,
    "NetworkPolicySpec": _policy_spec,
    "Pod": _pod,
    "PodSpec": _pod_spec,
    "ResourceRequirements": _resources,
    "Secret": _secret,
    "ServicePort": _service_port,
    "ServiceSpec": _service_spec,
    "StatefulSetUpdateStrategy": _rolling(partition=0),
    "Subject": _subject,
    "Volume": _volume,
}
"""What depends on other fields; fills in after the plain values of the same object."""


def default(resource: Resource, obj: Obj) -> None:
    """Fills in the defaults of an object, in place."""
    for kind, part, _ in parts(obj, resource.node):
        for key, value in _PLAIN.get(kind, {}).items():
            if key not in part:
                part[key] = copy.deepcopy(value)
        if found := _COMPUTED.get(kind):
            found(part)
