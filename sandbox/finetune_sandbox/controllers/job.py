"""The Job controller: carries out what `job_plan` decides, and removes finished Jobs whose time is over."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Sequence
from typing import Any

from finetune_sandbox.client import JOBS, PODS, ApiError
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.job_backoff import NO_FAILURES, Backoff
from finetune_sandbox.controllers.job_plan import NewPod, Plan, is_finished, plan
from finetune_sandbox.controllers.job_rules import FAILURE_COUNT, FINALIZER, INDEX, is_tracked, limits_per_index
from finetune_sandbox.objects import (
    Key,
    Object,
    condition,
    controller_of,
    is_deleting,
    key_of,
    owner_reference,
    seconds_of,
    uid_of,
)

OUR_NAME = "kubernetes.io/job-controller"


class JobController(Controller):
    """Runs pods of Jobs to completion."""

    name = "job-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.jobs, self.pods = self.informers[JOBS], self.informers[PODS]
        self._backoff: dict[str, Backoff] = {}
        context.clock.on_set(self._look_again)
        self._former: dict[Key, set[str]] = {}  # uids of Jobs that are gone or were replaced by another of their name
        self.jobs.on_change(self.enqueue)
        self.jobs.on_delete(self._forget)
        self.pods.on_change(self._pod_changed)
        self.pods.on_delete(self._pod_changed)

    def _forget(self, job: Object) -> None:
        self._backoff.pop(uid_of(job), None)
        self._former.setdefault(key_of(job), set()).add(uid_of(job))
        self.enqueue(job)

    def _look_again(self) -> None:
        for job in self.jobs.items.values():
            self.enqueue(job)

    def _pod_changed(self, pod: Object, _old: Object | None = None) -> None:
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "Job":
            return
        key = pod["metadata"]["namespace"], owner["name"]
        job = self.jobs.items.get(key)
        if is_tracked(pod) and (job is None or uid_of(job) != owner["uid"]):
            self._former.setdefault(key, set()).add(owner["uid"])
        self.queue.add(key)

    async def sync(self, key: Key) -> None:
        """One pass over one Job."""
        job = self.jobs.items.get(key)
        for uid in self._former.pop(key, set()) - {uid_of(job) if job else ""}:
            await _all([self._untrack(pod) for pod in self.pods.owned_by(uid) if is_tracked(pod)])
        if job is None or job["spec"].get("managedBy", OUR_NAME) != OUR_NAME:
            return
        decided = plan(job, self.pods.owned_by(uid_of(job)), self.now(), self._backoff.get(uid_of(job), NO_FAILURES))
        failure = await self._create(job, decided)
        await _all([self._delete(job, pod, decided.untrack) for pod in decided.delete])
        for event in decided.events:
            self.recorder.event(job, *event)
        if decided.status != job.get("status"):
            self.jobs.observe(await self.client.update(JOBS, {**job, "status": decided.status}, "status"))
        self._backoff[uid_of(job)] = decided.backoff
        await _all([self._untrack(pod) for pod in decided.release])
        for event in decided.announce:
            self.recorder.event(job, *event)
        if decided.again_in is not None:
            self.queue.add_after(key, decided.again_in)
        if failure:
            raise failure

    async def _create(self, job: Object, decided: Plan) -> ApiError | None:
        """Creates the planned pods in batches of 1, 2, 4 ...; the first refusal ends it and corrects the status."""
        left, batch = list(decided.create), 1
        failure: ApiError | None = None
        while left and not failure:
            now, left, batch = left[:batch], left[batch:], batch * 2
            results = await asyncio.gather(*(self._create_pod(job, new) for new in now), return_exceptions=True)
            for result in results:
                if isinstance(result, ApiError):
                    failure = result
                    decided.status["active"] -= 1
                elif isinstance(result, BaseException):
                    raise result
        if failure:
            decided.status["active"] -= len(left)
            if decided.status["active"] == 0:
                del decided.status["active"]
        return failure

    async def _create_pod(self, job: Object, new: NewPod) -> None:
        try:
            pod = await self.client.create(PODS, build_pod(job, new))
        except ApiError as error:
            causes = (error.status.get("details") or {}).get("causes") or ()
            if all(cause.get("reason") != "NamespaceTerminating" for cause in causes):
                self.recorder.event(job, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self.pods.observe(pod)
        self.recorder.event(job, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")

    async def _delete(self, job: Object, pod: Object, untrack: bool) -> None:
        if untrack:
            await self._untrack(pod)
        namespace, name = key_of(pod)
        answer = await self.client.delete(PODS, namespace, name, uid=uid_of(pod))
        if answer and answer.get("kind") == "Pod":
            self.pods.observe(answer)
        self.recorder.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

    async def _untrack(self, pod: Object) -> None:
        namespace, name = key_of(pod)
        body = {
            "metadata": {
                "uid": uid_of(pod),
                "finalizers": [f for f in pod["metadata"].get("finalizers") or () if f != FINALIZER],
            }
        }
        try:
            self.pods.observe(await self.client.patch(PODS, namespace, name, body))
        except ApiError as error:
            if error.code not in (404, 409):
                raise


class JobExpiry(Controller):
    """Deletes finished Jobs `ttlSecondsAfterFinished` seconds after their end."""

    name = "ttl-after-finished-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.jobs = self.informers[JOBS]
        self.jobs.on_change(self.enqueue)
        context.clock.on_set(self._look_again)

    def _look_again(self) -> None:
        for job in self.jobs.items.values():
            self.enqueue(job)

    async def sync(self, key: Key) -> None:
        """Deletes the Job if its time is over, else comes back then."""
        job = self.jobs.items.get(key)
        lifetime = job["spec"].get("ttlSecondsAfterFinished") if job else None
        if job is None or lifetime is None or is_deleting(job) or not is_finished(job):
            return
        end = condition(job, "Complete") or condition(job, "Failed") or {}
        remaining = seconds_of(end["lastTransitionTime"]) + lifetime - self.now()
        if remaining > 0:
            self.queue.add_after(key, remaining)
        else:
            await self.client.delete(JOBS, *key, uid=uid_of(job), propagation="Foreground")


def build_pod(job: Object, new: NewPod) -> Object:
    """The pod that a Job's template asks for."""
    template = copy.deepcopy(job["spec"]["template"])
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    meta = template.get("metadata") or {}
    annotations, labels = {**(meta.get("annotations") or {}), **new.annotations}, dict(meta.get("labels") or {})
    spec, prefix = template["spec"], f"{name}-"
    if new.completion_index is not None:
        annotations[INDEX] = labels[INDEX] = str(new.completion_index)
        prefix = f"{name[: 63 - len(str(new.completion_index)) - 8]}-{new.completion_index}-"
        spec.setdefault("hostname", f"{name}-{new.completion_index}")
        for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
            _add_index_variable(container)
        if not limits_per_index(job):
            annotations.pop(FAILURE_COUNT, None)
    return {
        "metadata": {
            "generateName": prefix,
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
            "finalizers": [*(meta.get("finalizers") or ()), FINALIZER],
            "ownerReferences": [owner_reference(job, "batch/v1", "Job")],
        },
        "spec": spec,
    }


def _add_index_variable(container: Object) -> None:
    variables = container.setdefault("env", [])
    if not any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in variables):
        field = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}
        variables.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": field}})


async def _all(tasks: Sequence[Awaitable[Any]]) -> None:
    """Runs them side by side and raises the first failure after all have ended."""
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
