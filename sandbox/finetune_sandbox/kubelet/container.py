"""One container of a pod: starting it, awaiting its end, restarting it by policy, probing it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from finetune_sandbox.client import TRANSIENT
from finetune_sandbox.kubelet import probes
from finetune_sandbox.kubelet.environment import ConfigError, command_line, environment
from finetune_sandbox.kubelet.host import Host, Sandboxed, user_of
from finetune_sandbox.kubelet.memory import enforce
from finetune_sandbox.kubelet.runtime import Process, StartError
from finetune_sandbox.kubelet.status import Container, terminated, waiting
from finetune_sandbox.kubelet.volumes import MountError, mounts, uncovered
from finetune_sandbox.objects import Object, text_time
from finetune_sandbox.quantity import parse

MESSAGE_LIMIT, LOG_TAIL = 4096, 2048
RESTART_BASE, RESTART_MAX, RESTART_RESET = 10.0, 300.0, 600.0


class ContainerWorker:
    """Runs one container of a pod until its restart policy lets it rest."""

    def __init__(self, host: Host, pod: Sandboxed, container: Container, changed: Callable[[], None]) -> None:
        self.host, self.pod, self.container, self.changed = host, pod, container, changed
        self.process: Process | None = None
        self.reason: str | None = None
        self.policy = pod.obj["spec"].get("restartPolicy", "Always")
        if container.init:
            self.policy = "Always" if container.stays else ("Never" if self.policy == "Never" else "OnFailure")
        self._delay = 0.0

    async def run(self) -> None:
        """Starts the container, and again as often as the policy asks; returns when it has ended for good."""
        while not self.pod.stopping.is_set():
            began = self.host.now()
            await self._once()
            code = self.container.exit_code
            if self.pod.stopping.is_set() or self.policy == "Never" or (self.policy == "OnFailure" and code == 0):
                return
            if self.host.now() - began > RESTART_RESET:
                self._delay = 0.0
            await self._back_off()

    async def _back_off(self) -> None:
        """Waits before a restart: not at all the first time, then 10, 20, 40 ... seconds."""
        container = self.container
        if self._delay:
            container.last = container.state
            who = f"container={container.name} pod={'_'.join(self.pod.key[::-1])}({self.pod.uid})"
            message = f"back-off {self._delay:g}s restarting failed {who}"
            container.state = waiting("CrashLoopBackOff", message)
            self._event(
                "Warning", "BackOff", f"Back-off restarting failed container {container.name} in pod {self.pod.key[1]}"
            )
            self.changed()
            await self.pod.pause(self._delay)
        else:
            container.last = container.state
        self._delay = min(self._delay * 2, RESTART_MAX) or RESTART_BASE
        container.restarts += 1

    async def _once(self) -> None:
        """One life of the container."""
        began = self.host.now()
        try:
            process = await self._start()
        except StartError as error:
            message = f"failed to create containerd task: {error}"
            self._event("Warning", "Failed", f"Error: {message}")
            self._end(128, "StartError", message, began)
            return
        if process is None:
            return  # the pod was stopped before the container could start
        self.process, self.reason = process, None
        self.container.state = {"running": {"startedAt": text_time(began)}}
        self.container.identity = f"sandbox://{self.pod.uid}-{self.container.name}-{process.name}"
        self._event("Normal", "Started", f"Started container {self.container.name}")
        helpers = [asyncio.create_task(helper) for helper in self._helpers(process)]
        self.changed()
        try:
            code = await asyncio.shield(process.ended)
        finally:
            for helper in helpers:
                helper.cancel()
        self.process = None
        reason = self.reason or ("Completed" if code == 0 else "Error")
        self._end(code, reason, self._termination_message(code), began)

    def _end(self, code: int, reason: str, message: str, began: float) -> None:
        container = self.container
        container.ready = container.started = False
        container.state = terminated(code, reason, message, began, self.host.now(), container.identity)
        self.changed()

    async def _start(self) -> Process | None:
        """Starts the process; waits, saying why, while image, Secrets or volumes are missing."""
        pause = 0.5
        while not self.pod.stopping.is_set():
            image = self.host.images.get(self.container.spec["image"])
            if image is None:
                await self._pull_failed(pause)
            else:
                try:
                    return await self.host.runtime.start(await self._specification())
                except (ConfigError, MountError, OSError, *TRANSIENT) as error:
                    self.container.state = waiting("CreateContainerConfigError", str(error))
                    self._event("Warning", "Failed", f"Error: {error}")
                    self.changed()
            await self.pod.pause(pause)
            pause = min(pause * 2, 10.0)
        return None

    async def _pull_failed(self, pause: float) -> None:
        name = self.container.spec["image"]
        problem = f'Failed to pull image "{name}": {name}: not found'
        self.container.state = waiting("ErrImagePull", f"{name}: not found")
        self._event("Warning", "Failed", problem)
        self._event("Warning", "Failed", "Error: ErrImagePull")
        self.changed()
        await self.pod.pause(pause)
        self.container.state = waiting("ImagePullBackOff", f'Back-off pulling image "{name}"')
        self._event("Normal", "BackOff", f'Back-off pulling image "{name}"')
        self.changed()

    async def _specification(self) -> dict[str, Any]:
        """What the shim needs to know (see `isolation`)."""
        pod, spec, host = self.pod, self.container.spec, self.host
        image, (uid, gid, groups) = host.images[spec["image"]], user_of(pod.obj, spec)
        context = spec.get("securityContext") or {}
        variables = await environment(
            pod.obj, spec, image, {**host.variables, **pod.variables(spec)}, host.fetcher(pod.key[0])
        )
        message = pod.message_file(self.container.name)
        message.write_bytes(b"")
        host.own(message, uid, gid)
        log = pod.log_file(self.container.name)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        binds = [
            (str(host.passwd), "/etc/passwd", True),
            (str(pod.hosts_file), "/etc/hosts", True),
            (str(message), spec.get("terminationMessagePath") or "/dev/termination-log", False),
            *mounts(spec, pod.sources, pod.extra_mounts),
        ]
        binds += uncovered(host.layers(image), binds)
        directory = spec.get("workingDir") or image.cwd
        return {
            "hostname": pod.hostname,
            "root": str(host.mount_point),
            "mounts": binds,
            "hide": host.hidden,
            "passable": host.passable(image),
            "home": host.home if variables["HOME"] == host.home else None,
            "read_only": bool(context.get("readOnlyRootFilesystem")),
            "devices": pod.devices(spec),
            "uid": uid,
            "gid": gid,
            "groups": groups,
            "cwd": directory,
            "argv": command_line(spec, image, variables),
            "env": variables,
            "log": str(log),
        }

    def _termination_message(self, code: int) -> str:
        spec, file = self.container.spec, self.pod.message_file(self.container.name)
        with contextlib.suppress(OSError):
            if text := file.read_bytes()[:MESSAGE_LIMIT]:
                return text.decode(errors="replace")
        if code != 0 and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return _tail(self.pod.log_file(self.container.name))
        return ""

    def _helpers(self, process: Process) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the process: its memory limit and its probes."""
        spec, found = self.container.spec, list[Coroutine[Any, Any, None]]()
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        if limit:
            found.append(enforce(process.pid, int(parse(limit)), lambda: self._exceeded(process)))
        self.container.started = not spec.get("startupProbe")
        self.container.ready = self.container.started and not spec.get("readinessProbe")
        if any(spec.get(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe")):
            found.append(self._probe(process))
        return found

    def _exceeded(self, process: Process) -> None:
        self.reason = "OOMKilled"
        self.host.later(self.host.runtime.signal(process, signal.SIGKILL))

    async def _probe(self, process: Process) -> None:
        spec = self.container.spec
        if probe := spec.get("startupProbe"):
            await probes.watch(probe, self._attempt(probe, process), self._startup)
            if not self.container.started:
                self._unhealthy(process)
                return
        async with asyncio.TaskGroup() as group:
            if probe := spec.get("readinessProbe"):
                group.create_task(probes.watch(probe, self._attempt(probe, process), self._readiness))
            if probe := spec.get("livenessProbe"):
                await probes.watch(probe, self._attempt(probe, process), self._liveness)
                self._unhealthy(process)

    def _attempt(self, probe: Object, process: Process) -> Callable[[], Coroutine[Any, Any, str | None]]:
        async def execute(command: Sequence[str], limit: float) -> int:
            return await self.execute(process, command, limit)

        return lambda: probes.check(probe, self.container.spec, execute, self.host.session)

    async def execute(self, process: Process, command: Sequence[str], limit: float) -> int:
        """Runs a command inside the container and returns its exit code; it is killed after `limit` seconds."""
        uid, gid, groups = user_of(self.pod.obj, self.container.spec)
        image = self.host.images[self.container.spec["image"]]
        given = {**self.host.variables, **self.pod.variables(self.container.spec)}
        variables = await environment(
            self.pod.obj, self.container.spec, image, given, self.host.fetcher(self.pod.key[0])
        )
        what = {
            "argv": list(command),
            "env": variables,
            "uid": uid,
            "gid": gid,
            "groups": groups,
            "cwd": "/",
            "log": None,
        }
        try:
            entered = await self.host.runtime.enter(process, what)
        except StartError as error:
            raise OSError(str(error)) from error
        try:
            async with asyncio.timeout(limit):
                return await asyncio.shield(entered.ended)
        finally:
            await self.host.runtime.signal(entered, signal.SIGKILL)

    def _startup(self, healthy: bool, problem: str) -> bool:
        self.container.started = healthy
        self.container.ready = healthy and not self.container.spec.get("readinessProbe")
        if not healthy:
            self._event("Warning", "Unhealthy", f"Startup probe failed: {problem}")
        self.changed()
        return True

    def _readiness(self, healthy: bool, problem: str) -> bool:
        if not healthy:
            self._event("Warning", "Unhealthy", f"Readiness probe failed: {problem}")
        if healthy != self.container.ready:
            self.container.ready = healthy
            self.changed()
        return False

    def _liveness(self, healthy: bool, problem: str) -> bool:
        if not healthy:
            self._event("Warning", "Unhealthy", f"Liveness probe failed: {problem}")
        return not healthy

    def _unhealthy(self, process: Process) -> None:
        self._event("Normal", "Killing", f"Container {self.container.name} failed liveness probe, will be restarted")
        self.host.later(self.stop(process, self.pod.obj["spec"].get("terminationGracePeriodSeconds", 30)))

    async def stop(self, process: Process | None, grace: float) -> None:
        """Asks the process to end, and kills it, with all it started, when the grace period is over."""
        if process is None:
            return
        if grace > 0:
            await self.host.runtime.signal(process, signal.SIGTERM)
            await asyncio.wait([process.ended], timeout=grace)
        await self.host.runtime.signal(process, signal.SIGKILL)
        await asyncio.wait([process.ended])

    def _event(self, kind: str, reason: str, message: str) -> None:
        path = f"spec.{'initContainers' if self.container.init else 'containers'}{{{self.container.name}}}"
        self.host.recorder.event(self.pod.obj, kind, reason, message, path)


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - LOG_TAIL, 0))
            lines = file.read().decode(errors="replace").splitlines(keepends=True)
    except OSError:
        return ""
    return "".join(lines[-80:])
