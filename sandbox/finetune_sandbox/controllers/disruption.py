"""Taking pods from their nodes: what drains, taints and the eviction API have in common."""

from __future__ import annotations

from finetune_sandbox.client import NODES, PODS, STRATEGIC, ApiClient, ApiError
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.job_rules import phase
from finetune_sandbox.controllers.scheduling import tolerates
from finetune_sandbox.objects import Key, Object, is_deleting, key_of, seconds_of, text_time, uid_of


async def disrupt(client: ApiClient, pod: Object, reason: str, message: str, now: float) -> None:
    """Marks a pod as disrupted, so that failure policies can tell, and deletes it; no error when it is gone."""
    mark = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    mark["lastTransitionTime"] = text_time(now)
    body = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [mark]}}
    try:
        await client.patch(PODS, *key_of(pod), body, "status", STRATEGIC)
    except ApiError as error:
        if error.code not in (404, 409):
            raise
    await client.delete(PODS, *key_of(pod), uid=uid_of(pod))


class TaintEviction(Controller):
    """Deletes pods that do not tolerate a NoExecute taint of their node, marked as disrupted."""

    name = "taint-eviction-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods, self.nodes = self.informers[PODS], self.informers[NODES]
        self.nodes.on_change(self.enqueue)
        self.pods.on_change(self._placed)

    def _placed(self, pod: Object, old: Object | None) -> None:
        if pod["spec"].get("nodeName") and not (old and old["spec"].get("nodeName")):
            self.queue.add(("", pod["spec"]["nodeName"]))

    async def sync(self, key: Key) -> None:
        """Evicts what does not tolerate the node's taints, now or when the toleration runs out."""
        node = self.nodes.items.get(key)
        taints = [t for t in (node["spec"].get("taints") or () if node else ()) if t["effect"] == "NoExecute"]
        if not taints:
            return
        for pod in list(self.pods.items.values()):
            if pod["spec"].get("nodeName") != key[1] or is_deleting(pod) or phase(pod) in ("Succeeded", "Failed"):
                continue
            remaining = _tolerated_for(pod, taints, self.now())
            if remaining is None:
                continue
            if remaining > 0:
                self.queue.add_after(key, remaining)
            else:
                message = "Taint manager: deleting due to NoExecute taint"
                await disrupt(self.client, pod, "DeletionByTaintManager", message, self.now())


def _tolerated_for(pod: Object, taints: list[Object], now: float) -> float | None:
    """Seconds that the pod may stay: 0 or less is over, None is for ever."""
    remaining: list[float] = []
    for taint in taints:
        fitting = [t for t in pod["spec"].get("tolerations") or () if tolerates(t, taint)]
        if not fitting:
            return 0.0
        limits = [t["tolerationSeconds"] for t in fitting if t.get("tolerationSeconds") is not None]
        if limits:
            added = seconds_of(taint["timeAdded"]) if taint.get("timeAdded") else now
            remaining.append(added + min(limits) - now)
    return min(remaining, default=None)
