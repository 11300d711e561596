"""Why is it not running? One reason for each cause that Kubernetes knows."""

from __future__ import annotations

from collections.abc import Sequence

from finetune_operator import facts
from finetune_operator.actions import Problem
from finetune_operator.facts import JobFacts, PodFacts


def of_pod(pod: PodFacts) -> Problem | None:
    """What holds back a pod that has not started."""
    if pod.phase != "Pending":
        return None
    if pod.unschedulable is not None:
        return Problem("Unschedulable", f"Pod {pod.name}: {pod.unschedulable}")
    if pod.gated:
        return Problem("QueueNotAdmitted", f"Pod {pod.name} waits for its scheduling gates to be lifted.")
    message = f"Pod {pod.name}: {pod.waiting_reason}: {pod.waiting_message}"
    if pod.waiting_reason in facts.UNAVAILABLE_IMAGE:
        return Problem("ImagePullFailed", message)
    if pod.waiting_reason in facts.BAD_CONTAINER:
        secret = "secret" in pod.waiting_message.lower()
        return Problem("SecretMissing" if secret else "ContainerCreateFailed", message)
    return None


def of_job(job: JobFacts, pods: Sequence[PodFacts], queue: str | None, creation_error: str | None) -> Problem | None:
    """What holds back a Job whose pods should run; None when it is only starting."""
    if job.suspended:
        where = f"LocalQueue {queue}" if queue else "whoever suspended it"
        return Problem("QueueNotAdmitted", f"Job {job.name} is suspended; it waits for {where}.")
    if not any(pod.active for pod in pods) and creation_error:
        quota = "exceeded quota" in creation_error
        return Problem("QuotaExceeded" if quota else "PodCreationFailed", f"Job {job.name}: {creation_error}")
    return next((problem for pod in pods if (problem := of_pod(pod))), None)
