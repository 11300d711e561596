"""A node without a machine: pods bound to it end as their document says, within milliseconds.

It sets the statuses that a kubelet would, and plays the trainer over the tracker's own protocol, so that what is
measured is the control plane and not how fast this machine starts Python. It works against any cluster, as the nodes
of KWOK do: pods are steered to it by `nodeName`, and nothing else is scheduled there.

What a pod does is in `dataset.uri` of its document: `bench:SECONDS` is the duration of a training or of each trial of
an agent, `bench:hold` runs until it is deleted.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from finetune_sandbox.client import NODES, PODS, ApiClient, ApiError, Resource, WatchExpiredError

from benchmarks.control.agent import Agent

NODE = "finetune-benchmark"
IMAGE = "registry.test/nothing:1"
TRIAL = "finetune.dev/trial"
METRICS = {"wer": 0.2, "cer": 0.1, "baselineWer": 0.4, "baselineCer": 0.2, "pValue": 0.001, "relativeImprovement": 0.5}
_LEASES = Resource("coordination.k8s.io", "v1", "leases", kind="Lease")
_LEASE_NAMESPACE = "kube-node-lease"

AgentFactory = Callable[[dict[str, Any]], Agent]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Node:
    """Runs the pods of one namespace or more.

    Args:
        agent: Makes the sweep agent of a pod from its document.
    """

    def __init__(self, client: ApiClient, agent: AgentFactory) -> None:
        self._client = client
        self._agent = agent
        self._playing: dict[str, asyncio.Task[None]] = {}

    async def register(self) -> None:
        """Makes the Node, ready and tainted against everybody else's pods."""
        taint = {"key": "finetune.dev/benchmark", "effect": "NoSchedule"}
        node = {"metadata": {"name": NODE}, "spec": {"taints": [taint]}}
        with contextlib.suppress(ApiError):
            await self._client.create(NODES, node)
        ready = {"type": "Ready", "status": "True", "reason": "Benchmark", "lastHeartbeatTime": _now()}
        room = {"cpu": "1000", "memory": "1Ti", "pods": "10000", "nvidia.com/gpu": "10000"}
        status = {"conditions": [ready], "capacity": room, "allocatable": room}
        await self._client.patch(NODES, "", NODE, {"status": status}, "status")

    async def remove(self) -> None:
        """Takes the Node away."""
        await self._client.delete(NODES, "", NODE)

    async def run(self) -> None:
        """Plays pods until cancelled."""
        query = {"fieldSelector": f"spec.nodeName={NODE}"}
        heartbeat = asyncio.create_task(self._beat())
        try:
            while True:
                pods, version = await self._client.list(PODS, **query)
                for pod in pods:
                    self._see("ADDED", pod)
                with contextlib.suppress(WatchExpiredError):
                    while True:
                        async for event, pod in self._client.watch(PODS, version, **query):
                            version = pod["metadata"]["resourceVersion"]
                            if event != "BOOKMARK":
                                self._see(event, pod)
        finally:
            heartbeat.cancel()
            for task in self._playing.values():
                task.cancel()

    async def _beat(self) -> None:
        """A real cluster takes a node without a renewed Lease for dead, and its pods away."""
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            spec = {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": now}
            lease = {"metadata": {"name": NODE, "namespace": _LEASE_NAMESPACE}, "spec": spec}
            with contextlib.suppress(ApiError):
                try:
                    await self._client.patch(_LEASES, _LEASE_NAMESPACE, NODE, {"spec": spec})
                except ApiError:
                    await self._client.create(_LEASES, lease)
            await asyncio.sleep(10)

    def _see(self, event: str, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if event == "DELETED":
            if task := self._playing.pop(uid, None):
                task.cancel()
            return
        if "deletionTimestamp" in pod["metadata"]:
            if task := self._playing.get(uid):
                task.cancel()
            self._playing[uid] = asyncio.create_task(self._leave(pod))
        elif uid not in self._playing and pod.get("status", {}).get("phase", "Pending") == "Pending":
            self._playing[uid] = asyncio.create_task(self._play(pod))

    async def _leave(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            with contextlib.suppress(ApiError):
                await self._end(pod, 143, {"state": "preempted", "failureClass": "Preempted"}, _now())
        await self._client.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"], grace=0)

    async def _play(self, pod: dict[str, Any]) -> None:
        document = json.loads(pod["metadata"].get("annotations", {}).get(TRIAL) or "{}")
        uri, started = document.get("dataset", {}).get("uri", "bench:0"), _now()
        with contextlib.suppress(ApiError):  # the pod is gone
            if document.get("mode") == "agent":
                await self._running(pod, started)
                finished = await self._agent(document).work()
                await self._end(pod, 0, {"state": "finished", "trials": {"finished": finished}}, started)
                return
            seconds = uri.removeprefix("bench:")
            if seconds != "0":
                await self._running(pod, started)
                await asyncio.sleep(float("inf") if seconds == "hold" else float(seconds))
            await self._end(pod, 0, {"state": "finished", "metrics": METRICS}, started)

    async def _running(self, pod: dict[str, Any], started: str) -> None:
        await self._status(pod, "Running", {"running": {"startedAt": started}})

    async def _end(self, pod: dict[str, Any], code: int, result: dict[str, Any], started: str) -> None:
        state = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": started,
            "finishedAt": _now(),
            "message": json.dumps({"version": "v1", **result}),
        }
        await self._status(pod, "Succeeded" if code == 0 else "Failed", {"terminated": state})

    async def _status(self, pod: dict[str, Any], phase: str, state: dict[str, Any]) -> None:
        container = {
            "name": pod["spec"]["containers"][0]["name"],
            "image": IMAGE,
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        status = {"phase": phase, "containerStatuses": [container]}
        meta = pod["metadata"]
        await self._client.patch(PODS, meta["namespace"], meta["name"], {"status": status}, "status")
