"""What the controllers of long-running pods share: making, choosing and deleting the pods of a template."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable

from finetune_sandbox.client import PODS, ApiError
from finetune_sandbox.controllers.base import Controller
from finetune_sandbox.controllers.job_rules import is_active
from finetune_sandbox.informers import Informer
from finetune_sandbox.objects import Object, condition, is_true, key_of, owner_reference, seconds_of, uid_of

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: Object) -> str:
    """A short name for a pod template, equal for equal templates."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:10])


def pod_of(owner: Object, api_version: str, kind: str, name: str = "") -> Object:
    """The pod that an owner's template asks for; without a name the server makes one up."""
    template = copy.deepcopy(owner["spec"]["template"])
    meta = template.get("metadata") or {}
    named = {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
    return {
        "metadata": {
            **named,
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(owner, api_version, kind)],
        },
        "spec": template["spec"],
    }


def active(pods: Iterable[Object]) -> list[Object]:
    """The pods that have neither ended nor been told to."""
    return [pod for pod in pods if is_active(pod)]


def ready_for(pod: Object, seconds: float, now: float) -> bool:
    """Whether a pod has been ready for so long."""
    ready = condition(pod, "Ready")
    return is_active(pod) and is_true(pod, "Ready") and seconds_of((ready or {})["lastTransitionTime"]) + seconds <= now


def least_useful(pod: Object) -> tuple[bool, bool, bool, float]:
    """Sorts pods so that those to delete first come first: unassigned, pending, unready, youngest."""
    phase = (pod.get("status") or {}).get("phase")
    born = seconds_of(pod["metadata"]["creationTimestamp"])
    return bool(pod["spec"].get("nodeName")), phase == "Running", is_true(pod, "Ready"), -born


async def create_pod(controller: Controller, owner: Object, pod: Object) -> None:
    """Creates a pod and says so in an event.

    Raises:
        ApiError: The server refused it; an event says why.
    """
    pods: Informer = controller.informers[PODS]
    try:
        created = await controller.client.create(PODS, pod)
    except ApiError as error:
        if error.reason == "AlreadyExists":
            return
        controller.recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
        raise
    pods.observe(created)
    controller.recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")


async def delete_pod(controller: Controller, owner: Object, pod: Object) -> None:
    """Deletes a pod and says so in an event."""
    namespace, name = key_of(pod)
    answer = await controller.client.delete(PODS, namespace, name, uid=uid_of(pod))
    if answer and answer.get("kind") == "Pod":
        controller.informers[PODS].observe(answer)
    controller.recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")
