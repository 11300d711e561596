"""The StatefulSet controller: numbered pods with claims of their own, started in order, replaced from the last on."""

from __future__ import annotations

import copy

from finetune_sandbox.client import CLAIMS, PODS, STATEFUL_SETS, ApiError
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.job_rules import phase
from finetune_sandbox.controllers.pods import create_pod, delete_pod, pod_of, ready_for, template_hash
from finetune_sandbox.objects import Key, Object, is_deleting, is_true, uid_of, without_nulls

REVISION = "controller-revision-hash"
POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


class StatefulSetController(Controller):
    """Keeps numbered pods."""

    name = "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.sets, self.pods, self.claims = self.informers[STATEFUL_SETS], self.informers[PODS], self.informers[CLAIMS]
        self.sets.on_change(self.enqueue)
        self.pods.on_change(self.enqueue_owner("StatefulSet"))
        self.pods.on_delete(self.enqueue_owner("StatefulSet"))

    async def sync(self, key: Key) -> None:
        """One step, then a report."""
        owner = self.sets.items.get(key)
        if owner is None or is_deleting(owner):
            return
        revision = f"{key[1]}-{template_hash(owner['spec']['template'])}"
        await self._step(owner, revision)
        await self._report(owner, revision)

    async def _step(self, owner: Object, revision: str) -> None:
        """Replaces what ended, adds what is missing, removes what is too many, updates; in order unless Parallel."""
        namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
        ordered = owner["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        count = owner["spec"].get("replicas", 1)
        for number in range(count):
            pod = self.pods.items.get((namespace, f"{name}-{number}"))
            if pod and phase(pod) in ("Succeeded", "Failed") and not is_deleting(pod):
                await delete_pod(self, owner, pod)
            elif pod is None:
                await self._create(owner, number, revision)
            if ordered and not (pod and self._settled(owner, pod)):
                return
        pods = {_number(pod): pod for pod in self.pods.owned_by(uid_of(owner))}
        for number in sorted((number for number in pods if number >= count), reverse=True):
            if not is_deleting(pods[number]):
                await delete_pod(self, owner, pods[number])
            if ordered:
                return
        if (owner["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
            return
        first = ((owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0)
        for number in reversed(range(first, count)):
            pod = pods.get(number)
            if pod is None or is_deleting(pod):
                return
            if (pod["metadata"].get("labels") or {}).get(REVISION) != revision:
                await delete_pod(self, owner, pod)
                return
            if not self._settled(owner, pod):
                return

    def _settled(self, owner: Object, pod: Object) -> bool:
        return not is_deleting(pod) and ready_for(pod, owner["spec"].get("minReadySeconds", 0), self.now())

    async def _create(self, owner: Object, number: int, revision: str) -> None:
        name, namespace = f"{owner['metadata']['name']}-{number}", owner["metadata"]["namespace"]
        pod = pod_of(owner, "apps/v1", "StatefulSet", name)
        pod["metadata"]["labels"] |= {REVISION: revision, POD_NAME: name, POD_INDEX: str(number)}
        pod["spec"].update(hostname=name, subdomain=owner["spec"].get("serviceName") or "")
        claimed = {}
        for template in owner["spec"].get("volumeClaimTemplates") or ():
            claim = copy.deepcopy(template)
            claim_name = claimed[template["metadata"]["name"]] = f"{template['metadata']['name']}-{name}"
            labels = {
                **(template["metadata"].get("labels") or {}),
                **(owner["spec"]["selector"].get("matchLabels") or {}),
            }
            claim["metadata"] = {"name": claim_name, "namespace": namespace, "labels": labels}
            claim.pop("status", None)
            if (namespace, claim_name) not in self.claims.items:
                try:
                    self.claims.observe(await self.client.create(CLAIMS, claim))
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise
        volumes = [volume for volume in pod["spec"].get("volumes") or () if volume["name"] not in claimed]
        volumes += [
            {"name": volume, "persistentVolumeClaim": {"claimName": claim}} for volume, claim in claimed.items()
        ]
        if volumes:
            pod["spec"]["volumes"] = volumes
        await create_pod(self, owner, pod)

    async def _report(self, owner: Object, revision: str) -> None:
        pods, least = self.pods.owned_by(uid_of(owner)), owner["spec"].get("minReadySeconds", 0)
        updated = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(REVISION) == revision]
        known = owner.get("status") or {}
        done = len(updated) == len(pods) == owner["spec"].get("replicas", 1) and all(
            self._settled(owner, pod) for pod in pods
        )
        current = revision if done or not known.get("currentRevision") else known["currentRevision"]
        status = without_nulls(
            {
                "observedGeneration": owner["metadata"]["generation"],
                "readyReplicas": sum(is_true(pod, "Ready") for pod in pods),
                "updatedReplicas": len(updated),
                "currentReplicas": sum((pod["metadata"].get("labels") or {}).get(REVISION) == current for pod in pods),
                "currentRevision": current,
                "updateRevision": revision,
            }
        )
        status |= {
            "replicas": len(pods),
            "availableReplicas": sum(ready_for(pod, least, self.now()) for pod in pods),
            "collisionCount": known.get("collisionCount", 0),
        }
        if status != known:
            self.sets.observe(await self.client.update(STATEFUL_SETS, {**owner, "status": status}, "status"))


def _number(pod: Object) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])
