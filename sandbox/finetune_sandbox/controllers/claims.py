"""Volumes for claims: each PersistentVolumeClaim gets a directory of this machine, or a fitting volume that exists."""

from __future__ import annotations

import asyncio
import shutil

from finetune_sandbox.client import CLAIMS, VOLUMES, ApiError
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.objects import Key, Object, is_deleting, key_of, uid_of
from finetune_sandbox.quantity import parse

PROVISIONER = "sandbox.finetune.dev/directory"


class ClaimController(Controller):
    """Binds claims, and removes provisioned directories with their claims."""

    name = "persistentvolume-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.claims, self.volumes = self.informers[CLAIMS], self.informers[VOLUMES]
        self.root = context.data_dir / "volumes"
        self.claims.on_change(self.enqueue)
        self.claims.on_delete(self.enqueue)
        self.volumes.on_change(lambda _new, _old: self._look_at_unbound())

    def _look_at_unbound(self) -> None:
        for claim in self.claims.items.values():
            if not claim["spec"].get("volumeName"):
                self.enqueue(claim)

    async def sync(self, key: Key) -> None:
        """Binds one claim, or gives back the volumes of one that is gone."""
        claim = self.claims.items.get(key)
        await self._reclaim(key, uid_of(claim) if claim else None)
        if claim is None or is_deleting(claim) or (claim.get("status") or {}).get("phase") == "Bound":
            return
        volume = self._chosen(claim)
        if volume is None and claim["spec"].get("storageClassName") == "":
            return  # asks for a volume that somebody has made
        volume = volume or await self._provision(claim)
        if claim["spec"].get("volumeName") != volume["metadata"]["name"]:
            body = {"metadata": {"uid": uid_of(claim)}, "spec": {"volumeName": volume["metadata"]["name"]}}
            claim = await self.client.patch(CLAIMS, *key, body)
            self.claims.observe(claim)
        await self.client.patch(VOLUMES, "", volume["metadata"]["name"], {"spec": {"claimRef": _reference(claim)}})
        await self.client.patch(VOLUMES, "", volume["metadata"]["name"], {"status": {"phase": "Bound"}}, "status")
        modes, capacity = volume["spec"]["accessModes"], volume["spec"]["capacity"]
        status = {"phase": "Bound", "accessModes": modes, "capacity": capacity}
        self.claims.observe(await self.client.patch(CLAIMS, *key, {"status": status}, "status"))

    def _chosen(self, claim: Object) -> Object | None:
        """The volume that the claim names, was already given, or fits best."""
        if name := claim["spec"].get("volumeName"):
            return self.volumes.items.get(("", name))
        wanted = parse(claim["spec"]["resources"]["requests"]["storage"])
        fitting = []
        for volume in self.volumes.items.values():
            spec, taken = volume["spec"], volume["spec"].get("claimRef")
            if (
                taken
                and taken.get("uid", uid_of(claim)) == uid_of(claim)
                and (taken["namespace"], taken["name"]) == key_of(claim)
            ):
                return volume
            if taken or spec.get("storageClassName", "") != claim["spec"].get("storageClassName", ""):
                continue
            if parse(spec["capacity"]["storage"]) >= wanted and set(claim["spec"]["accessModes"]) <= set(
                spec["accessModes"]
            ):
                fitting.append(volume)
        return min(fitting, key=lambda volume: parse(volume["spec"]["capacity"]["storage"]), default=None)

    async def _provision(self, claim: Object) -> Object:
        name = f"pvc-{uid_of(claim)}"
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        body = {
            "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
            "spec": {
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": claim["spec"].get("storageClassName") or "",
                "volumeMode": "Filesystem",
                "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
                "claimRef": _reference(claim),
            },
        }
        try:
            volume = await self.client.create(VOLUMES, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return await self.client.get(VOLUMES, "", name)
        self.volumes.observe(volume)
        self.recorder.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        return volume

    async def _reclaim(self, key: Key, claim_uid: str | None) -> None:
        """Deletes provisioned volumes, and releases others, whose claim is gone."""
        for volume in list(self.volumes.items.values()):
            claim, name = volume["spec"].get("claimRef"), volume["metadata"]["name"]
            if not claim or (claim["namespace"], claim["name"]) != key or claim.get("uid", claim_uid) == claim_uid:
                continue
            if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
                await self.client.patch(VOLUMES, "", name, {"status": {"phase": "Released"}}, "status")
                continue
            await self.client.delete(VOLUMES, "", name, uid=uid_of(volume))
            if (self.root / name).is_dir():
                await asyncio.to_thread(shutil.rmtree, self.root / name, ignore_errors=True)


def _reference(claim: Object) -> Object:
    namespace, name = key_of(claim)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace,
        "name": name,
        "uid": uid_of(claim),
    }
