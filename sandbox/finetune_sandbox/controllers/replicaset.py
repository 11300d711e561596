"""The ReplicaSet controller: as many pods of a template as asked for."""

from __future__ import annotations

from finetune_sandbox.client import PODS, REPLICA_SETS
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.pods import active, create_pod, delete_pod, least_useful, pod_of, ready_for
from finetune_sandbox.objects import Key, Object, is_deleting, is_true, uid_of, without_nulls


class ReplicaSetController(Controller):
    """Keeps the number of pods."""

    name = "replicaset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.sets, self.pods = self.informers[REPLICA_SETS], self.informers[PODS]
        self.sets.on_change(self.enqueue)
        self.pods.on_change(self.enqueue_owner("ReplicaSet"))
        self.pods.on_delete(self.enqueue_owner("ReplicaSet"))

    async def sync(self, key: Key) -> None:
        """Creates or deletes pods, then reports how many there are."""
        owner = self.sets.items.get(key)
        if owner is None:
            return
        pods = active(self.pods.owned_by(uid_of(owner)))
        missing = owner["spec"].get("replicas", 1) - len(pods)
        if not is_deleting(owner):
            for _ in range(missing):
                await create_pod(self, owner, pod_of(owner, "apps/v1", "ReplicaSet"))
            for pod in sorted(pods, key=least_useful)[: max(-missing, 0)]:
                await delete_pod(self, owner, pod)
        await self._report(owner)

    async def _report(self, owner: Object) -> None:
        pods, least = active(self.pods.owned_by(uid_of(owner))), owner["spec"].get("minReadySeconds", 0)
        ready = [pod for pod in pods if is_true(pod, "Ready")]
        available = [pod for pod in ready if ready_for(pod, least, self.now())]
        counts = {"fullyLabeledReplicas": len(pods), "readyReplicas": len(ready), "availableReplicas": len(available)}
        known = {name: value for name, value in (owner.get("status") or {}).items() if name == "conditions"}
        status = without_nulls({**known, **counts, "observedGeneration": owner["metadata"]["generation"]})
        status["replicas"] = len(pods)
        if status != owner.get("status"):
            self.sets.observe(await self.client.update(REPLICA_SETS, {**owner, "status": status}, "status"))
        if len(available) < len(ready):
            self.queue.add_after((owner["metadata"]["namespace"], owner["metadata"]["name"]), 1)
