"""Rendering, Kubernetes' own schemas, and the Pod Security Standard `restricted`, for the tests of the installation."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import charts.generate
from charts.generate import CHART, MANIFESTS, ROOT

__all__ = [
    "CHART",
    "KUBERNETES",
    "MANIFESTS",
    "ROOT",
    "SETS",
    "load_all",
    "of_kind",
    "pod_specs",
    "render",
    "schema_errors",
    "security_errors",
    "value_set",
]

Json = dict[str, Any]
KUBERNETES = ("1.29", "1.30", "1.31", "1.32", "1.33")
SETS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
FOREIGN_GROUPS = ("monitoring.coreos.com/", "finetune.dev/")  # kinds that Kubernetes itself has no schema of
CONTROLLERS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}


@functools.cache
def _rendered(values: str, name: str, namespace: str) -> str:
    return json.dumps(charts.generate.render(json.loads(values), name=name, namespace=namespace))


def render(values: Json, *, name: str = "finetune-operator", namespace: str = "finetune-system") -> list[Json]:
    """The chart's objects; the same values are rendered once."""
    documents: list[Json] = json.loads(_rendered(json.dumps(values), name, namespace))
    return documents


def value_set(name: str) -> Json:
    return yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text()) or {}


def load_all(text: str) -> list[Json]:
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[Json], *kinds: str) -> list[Json]:
    return [document for document in documents if document["kind"] in kinds]


@functools.cache
def _schema(version: str, name: str) -> Json:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return json.loads((folder / name).read_text())


@functools.cache
def _validator(version: str, kind: str, api_version: str) -> Draft202012Validator:
    """As `kubernetes-validate --strict` builds it, but once per kind: loading the definitions takes half a second."""
    group, _, revision = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], revision) if part)
    definitions = Resource.from_contents(_schema(version, "_definitions.json"))
    return Draft202012Validator(_schema(version, f"{name}.json"), registry=definitions @ Registry())


def schema_errors(documents: list[Json], version: str) -> list[str]:
    """What Kubernetes `version` would refuse or not know in the documents."""
    return [
        f"{document['kind']}/{document['metadata']['name']}: {error.json_path}: {error.message[:300]}"
        for document in documents
        if not document["apiVersion"].startswith(FOREIGN_GROUPS)
        for error in _validator(version, document["kind"], document["apiVersion"]).iter_errors(document)
    ]


def pod_specs(documents: list[Json]) -> Iterator[tuple[str, Json]]:
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield name, document["spec"]
        elif document["kind"] in CONTROLLERS:
            yield name, document["spec"]["template"]["spec"]


def security_errors(spec: Json) -> list[str]:
    """Breaches of Pod Security `restricted` (v1.33): kubernetes.io/docs/concepts/security/pod-security-standards."""
    pod = spec.get("securityContext") or {}
    errors = [f"spec.{key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    allowed = {
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    errors += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if set(volume) - allowed]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        own = container.get("securityContext") or {}
        merged = {**pod, **own}
        profile = merged.get("seccompProfile") or {}
        capabilities = own.get("capabilities") or {}
        checks = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": "ALL" in capabilities.get("drop", []),
            "capabilities.add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": merged.get("runAsNonRoot") is True,
            "runAsUser": merged.get("runAsUser") != 0,
            "seccompProfile": profile.get("type") in {"RuntimeDefault", "Localhost"},
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "procMount": own.get("procMount", "Default") == "Default",
        }
        errors += [f"{container['name']}: {key}" for key, passed in checks.items() if not passed]
    return errors
