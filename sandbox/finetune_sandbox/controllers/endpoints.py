"""Endpoints of Services: the ready pods that they select. All pods share one address, so ports tell them apart."""

from __future__ import annotations

from finetune_sandbox.client import ENDPOINTS, PODS, SERVICES, ApiError
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.job_rules import is_active
from finetune_sandbox.objects import Key, Object, is_deleting, is_true, key_of, uid_of


class EndpointsController(Controller):
    """Keeps one Endpoints object for each Service with a selector."""

    name = "endpoint-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.services, self.pods = self.informers[SERVICES], self.informers[PODS]
        self.services.on_change(self.enqueue)
        self.services.on_delete(self.enqueue)
        self.pods.on_change(lambda pod, _old: self._pod_changed(pod))
        self.pods.on_delete(self._pod_changed)

    def _pod_changed(self, pod: Object) -> None:
        for key, service in self.services.items.items():
            if key[0] == key_of(pod)[0] and _selects(service, pod):
                self.queue.add(key)

    async def sync(self, key: Key) -> None:
        """Writes the Endpoints if they changed; deletes those of a Service that is gone."""
        service = self.services.items.get(key)
        if service is None or is_deleting(service):
            await self.client.delete(ENDPOINTS, *key)
            return
        if not service["spec"].get("selector"):
            return
        pods = [pod for pod in self.pods.in_namespace(key[0]) if is_active(pod) and _selects(service, pod)]
        pods = [pod for pod in pods if (pod.get("status") or {}).get("podIP")]
        wanted = subsets(service, pods)
        present = await self.client.find(ENDPOINTS, *key)
        if present and (present.get("subsets") or []) == wanted:
            return
        body: Object = {
            "metadata": {"name": key[1], "namespace": key[0], "labels": service["metadata"].get("labels") or {}},
            "subsets": wanted,
        }
        try:
            if present:
                body["metadata"]["resourceVersion"] = present["metadata"]["resourceVersion"]
                await self.client.update(ENDPOINTS, body)
            else:
                await self.client.create(ENDPOINTS, body)
        except ApiError as error:
            if error.code not in (403, 404):  # its namespace is terminating
                raise


def subsets(service: Object, pods: list[Object]) -> list[Object]:
    """One subset for each set of ports that pods resolve a Service's ports to."""
    found: dict[str, Object] = {}
    for pod in sorted(pods, key=key_of):
        ports = [_port(port, pod) for port in service["spec"].get("ports") or ()]
        subset = found.setdefault(repr(ports), {"ports": ports})
        reference = {"kind": "Pod", "namespace": key_of(pod)[0], "name": key_of(pod)[1], "uid": uid_of(pod)}
        node = {"nodeName": pod["spec"]["nodeName"]} if pod["spec"].get("nodeName") else {}
        ready = is_true(pod, "Ready") or service["spec"].get("publishNotReadyAddresses")
        address = {"ip": pod["status"]["podIP"], **node, "targetRef": reference}
        subset.setdefault("addresses" if ready else "notReadyAddresses", []).append(address)
    return [{**{k: v for k, v in subset.items() if v}} for subset in found.values()]


def _port(port: Object, pod: Object) -> Object:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, str) and not target.isdigit():
        declared = [p for container in pod["spec"]["containers"] for p in container.get("ports") or ()]
        target = next((p["containerPort"] for p in declared if p.get("name") == target), port["port"])
    named = {"name": port["name"]} if port.get("name") else {}
    return {**named, "port": int(target), "protocol": port.get("protocol", "TCP")}


def _selects(service: Object, pod: Object) -> bool:
    labels, selector = pod["metadata"].get("labels") or {}, service["spec"].get("selector")
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())
