"""What every namespace gets (a default ServiceAccount, the root CA), and how one ends: emptied, then let go."""

from __future__ import annotations

import contextlib

from finetune_sandbox.client import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, ApiError, Resource
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.discovery import served
from finetune_sandbox.objects import Key, Object, is_deleting, text_time, uid_of

ROOT_CA = "kube-root-ca.crt"


class NamespaceDefaults(Controller):
    """Keeps the default ServiceAccount and the root CA ConfigMap in every namespace."""

    name = "serviceaccount-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.informers[NAMESPACES]
        self.accounts, self.config_maps = self.informers[SERVICE_ACCOUNTS], self.informers[CONFIG_MAPS]
        self.namespaces.on_change(lambda namespace, _old: self.queue.add((namespace["metadata"]["name"], "")))
        self.accounts.on_delete(self._restore)
        self.config_maps.on_delete(self._restore)

    def _restore(self, obj: Object) -> None:
        if obj["metadata"]["name"] in ("default", ROOT_CA):
            self.queue.add((obj["metadata"]["namespace"], ""))

    async def sync(self, key: Key) -> None:
        """Creates what is missing."""
        namespace = self.namespaces.items.get(("", key[0]))
        if namespace is None or is_deleting(namespace):
            return
        ca = (self.client.access.ca or b"").decode()
        wanted: list[tuple[Resource, Object]] = [
            (SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": key[0]}}),
            (CONFIG_MAPS, {"metadata": {"name": ROOT_CA, "namespace": key[0]}, "data": {"ca.crt": ca}}),
        ]
        for resource, obj in wanted:
            if (key[0], obj["metadata"]["name"]) in self.informers[resource].items:
                continue
            try:
                self.informers[resource].observe(await self.client.create(resource, obj))
            except ApiError as error:
                if error.reason != "AlreadyExists" and error.code not in (403, 404):  # 403: it is terminating
                    raise


class NamespaceDeletion(Controller):
    """Empties namespaces that are being deleted, then lets them go."""

    name = "namespace-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.informers[NAMESPACES]
        self.namespaces.on_change(self._changed)

    def _changed(self, namespace: Object, _old: Object | None) -> None:
        if is_deleting(namespace) and "kubernetes" in (namespace["spec"].get("finalizers") or ()):
            self.queue.add(("", namespace["metadata"]["name"]))

    async def sync(self, key: Key) -> None:
        """Deletes what is left; when nothing is, removes the finalizer."""
        namespace = self.namespaces.items.get(key)
        if namespace is None or not is_deleting(namespace):
            return
        left: dict[str, int] = {}
        finalizers: dict[str, int] = {}
        for resource in await served(self.client, {"list", "delete"}):
            if not resource.namespaced:
                continue
            for obj in await self._remaining(resource, key[1]):
                left[resource.plural] = left.get(resource.plural, 0) + 1
                for finalizer in obj["metadata"].get("finalizers") or ():
                    finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
                if not is_deleting(obj):
                    with contextlib.suppress(ApiError):
                        await self.client.delete(resource, key[1], obj["metadata"]["name"], propagation="Background")
        if left:
            await self._report(namespace, left, finalizers)
            self.queue.add_after(key, 0.1 if not finalizers else 0.5)
            return
        rest = [name for name in namespace["spec"].get("finalizers") or () if name != "kubernetes"]
        body = {**namespace, "spec": {"finalizers": rest}}
        try:
            await self.client.update(NAMESPACES, body, "finalize")
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            self.queue.add_after(key, 0.1 if error.code == 409 else 0)

    async def _remaining(self, resource: Resource, namespace: str) -> list[Object]:
        try:
            items, _ = await self.client.list(resource, namespace)
        except ApiError as error:
            if error.code in (404, 405):
                return []
            raise
        return items

    async def _report(self, namespace: Object, left: dict[str, int], finalizers: dict[str, int]) -> None:
        """Says in the namespace's conditions what still holds it, as kubectl shows for one that does not go."""
        what = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.items()))
        held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        facts = [
            ("NamespaceContentRemaining", bool(left), "SomeResourcesRemain", f"Some resources are remaining: {what}"),
            (
                "NamespaceFinalizersRemaining",
                bool(held),
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: {held}",
            ),
        ]
        conditions = [
            {
                "type": kind,
                "status": str(value),
                "reason": reason,
                "message": text,
                "lastTransitionTime": text_time(self.now()),
            }
            for kind, value, reason, text in facts
        ]
        known = {c["type"]: c["message"] for c in (namespace.get("status") or {}).get("conditions") or ()}
        if any(known.get(c["type"]) != c["message"] for c in conditions):
            body = {"metadata": {"uid": uid_of(namespace)}, "status": {"conditions": conditions}}
            with contextlib.suppress(ApiError):
                await self.client.patch(NAMESPACES, "", namespace["metadata"]["name"], body, "status")
