"""One pod on a node: volumes, init containers, containers, status, and its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from finetune_sandbox.client import PODS, SERVICE_ACCOUNTS, STRATEGIC, TRANSIENT, ApiError
from finetune_sandbox.kubelet.container import ContainerWorker
from finetune_sandbox.kubelet.environment import ConfigError
from finetune_sandbox.kubelet.host import Host, Sandboxed
from finetune_sandbox.kubelet.status import Container, pod_status, terminated, waiting
from finetune_sandbox.kubelet.volumes import MountError, Volumes, with_token
from finetune_sandbox.objects import Object, is_deleting

log = logging.getLogger(__name__)

FINISHED = ("Succeeded", "Failed")
SETTLE = 0.03  # seconds from a change to its report, so that what ends at once is reported once
RETRY = 0.5


class PodWorker:
    """Runs one pod from binding to its end, as one task.

    Attributes:
        begun: Set when a container has been started, or cannot be yet.
    """

    def __init__(self, host: Host, obj: Object, gpus: list[int], hosts: Callable[[Object], str]) -> None:
        self.host, self.pod = host, Sandboxed(host, obj, gpus)
        self.pod.hosts_file.write_text(hosts(obj))
        self._began = host.now()
        self._override: Object = {}
        self._changed = asyncio.Event()
        self.begun = asyncio.Event()
        self._written: Object = {}
        self.containers = [
            Container(spec, init, waiting("PodInitializing" if init else "ContainerCreating"), {})
            for init, specs in ((True, obj["spec"].get("initContainers")), (False, obj["spec"]["containers"]))
            for spec in specs or ()
        ]
        self.workers = [ContainerWorker(host, self.pod, container, self._report) for container in self.containers]

    def _report(self) -> None:
        """Something is known: a container runs, has ended, or cannot be started yet."""
        self._changed.set()
        self.begun.set()

    def update(self, obj: Object) -> None:
        """Takes in a newer state of the pod; a deletion ends it, one with less grace sooner."""
        before = self.pod.grace() if self.pod.stopping.is_set() else None
        self.pod.obj = obj
        if is_deleting(obj):
            self.pod.stopping.set()
            if before is not None and self.pod.grace() < before:
                self.host.later(self._stop_all(self.pod.grace()))

    def end(self, reason: str, message: str) -> None:
        """Ends the pod as failed, as by eviction or when its deadline has passed."""
        self._override = {"phase": "Failed", "reason": reason, "message": message}
        self.pod.stopping.set()

    def hosts_changed(self, text: str) -> None:
        """Writes /etc/hosts again, in place, as it is mounted."""
        self.pod.hosts_file.write_text(text)

    async def signal(self, number: int) -> None:
        """Sends a signal to the first process of every container."""
        for worker in self.workers:
            if worker.process:
                await self.host.runtime.signal(worker.process, number)

    async def run(self) -> None:
        """Runs the pod to its end, and lets the server remove it if that was asked for."""
        self._changed.set()
        writer = asyncio.create_task(self._write_statuses())
        life = asyncio.create_task(self._live())
        stop = asyncio.create_task(self.pod.stopping.wait())
        try:
            await asyncio.wait({life, stop}, timeout=self.pod.deadline(), return_when=asyncio.FIRST_COMPLETED)
            if not life.done() and not self.pod.stopping.is_set():
                self.end("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            if not life.done():
                await self._stop(life)
            await life
        finally:
            for task in (writer, life, stop):
                task.cancel()
            await asyncio.gather(writer, life, stop, return_exceptions=True)
        await self._write_last()

    async def _live(self) -> None:
        """Everything up to the end of the last container."""
        if self._resume():
            return
        if not await self._set_up():
            return
        init = [worker for worker in self.workers if worker.container.init]
        sidecars: list[asyncio.Task[None]] = []
        try:
            for worker in init:
                if worker.container.stays:
                    sidecars.append(asyncio.create_task(worker.run()))
                    while not worker.container.started and not self.pod.stopping.is_set():
                        await self.pod.pause(0.05)
                    continue
                await worker.run()
                if worker.container.exit_code != 0:
                    return
            if not self.pod.stopping.is_set():
                await asyncio.gather(*(worker.run() for worker in self.workers if not worker.container.init))
        finally:
            await self._stop_sidecars(sidecars)

    async def _stop_sidecars(self, tasks: list[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        for worker in self.workers:
            if worker.container.stays:
                worker.policy = "Never"
                await worker.stop(worker.process, self.pod.grace())
        await asyncio.gather(*tasks, return_exceptions=True)

    def _resume(self) -> bool:
        """Looks at what an earlier kubelet reported: its processes are gone. Says whether the pod may not run again."""
        status = self.pod.obj.get("status") or {}
        known = {
            s["name"]: s
            for s in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        }
        lost = False
        for worker in self.workers:
            container, before = worker.container, known.get(worker.container.name)
            if before is None or "waiting" in before["state"]:
                continue
            container.restarts = before.get("restartCount", 0) + 1
            message = "The container could not be located when the pod was resumed"
            gone = terminated(137, "ContainerStatusUnknown", message, self._began, self._began, "")
            container.last = gone if "running" in before["state"] else before["state"]
            if self.pod.obj["spec"].get("restartPolicy") == "Never" and not container.init:
                container.state, container.last, container.restarts = container.last, {}, before.get("restartCount", 0)
                lost = True
        return lost

    async def _set_up(self) -> bool:
        """Sets up the volumes, waiting for what is missing; False when the pod is to end before that."""
        obj, pause = self.pod.obj, 0.5
        account = await self.host.fetcher(self.pod.key[0])(
            SERVICE_ACCOUNTS, obj["spec"].get("serviceAccountName") or "default"
        )
        mounted = obj["spec"].get(
            "automountServiceAccountToken", (account or {}).get("automountServiceAccountToken", True)
        )
        volumes, self.pod.extra_mounts = with_token(obj, bool(account and mounted))
        maker = Volumes(obj, self.pod.directory / "volumes", self.host.fetcher(self.pod.key[0]), self._token)
        while not self.pod.stopping.is_set():
            try:
                self.pod.sources = await maker.set_up(volumes)
                return True
            except (MountError, ConfigError, OSError, *TRANSIENT) as error:
                self.host.recorder.event(obj, "Warning", "FailedMount", str(error))
            self._report()
            await self.pod.pause(pause)
            pause = min(pause * 2, 10.0)
        return False

    async def _token(self, source: Object) -> str:
        namespace, name = self.pod.key
        reference = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": self.pod.uid}
        spec = {"expirationSeconds": source.get("expirationSeconds", 3600), "boundObjectRef": reference}
        audience = {"audiences": [source["audience"]]} if source.get("audience") else {"audiences": None}
        account = self.pod.obj["spec"].get("serviceAccountName") or "default"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {**spec, **audience}}
        answer = await self.host.client.request("POST", SERVICE_ACCOUNTS.path(namespace, account, "token"), body)
        return str(answer["status"]["token"])

    async def _stop(self, life: asyncio.Task[None]) -> None:
        """Ends the containers that run, within the pod's grace period; what waits or sets up gives up by itself."""
        grace = self.pod.grace()
        running = [worker for worker in self.workers if worker.process]
        for worker in running:
            name = worker.container.name
            self.host.recorder.event(self.pod.obj, "Normal", "Killing", f"Stopping container {name}")
        await self._stop_all(grace)
        await asyncio.wait({life}, timeout=grace + 5)

    async def _stop_all(self, grace: float) -> None:
        await asyncio.gather(*(worker.stop(worker.process, grace) for worker in self.workers))

    async def _write_statuses(self) -> None:
        """Reports every change; changes that come while one is written are reported together."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE)
            self._changed.clear()
            try:
                if not await self._write():
                    return
            except TRANSIENT as error:
                log.debug("status of pod %s/%s: %s", *self.pod.key, error)
                self._changed.set()
                await asyncio.sleep(RETRY)

    async def _write(self) -> bool:
        """Reports the present status if it is news; False when the pod is gone."""
        status = pod_status(self.pod.obj, self.containers, self.host.now(), self._began, self._override)
        if status == self._written:
            return True
        namespace, name = self.pod.key
        body = {"metadata": {"uid": self.pod.uid}, "status": status}
        try:
            written = await self.host.client.patch(PODS, namespace, name, body, "status", STRATEGIC)
        except ApiError as error:
            if error.code in (404, 409):
                return False
            raise
        self._written = status
        self.host.informers[PODS].observe(written)  # an older state must not be taken for news once the worker is gone
        return True

    async def _write_last(self) -> None:
        """Reports the final status, trying until it is heard, and confirms a deletion."""
        if self.pod.stopping.is_set() and not self._override:
            self._conclude()
        pause = 0.1
        while True:
            try:
                if not await self._write():
                    return
                if is_deleting(self.pod.obj):
                    await self.confirm_deletion()
                return
            except TRANSIENT:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    def _conclude(self) -> None:
        """A pod that was stopped has ended, whatever its restart policy says."""
        codes = [container.exit_code for container in self.containers if not container.init]
        self._override = {"phase": "Succeeded" if all(code == 0 for code in codes) else "Failed"}

    async def confirm_deletion(self) -> None:
        """Tells the server that nothing runs any more."""
        await self.host.client.delete(PODS, *self.pod.key, uid=self.pod.uid, grace=0)
