"""The kubelet's side of the shim: containers as futures."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_SHIM = Path(__file__).with_name("shim.py")
_PACKET = 1 << 20
USER = 65532  # "nonroot", as images of the distroless kind name it
KILLED = 128 + signal.SIGKILL
FAREWELL = 1.0  # seconds that containers have when the sandbox ends


class StartError(Exception):
    """A container's process could not be started."""


@dataclass
class Process:
    """A running process.

    Attributes:
        pid: Its number on this machine.
        ended: Its exit code, once it has one; 128 + N after signal N.
    """

    name: str
    pid: int = 0
    started: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Runtime:
    """Starts, signals and awaits containers. Use as an async context manager: at its end no container is left."""

    def __init__(self) -> None:
        self._processes: dict[str, Process] = {}
        self._names = itertools.count()
        self._control: socket.socket | None = None
        self._shim: asyncio.subprocess.Process | None = None
        self._sending = asyncio.Lock()

    async def __aenter__(self) -> Runtime:
        await self._start_shim()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Asks all containers to end, then closes the socket: the shim ends, and the kernel kills what it started."""
        ends = [process.ended for process in self._processes.values()]
        if ends:
            await asyncio.gather(*(self.signal(process, signal.SIGTERM) for process in [*self._processes.values()]))
            await asyncio.wait(ends, timeout=FAREWELL)
        self._hang_up()
        if self._shim:
            with contextlib.suppress(ProcessLookupError):
                self._shim.kill()
            await self._shim.wait()
        await asyncio.gather(*ends, return_exceptions=True)

    async def _start_shim(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PACKET)
        ours.setblocking(False)
        self._control = ours
        command = [sys.executable, "-I", "-S", str(_SHIM), str(theirs.fileno()), str(USER)]
        with theirs:
            self._shim = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()], env={})
        asyncio.get_running_loop().add_reader(ours.fileno(), self._receive)

    async def start(self, specification: dict[str, Any]) -> Process:
        """Starts a container (`isolation` describes the specification).

        Raises:
            StartError: Its root could not be made or its command not be executed.
        """
        return await self._request({"start": specification})

    async def enter(self, container: Process, specification: dict[str, Any]) -> Process:
        """Starts a process inside a running container: `argv`, `env`, `uid`, `gid`, `groups`, `cwd`, `log` (or None).

        Raises:
            StartError: The container has ended or the command cannot be executed.
        """
        return await self._request({"exec": {**specification, "container": container.name}})

    async def signal(self, process: Process, number: int) -> None:
        """Sends a signal to a process that may have ended."""
        if not process.ended.done():
            await self._send({"id": process.name, "signal": int(number)})

    async def _request(self, request: dict[str, Any]) -> Process:
        if self._control is None:
            await self._start_shim()
        process = Process(f"{next(self._names)}")
        self._processes[process.name] = process
        await self._send({"id": process.name, **request})
        await process.started
        return process

    async def _send(self, request: dict[str, Any]) -> None:
        packet = json.dumps(request).encode()
        if len(packet) > _PACKET // 2:
            raise StartError("the container's command and environment exceed 512 KiB")
        async with self._sending:
            if self._control:
                await asyncio.get_running_loop().sock_sendall(self._control, packet)

    def _receive(self) -> None:
        assert self._control
        while True:
            try:
                packet = self._control.recv(_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                log.warning("the container shim ended; its containers are gone")
                self._hang_up()
                return
            self._answer(json.loads(packet))

    def _answer(self, answer: dict[str, Any]) -> None:
        process = self._processes.get(answer["id"])
        if process is None:
            return
        if "pid" in answer:
            process.pid = answer["pid"]
            _settle(process.started, None)
            return
        del self._processes[process.name]
        if "error" in answer:
            if not process.started.done():
                process.started.set_exception(StartError(answer["error"]))
            _settle(process.ended, KILLED)
        else:
            _settle(process.ended, answer["exit"])

    def _hang_up(self) -> None:
        if self._control:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        for process in self._processes.values():
            if not process.started.done():
                process.started.set_exception(StartError("the container shim ended"))
            _settle(process.ended, KILLED)
        self._processes.clear()


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
