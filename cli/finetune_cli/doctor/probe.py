"""Reads the dataset where the trainer would: in a pod of its image, with its volumes and variables."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from finetune_operator.names import CONTAINER

from finetune_cli.cluster import Cluster, Object, path
from finetune_cli.doctor.facts import ProbeAnswer
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource

TIMEOUT = 120.0
"""Seconds that the pod gets, image pull included."""
SCRIPT = """\
import json, os, sys
from finetune_trainer.manifest import read_manifest
try:
    rows = len(read_manifest(sys.argv[1]).rows)
    answer = {"readable": True, "detail": f"{rows} rows"}
except Exception as error:
    answer = {"readable": False, "detail": str(error)[:1000] or type(error).__name__}
with open(os.environ.get("FINETUNE_TERMINATION_LOG", "/dev/termination-log"), "w") as out:
    json.dump(answer, out)
"""


def pod(resource: Resource, image: str, name: str) -> Object:
    """The pod: as the trainer's, but for one small command."""
    trainer = resource.parsed.spec.trainer
    template: dict[str, Any] = trainer.pod_template.get("spec") or {}
    named = [c for c in template.get("containers") or () if c.get("name") == CONTAINER]
    own: dict[str, Any] = named[0] if named else {}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "command": ["python", "-c", SCRIPT, trainer.dataset.uri],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **{key: own[key] for key in ("env", "envFrom", "volumeMounts") if key in own},
    }
    kept = ("volumes", "imagePullSecrets", "serviceAccountName", "nodeSelector", "tolerations", "securityContext")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": resource.namespace,
            "labels": {"app.kubernetes.io/name": "finetune-doctor"},
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "activeDeadlineSeconds": int(TIMEOUT),
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            **{key: template[key] for key in kept if key in template},
            "containers": [container],
        },
    }


def answer(seen: Object) -> ProbeAnswer | None:
    """What the pod said, or why it cannot; None while it has not ended."""
    for status in seen.get("status", {}).get("containerStatuses") or ():
        state = status.get("state") or {}
        if ended := state.get("terminated"):
            try:
                said = json.loads(ended.get("message") or "")
                return ProbeAnswer(bool(said["readable"]), str(said["detail"]))
            except (ValueError, KeyError):
                return ProbeAnswer(
                    False,
                    f"the probe ended with code {ended.get('exitCode')}: {ended.get('message') or ended.get('reason')}",
                )
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in (
            "ErrImagePull",
            "ImagePullBackOff",
            "CreateContainerConfigError",
            "InvalidImageName",
        ):
            return ProbeAnswer(False, f"the probe's pod does not start: {waiting.get('message') or waiting['reason']}")
    return None


def dataset(cluster: Cluster, resource: Resource) -> ProbeAnswer:
    """Runs the pod and takes it away again.

    Raises:
        CliError: There is no image to run, or the pod did not end in time.
    """
    image = resource.parsed.spec.trainer.image
    if image is None:
        raise CliError(
            "the resource leaves the image to the operator; name it in spec.trainer.image to probe", ExitCode.USAGE
        )
    name = f"finetune-doctor-{secrets.token_hex(3)}"
    where = path("pods", resource.namespace, name)
    cluster.request("POST", path("pods", resource.namespace), body=pod(resource, image, name))
    try:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            said = answer(cluster.get(where) or {})
            if said is not None:
                return said
            time.sleep(0.3)
        raise CliError(f"the probe's pod did not end within {TIMEOUT:g} s", ExitCode.TIMEOUT)
    finally:
        cluster.request("DELETE", where, {"gracePeriodSeconds": 0})
