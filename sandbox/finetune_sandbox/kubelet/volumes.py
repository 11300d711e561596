"""A pod's volumes as files and directories of this machine, ready to be mounted."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from finetune_sandbox.client import CLAIMS, CONFIG_MAPS, SECRETS, VOLUMES, Resource
from finetune_sandbox.kubelet.environment import Fetch, field_value, raw_data, resource_value
from finetune_sandbox.objects import Object

TokenRequest = Callable[[Object], Awaitable[str]]
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_VOLUME = {
    "name": "kube-api-access",
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]
    },
}


class MountError(Exception):
    """A volume cannot be set up yet; the text is that of a FailedMount event."""


class Source(NamedTuple):
    """What a volume is on this machine, and whether it may never be written."""

    path: Path
    read_only: bool


class Volumes:
    """Sets up the volumes of one pod below a directory."""

    def __init__(self, pod: Object, root: Path, fetch: Fetch, token: TokenRequest) -> None:
        self._pod, self._root, self._fetch, self._token = pod, root, fetch, token
        self._group = (pod["spec"].get("securityContext") or {}).get("fsGroup")

    async def set_up(self, volumes: list[Object]) -> dict[str, Source]:
        """Makes every volume; may be called again after a failure.

        Raises:
            MountError: Something that a volume refers to is missing.
        """
        return {volume["name"]: await self._one(volume) for volume in volumes}

    async def _one(self, volume: Object) -> Source:
        name, path = volume["name"], self._root / volume["name"]
        if "emptyDir" in volume:
            return Source(self._open_directory(path), False)
        if source := volume.get("hostPath"):
            return Source(_host_path(name, source), False)
        if source := volume.get("persistentVolumeClaim"):
            return Source(await self._claimed(source["claimName"]), bool(source.get("readOnly")))
        if source := volume.get("projected"):
            files = {}
            for part in source.get("sources") or ():
                files.update(await self._projected(name, part))
            return Source(_write(path, files, source.get("defaultMode", 0o644), self._group), True)
        for kind, resource, key in (("secret", SECRETS, "secretName"), ("configMap", CONFIG_MAPS, "name")):
            if (source := volume.get(kind)) is not None:
                files = await self._keys(name, resource, source[key], source)
                return Source(_write(path, files, source.get("defaultMode", 0o644), self._group), True)
        if source := volume.get("downwardAPI"):
            return Source(_write(path, self._downward(source), source.get("defaultMode", 0o644), self._group), True)
        kind = next(iter(set(volume) - {"name"}), "nothing")
        raise MountError(
            f'MountVolume.SetUp failed for volume "{name}" : volumes of type {kind} are not supported here'
        )

    def _open_directory(self, path: Path) -> Path:
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o777)
            if self._group is not None and os.geteuid() == 0:
                os.chown(path, -1, self._group)
                path.chmod(0o2777)
        return path

    async def _claimed(self, claim_name: str) -> Path:
        claim = await self._fetch(CLAIMS, claim_name)
        if claim is None:
            raise MountError(f'persistentvolumeclaim "{claim_name}" not found')
        bound = await self._fetch(VOLUMES, claim["spec"].get("volumeName") or "-")
        if bound is None or (claim.get("status") or {}).get("phase") != "Bound":
            raise MountError(f'persistentvolumeclaim "{claim_name}" is not bound')
        source = bound["spec"].get("hostPath") or bound["spec"].get("local")
        if source is None:
            raise MountError(f"persistentvolume {bound['metadata']['name']} is neither hostPath nor local")
        return _host_path(bound["metadata"]["name"], {"type": "DirectoryOrCreate", **source})

    async def _projected(self, name: str, part: Object) -> dict[str, tuple[bytes, int | None]]:
        if source := part.get("serviceAccountToken"):
            return {source["path"]: ((await self._token(source)).encode(), None)}
        if source := part.get("downwardAPI"):
            return self._downward(source)
        resource = SECRETS if "secret" in part else CONFIG_MAPS
        source = part.get("secret") or part.get("configMap") or {}
        return await self._keys(name, resource, source["name"], source)

    async def _keys(
        self, volume: str, resource: Resource, name: str, source: Object
    ) -> dict[str, tuple[bytes, int | None]]:
        found = await self._fetch(resource, name)
        if found is None:
            if source.get("optional"):
                return {}
            raise MountError(
                f'MountVolume.SetUp failed for volume "{volume}" : {resource.kind.lower()} "{name}" not found'
            )
        data = raw_data(resource, found)
        if source.get("items") is None:
            return {key: (value, None) for key, value in data.items()}
        missing = [item["key"] for item in source["items"] if item["key"] not in data]
        if missing and not source.get("optional"):
            text = f"references non-existent {resource.kind.lower()} key: {missing[0]}"
            raise MountError(f'MountVolume.SetUp failed for volume "{volume}" : {text}')
        return {item["path"]: (data[item["key"]], item.get("mode")) for item in source["items"] if item["key"] in data}

    def _downward(self, source: Object) -> dict[str, tuple[bytes, int | None]]:
        files: dict[str, tuple[bytes, int | None]] = {}
        for item in source.get("items") or ():
            if reference := item.get("fieldRef"):
                value = field_value(self._pod, reference["fieldPath"])
            else:
                value = resource_value(self._pod, {}, item["resourceFieldRef"])
            files[item["path"]] = value.encode(), item.get("mode")
        return files


def with_token(pod: Object, wanted: bool) -> tuple[list[Object], list[Object]]:
    """A pod's volumes, and the mounts that containers get besides their own.

    Where the server's admission has not added the ServiceAccount token, it is added here.
    """
    volumes = list(pod["spec"].get("volumes") or ())
    present = any(volume["name"].startswith("kube-api-access") for volume in volumes)
    if not wanted or present:
        return volumes, []
    return [*volumes, TOKEN_VOLUME], [{"name": TOKEN_VOLUME["name"], "mountPath": SERVICE_ACCOUNT, "readOnly": True}]


def mounts(container: Object, sources: Mapping[str, Source], extra: list[Object]) -> list[tuple[str, str, bool]]:
    """The bind mounts of a container, shortest target first: source, target, read-only.

    Raises:
        MountError: A mount names no volume, or its subPath leaves the volume.
    """
    own = container.get("volumeMounts") or []
    taken = {mount["mountPath"].rstrip("/") for mount in own}
    found = []
    for mount in [*own, *(mount for mount in extra if mount["mountPath"] not in taken)]:
        if (source := sources.get(mount["name"])) is None:
            raise MountError(f'volume "{mount["name"]}" of mount {mount["mountPath"]} does not exist')
        path = source.path
        if sub := mount.get("subPath"):
            path = source.path / sub
            if not path.resolve().is_relative_to(source.path.resolve()):
                raise MountError(f"subPath {sub!r} leaves volume {mount['name']}")
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(stat.S_IMODE(source.path.stat().st_mode))
        found.append((str(path), mount["mountPath"], source.read_only or bool(mount.get("readOnly"))))
    return sorted(found, key=lambda bind: bind[1].count("/"))


def uncovered(layers: Iterable[str], binds: Iterable[tuple[str, str, bool]]) -> list[tuple[str, str, bool]]:
    """Binds that bring back an image's files where a volume covers them, as an emptyDir at /tmp does with all below.

    On a cluster no volume can do that to a program, whose image is mounted by no path of the node.
    """
    targets = [target.rstrip("/") + "/" for _, target, _ in binds]
    return [(path, path, True) for path in layers if any(path.startswith(target) for target in targets)]


def _host_path(name: str, source: Object) -> Path:
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(0o644)
    checks = {"": path.exists, "Directory": path.is_dir, "File": path.is_file, "Socket": path.is_socket}
    checks |= {"DirectoryOrCreate": path.is_dir, "FileOrCreate": path.is_file}
    if not checks.get(kind, path.exists)():
        raise MountError(
            f'MountVolume.SetUp failed for volume "{name}" : hostPath type check failed: {path} is no {kind or "path"}'
        )
    return path


def _write(root: Path, files: Mapping[str, tuple[bytes, int | None]], mode: int, group: int | None) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, (content, own_mode) in files.items():
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise MountError(f"path {name!r} leaves the volume")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if group is not None and os.geteuid() == 0:
            os.chown(path, -1, group)
        path.chmod((mode if own_mode is None else own_mode) | (0o040 if group is not None else 0))
    return root
