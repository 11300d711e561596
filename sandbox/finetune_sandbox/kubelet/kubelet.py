"""The kubelets of all nodes of the sandbox: registers the nodes and gives every bound pod a worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import shutil
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from finetune_sandbox.client import NODES, PODS, SERVICES, STRATEGIC, ApiClient, ApiError
from finetune_sandbox.controllers.job_rules import phase
from finetune_sandbox.events import Recorder
from finetune_sandbox.informers import Informers
from finetune_sandbox.kubelet.host import GPU, Host, gpus_of
from finetune_sandbox.kubelet.hosts import hosts_file
from finetune_sandbox.kubelet.images import Image, default_path
from finetune_sandbox.kubelet.pod import FINISHED, PodWorker
from finetune_sandbox.kubelet.runtime import USER, Runtime, StartError
from finetune_sandbox.objects import Object, is_deleting, key_of, text_time, uid_of

log = logging.getLogger(__name__)

STARTS = 16  # pods that are being started at a time
NOT_READY = "node.kubernetes.io/not-ready"
SIGNAL = "sandbox.finetune.dev/signal"  # an annotation whose new value, "NAME COUNTER", sends that signal to the pod


class Kubelet:
    """Runs the pods of this machine's nodes."""

    def __init__(
        self,
        client: ApiClient,
        informers: Informers,
        images: dict[str, Image],
        nodes: list[str],
        gpus: int,
        data_dir: Path,
        hidden: list[str],
        now: Callable[[], float],
    ) -> None:
        self._client, self._now, self._gpus = client, now, gpus
        self._images, self._hidden, self._data_dir = images, hidden, data_dir
        self._pods, self._services = informers[PODS], informers[SERVICES]
        self._informers = informers
        self._nodes = {name: set(range(gpus)) for name in nodes}  # GPUs that no pod has
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starts = asyncio.Semaphore(STARTS)
        self._peers: dict[str, Object] = {}  # pods with names that others in their namespace can resolve, by uid
        self._runtime = Runtime()
        self._host: Host | None = None
        self.recorder = Recorder(client, "kubelet", now)
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Runs pods until cancelled; then ends them all.

        Raises:
            OSError: This machine does not let containers be isolated.
        """
        shutil.rmtree(self._data_dir / "kubelet" / "pods", ignore_errors=True)
        async with (
            self._runtime,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0)) as session,
        ):
            self._host = Host(
                self._client,
                self._informers,
                self._runtime,
                self.recorder,
                session,
                self._images,
                self._now,
                self._data_dir / "kubelet",
                self._data_dir / "pods",
                self._hidden,
            )
            recording = asyncio.create_task(self.recorder.run())
            try:
                await self._check_isolation(self._host)
                for name in self._nodes:
                    await self._register(name)
                await self._informers.wait_synced()
                for pod in list(self._pods.items.values()):
                    self._pod_changed(pod, None)
                self._pods.on_change(self._pod_changed)
                self._pods.on_delete(self._pod_deleted)
                self._services.on_change(lambda service, old: None if old else self._names_changed())
                self._services.on_delete(lambda _service: self._names_changed())
                self.ready.set()
                await asyncio.Event().wait()
            finally:
                for task in self._tasks.values():
                    task.cancel()
                recording.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _check_isolation(self, host: Host) -> None:
        """Starts and ends a container, so that a machine that cannot is told at once and not by every pod."""
        specification = {
            **{name: [] for name in ("mounts", "hide", "passable", "devices", "groups")},
            "hostname": "check",
            "root": str(host.mount_point),
            "log": os.devnull,
            "read_only": False,
            "home": None,
            "uid": USER,
            "gid": USER,
            "cwd": "/",
            "argv": ["true"],
            "env": {"PATH": default_path()},
        }
        try:
            process = await self._runtime.start(specification)
        except StartError as error:
            raise OSError(f"pods cannot be isolated here ({error}); run as root or allow user namespaces") from error
        await process.ended

    async def _register(self, name: str) -> None:
        """Creates or renews the Node object."""
        node = node_object(name, self._gpus, self._now())
        with contextlib.suppress(ApiError):
            await self._client.create(NODES, {"metadata": node["metadata"], "spec": {}})
        present = await self._client.patch(NODES, "", name, {"status": node["status"]}, "status", STRATEGIC)
        taints = present["spec"].get("taints") or []
        kept = [taint for taint in taints if taint["key"] != NOT_READY]  # which kube-apiserver puts on every new node
        if kept != taints:
            await self._client.patch(NODES, "", name, {"spec": {"taints": kept}})

    def _pod_changed(self, pod: Object, old: Object | None) -> None:
        if pod["spec"].get("nodeName") not in self._nodes:
            return
        uid = uid_of(pod)
        if pod["spec"].get("subdomain"):
            self._peers[uid] = pod
        if worker := self._workers.get(uid):
            worker.update(pod)
            self._obey(worker, pod, old)
        elif phase(pod) in FINISHED or (is_deleting(pod) and old is None):
            if is_deleting(pod):
                self._spawn(uid, self._confirm(pod))
        else:
            self._spawn(uid, self._run(pod))
        if pod["spec"].get("subdomain") and not (old and old["spec"].get("nodeName")):
            self._names_changed(key_of(pod)[0])

    def _spawn(self, uid: str, work: Coroutine[Any, Any, None]) -> None:
        if uid in self._tasks:
            return
        task = asyncio.create_task(work)
        self._tasks[uid] = task
        task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    async def _run(self, pod: Object) -> None:
        """Runs a pod when its turn has come: a crowd that arrives at once waits here, where a pod costs least."""
        assert self._host
        key, uid = key_of(pod), uid_of(pod)
        del pod  # it may wait for long
        async with self._starts:
            latest = self._pods.items.get(key)
            if latest is None or uid_of(latest) != uid or phase(latest) in FINISHED:
                return
            if is_deleting(latest):
                await self._confirm(latest)
                return
            free = self._nodes[latest["spec"]["nodeName"]]
            gpus = sorted(free)[: gpus_of(latest)]
            free.difference_update(gpus)
            worker = self._workers[uid] = PodWorker(self._host, latest, gpus, self._hosts)
            running = asyncio.create_task(worker.run())
            begun = asyncio.create_task(worker.begun.wait())
            try:
                await asyncio.wait({running, begun}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                running.cancel()
                await self._end(worker, running)
                raise
            finally:
                begun.cancel()
        await self._end(worker, running)

    async def _end(self, worker: PodWorker, running: asyncio.Task[None]) -> None:
        try:
            await running
        except Exception:
            log.exception("pod %s/%s failed", *worker.pod.key)
        finally:
            self._nodes[worker.pod.obj["spec"]["nodeName"]].update(worker.pod.gpus)
            self._workers.pop(worker.pod.uid, None)
            await asyncio.shield(_remove(worker.pod.directory))

    async def _confirm(self, pod: Object) -> None:
        """A finished pod is being deleted: nothing runs that would have to end first."""
        with contextlib.suppress(ApiError):
            await self._client.delete(PODS, *key_of(pod), uid=uid_of(pod), grace=0)

    def _pod_deleted(self, pod: Object) -> None:
        """The object is gone: so go the process, if it was forced, and the logs."""
        uid = uid_of(pod)
        self._peers.pop(uid, None)
        if worker := self._workers.get(uid):
            pod["metadata"].setdefault("deletionTimestamp", text_time(self._now()))
            pod["metadata"]["deletionGracePeriodSeconds"] = 0
            worker.update(pod)
        if pod["spec"].get("nodeName") in self._nodes:
            namespace, name = key_of(pod)
            logs = self._data_dir / "pods" / f"{namespace}_{name}_{uid}"
            if self._host:
                self._host.later(self._remove_logs(logs, self._tasks.get(uid)))

    @staticmethod
    async def _remove_logs(logs: Path, until: asyncio.Task[None] | None) -> None:
        if until:
            await asyncio.wait([until])
        await _remove(logs)

    def _obey(self, worker: PodWorker, pod: Object, old: Object | None) -> None:
        wanted = (pod["metadata"].get("annotations") or {}).get(SIGNAL)
        before = ((old or pod)["metadata"].get("annotations") or {}).get(SIGNAL)
        if wanted and wanted != before and self._host:
            number = signal.Signals.__members__.get(f"SIG{wanted.split()[0].removeprefix('SIG')}")
            if number:
                self._host.later(worker.signal(number))

    def _hosts(self, pod: Object) -> str:
        namespace = key_of(pod)[0]
        peers = [peer for peer in self._peers.values() if key_of(peer)[0] == namespace]
        return hosts_file(pod, self._services.items.values(), peers)

    def _names_changed(self, namespace: str | None = None) -> None:
        """Services, or pods of one namespace, have come or gone."""
        for worker in self._workers.values():
            if namespace in (None, worker.pod.key[0]):
                worker.hosts_changed(self._hosts(worker.pod.obj))


async def _remove(folder: Path) -> None:
    """Removes a folder; in a thread, as a slow disk would hold up everything else."""
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def node_object(name: str, gpus: int, now: float) -> Object:
    """A node with generous room, so that requests meant for a cluster fit a laptop."""
    room = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "256Gi", "pods": "4096"}
    if gpus:
        room[GPU] = str(gpus)
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if gpus:
        labels["nvidia.com/gpu.present"] = "true"
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    when = {"lastHeartbeatTime": text_time(now), "lastTransitionTime": text_time(now)}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{**ready, **when}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "kubeletVersion": "v1.32.0",
                "kernelVersion": os.uname().release,
                "osImage": "finetune-sandbox",
                "operatingSystem": "linux",
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
                "containerRuntimeVersion": "sandbox://1",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kubeProxyVersion": "",
            },
        },
    }
