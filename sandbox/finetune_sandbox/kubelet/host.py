"""What all pods on this machine share, and what is set up for one pod: directories, users, names, devices."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from finetune_sandbox.client import SERVICE_ACCOUNTS, ApiClient, Resource
from finetune_sandbox.controllers.namespaces import ROOT_CA
from finetune_sandbox.events import Recorder
from finetune_sandbox.informers import Informers
from finetune_sandbox.kubelet.environment import ConfigError, Fetch
from finetune_sandbox.kubelet.images import Image
from finetune_sandbox.kubelet.runtime import USER, Runtime
from finetune_sandbox.kubelet.volumes import Source
from finetune_sandbox.objects import Object, is_deleting, key_of, uid_of

HOME = "/home/nonroot"
GPU = "nvidia.com/gpu"


@dataclass
class Host:
    """This machine, as all pods share it.

    Attributes:
        hidden: Paths that pods must not see.
        session: For HTTP probes.
    """

    client: ApiClient
    informers: Informers
    runtime: Runtime
    recorder: Recorder
    session: aiohttp.ClientSession
    images: dict[str, Image]
    now: Callable[[], float]
    directory: Path
    logs: Path
    hidden: list[str]
    home: str = HOME
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.mount_point.mkdir(parents=True, exist_ok=True)
        known = Path("/etc/passwd").read_text()
        self.passwd.write_text(f"{known.rstrip()}\nnonroot:x:{USER}:{USER}:nonroot:{HOME}:/sbin/nologin\n")
        self.passwd.chmod(0o644)

    @property
    def mount_point(self) -> Path:
        """Where containers, each in a mount namespace of its own, build their root."""
        return self.directory / "root"

    @property
    def passwd(self) -> Path:
        """The users that containers know."""
        return self.directory / "passwd"

    @property
    def variables(self) -> dict[str, str]:
        """What every container finds in its environment."""
        server = urlsplit(self.client.access.url)
        port = str(server.port or 443)
        return {
            "KUBERNETES_SERVICE_HOST": server.hostname or "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
        }

    def fetcher(self, namespace: str) -> Fetch:
        """Reads objects of one namespace."""

        async def fetch(resource: Resource, name: str) -> Object | None:
            if resource == SERVICE_ACCOUNTS or name == ROOT_CA:  # every pod needs them and they hardly ever change
                known = self.informers[resource].items.get((namespace, name))
                if known is not None:
                    return known
            return await self.client.find(resource, namespace if resource.namespaced else "", name)

        return fetch

    def layers(self, image: Image) -> list[str]:
        """What stands for an image's own files here: this environment, its packages, and what the command names."""
        packages = [path for path in sys.path if os.path.isabs(path) and path != os.getcwd()]
        programs = [part for part in image.command if part.startswith("/")]
        found = {sys.prefix, sys.base_prefix, os.path.realpath(sys.executable), image.cwd, *packages, *programs}
        return sorted(path for path in found if os.path.exists(path))

    def passable(self, image: Image) -> list[str]:
        """Directories above an image's files: the containers' users must be able to pass through."""
        return sorted({str(parent) for path in self.layers(image) for parent in Path(path).parents} - {"/"})

    def own(self, path: Path, uid: int, gid: int) -> None:
        """Gives a file to a container's user, as far as this program may."""
        if os.geteuid() == 0:
            os.chown(path, uid, gid)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Sandboxed:
    """What is set up for one pod.

    Attributes:
        obj: The pod as last seen.
        stopping: Set when the pod is to end.
        sources: Its volumes, once set up.
        extra_mounts: Mounts that every container gets besides its own.
    """

    def __init__(self, host: Host, obj: Object, gpus: list[int]) -> None:
        self.obj, self.key, self.uid = obj, key_of(obj), uid_of(obj)
        self.stopping = asyncio.Event()
        self.sources: dict[str, Source] = {}
        self.extra_mounts: list[Object] = []
        self.directory = host.directory / "pods" / self.uid
        self.logs = host.logs / f"{self.key[0]}_{self.key[1]}_{self.uid}"
        self.gpus = gpus
        for directory in (self.directory, self.logs):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def hostname(self) -> str:
        """The pod's host name."""
        return str(self.obj["spec"].get("hostname") or self.key[1])[:63].rstrip("-.")

    @property
    def hosts_file(self) -> Path:
        """The pod's /etc/hosts."""
        return self.directory / "hosts"

    def message_file(self, container: str) -> Path:
        """A container's termination message."""
        return self.directory / f"{container}.message"

    def log_file(self, container: str) -> Path:
        """A container's output."""
        return self.logs / f"{container}.log"

    def variables(self, container: Object) -> dict[str, str]:
        """What the container finds in its environment of the pod itself."""
        found = {"HOSTNAME": self.hostname, "HOME": HOME}
        if self.gpus and _gpu_count(container):
            found["NVIDIA_VISIBLE_DEVICES"] = ",".join(map(str, self.gpus))
        return found

    def devices(self, container: Object) -> list[str]:
        """Device files below /dev that the container may use: those of its GPUs, if this machine has them."""
        if not self.gpus or not _gpu_count(container):
            return []
        return [*(f"nvidia{number}" for number in self.gpus), "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"]

    def deadline(self) -> float | None:
        """Seconds that the pod may run."""
        limit = self.obj["spec"].get("activeDeadlineSeconds")
        return None if limit is None else float(limit)

    def grace(self) -> float:
        """Seconds between asking containers to end and killing them."""
        if is_deleting(self.obj):
            return float(self.obj["metadata"].get("deletionGracePeriodSeconds") or 0)
        return float(self.obj["spec"].get("terminationGracePeriodSeconds", 30))

    async def pause(self, seconds: float) -> None:
        """Waits, but not longer than the pod is to run."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return


def user_of(pod: Object, container: Object) -> tuple[int, int, list[int]]:
    """User, group and supplementary groups of a container.

    Raises:
        ConfigError: It asks for root, which is not to be had.
    """
    shared, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    uid = int(own.get("runAsUser", shared.get("runAsUser", USER)))
    gid = int(own.get("runAsGroup", shared.get("runAsGroup", uid)))
    if uid == 0:
        raise ConfigError(
            "securityContext.runAsUser is 0: containers do not run as root here; choose another user or leave it out"
        )
    groups = [
        *(shared.get("supplementalGroups") or ()),
        *([shared["fsGroup"]] if shared.get("fsGroup") is not None else ()),
    ]
    return uid, gid, [int(group) for group in groups]


def gpus_of(pod: Object) -> int:
    """How many GPUs a pod asks for."""
    return sum(_gpu_count(container) for container in pod["spec"]["containers"])


def _gpu_count(container: Object) -> int:
    return int(((container.get("resources") or {}).get("limits") or {}).get(GPU, 0))
