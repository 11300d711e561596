"""The scheduler: binds pending pods to nodes, one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from finetune_sandbox.client import NODES, PODS, STRATEGIC, ApiError
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.job_rules import phase
from finetune_sandbox.controllers.scheduling import Node, choose
from finetune_sandbox.objects import (
    Key,
    Object,
    add_up,
    condition,
    is_deleting,
    key_of,
    pod_requests,
    text_time,
    uid_of,
)

SCHEDULER = "default-scheduler"


class Scheduler(Controller):
    """Assigns pods to nodes; with one worker, so that two pods never take the same room."""

    name = SCHEDULER
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pods, self.nodes = self.informers[PODS], self.informers[NODES]
        self._by_node: dict[str, dict[Key, dict[str, Decimal]]] = {}  # what each placed pod asks for
        self._waiting: set[Key] = set()
        self.pods.on_change(self._pod_changed)
        self.pods.on_delete(self._pod_deleted)
        self.nodes.on_change(lambda _new, _old: self._room_was_made())

    def _pod_changed(self, pod: Object, _old: Object | None) -> None:
        key, node = key_of(pod), pod["spec"].get("nodeName")
        if not node:
            if not is_deleting(pod):
                self.queue.add(key)
            return
        placed = self._by_node.setdefault(node, {})
        if phase(pod) in ("Succeeded", "Failed"):
            if placed.pop(key, None) is not None:
                self._room_was_made()
        else:
            placed.setdefault(key, pod_requests(pod["spec"]))

    def _pod_deleted(self, pod: Object) -> None:
        self._waiting.discard(key_of(pod))
        placed = self._by_node.get(pod["spec"].get("nodeName") or "", {})
        if placed.pop(key_of(pod), None) is not None:
            self._room_was_made()

    def _room_was_made(self) -> None:
        for key in self._waiting:
            self.queue.add(key)

    async def sync(self, key: Key) -> None:
        """Binds one pod, or says why it cannot be bound."""
        pod = self.pods.items.get(key)
        self._waiting.discard(key)
        if pod is None or pod["spec"].get("nodeName") or is_deleting(pod):
            return
        if pod["spec"].get("schedulerName", SCHEDULER) != SCHEDULER or pod["spec"].get("schedulingGates"):
            return
        choice = choose(pod, list(self._room()))
        if choice.node is None:
            self._waiting.add(key)
            await self._refuse(pod, choice.message)
            return
        binding = {
            "metadata": {"name": key[1], "namespace": key[0], "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": choice.node},
            "apiVersion": "v1",
            "kind": "Binding",
        }
        try:
            await self.client.request("POST", PODS.path(*key, "binding"), binding)
        except ApiError as error:
            if error.code in (404, 409):
                return  # deleted or bound meanwhile
            raise
        self._by_node.setdefault(choice.node, {})[key] = pod_requests(pod["spec"])
        message = f"Successfully assigned {key[0]}/{key[1]} to {choice.node}"
        self.recorder.event(pod, "Normal", "Scheduled", message)

    def _room(self) -> Iterable[Node]:
        for node in self.nodes.items.values():
            placed = self._by_node.get(node["metadata"]["name"], {})
            yield Node(node, add_up(placed.values()), len(placed))

    async def _refuse(self, pod: Object, message: str) -> None:
        present = condition(pod, "PodScheduled")
        if present and present.get("message") == message:
            return
        refusal = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": text_time(self.now()),
        }
        body = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [refusal]}}
        self.recorder.event(pod, "Warning", "FailedScheduling", message)
        self.pods.observe(await self.client.patch(PODS, *key_of(pod), body, "status", STRATEGIC))
