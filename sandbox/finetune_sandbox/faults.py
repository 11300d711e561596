"""Faults on command: draining a node, signals to pods, a clock set forward; all through the API."""

from __future__ import annotations

import time

from finetune_sandbox.client import CONFIG_MAPS, NODES, PODS, ApiClient, ApiError
from finetune_sandbox.clock import CLOCK, OFFSET
from finetune_sandbox.controllers.disruption import disrupt
from finetune_sandbox.controllers.job_rules import is_active
from finetune_sandbox.kubelet.kubelet import SIGNAL
from finetune_sandbox.objects import key_of


async def drain(client: ApiClient, node: str) -> list[str]:
    """Cordons a node and evicts its pods, as `kubectl drain` does; returns the names of the pods.

    Raises:
        ApiError: There is no such node, or a disruption budget forbids an eviction.
    """
    await client.patch(NODES, "", node, {"spec": {"unschedulable": True}})
    pods, _ = await client.list(PODS, fieldSelector=f"spec.nodeName={node}")
    evicted = [pod for pod in pods if is_active(pod)]
    for pod in evicted:
        namespace, name = key_of(pod)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
        try:
            await client.request("POST", PODS.path(namespace, name, "eviction"), eviction)
        except ApiError as error:
            if error.code != 404:
                raise
            await disrupt(client, pod, "EvictionByEvictionAPI", "Eviction API: evicting", time.time())
    return ["/".join(key_of(pod)) for pod in evicted]


async def uncordon(client: ApiClient, node: str) -> None:
    """Lets pods onto a node again."""
    await client.patch(NODES, "", node, {"spec": {"unschedulable": None}})


async def send_signal(client: ApiClient, namespace: str, pod: str, name: str = "KILL") -> None:
    """Sends a signal (`KILL`, `TERM` ...) to the first process of each of a pod's containers."""
    body = {"metadata": {"annotations": {SIGNAL: f"{name} {time.time_ns()}"}}}
    await client.patch(PODS, namespace, pod, body)


async def set_clock_forward(client: ApiClient, seconds: float) -> None:
    """Sets the clock of controllers and kubelet forward by so much, beyond what it is already."""
    namespace, name = CLOCK
    known = await client.find(CONFIG_MAPS, namespace, name)
    offset = float(((known or {}).get("data") or {}).get(OFFSET, 0)) + seconds
    data = {"data": {OFFSET: str(offset)}}
    if known:
        await client.patch(CONFIG_MAPS, namespace, name, data)
    else:
        await client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": namespace}, **data})
