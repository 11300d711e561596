"""Brings a sandbox up: API server, controllers, scheduler and kubelet, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune_sandbox.apiserver import ApiServer
from finetune_sandbox.client import CONFIG_MAPS, SERVICE_ACCOUNTS, Access, ApiClient
from finetune_sandbox.clock import Clock
from finetune_sandbox.controllers.base import Context
from finetune_sandbox.controllers.manager import run_controllers
from finetune_sandbox.envtest import envtest
from finetune_sandbox.informers import Informers
from finetune_sandbox.kubelet.images import load_images
from finetune_sandbox.kubelet.kubelet import Kubelet


@dataclass(frozen=True)
class Options:
    """What `finetune-sandbox up` takes."""

    data: Path
    kubeconfig: Path
    nodes: int = 1
    gpus: int = 0
    images: Path | None = None
    port: int = 0
    control_plane: str = "embedded"


async def up(options: Options) -> None:
    """Runs the sandbox; prints `ready` when it can be used; ends on SIGTERM or SIGINT.

    Raises:
        ValueError: The images file is malformed.
        OSError: Pods cannot be isolated here, or the control plane did not start.
    """
    images = load_images(options.images)
    options.data.mkdir(parents=True, exist_ok=True)
    options.data.chmod(0o700)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with control_plane(options) as (config, socket):
        write_kubeconfig(options.kubeconfig, config)
        access = replace(Access.from_kubeconfig(options.kubeconfig), socket=socket)
        async with ApiClient(access) as client:
            informers = Informers(client)
            clock = Clock()
            informers[CONFIG_MAPS].on_change(clock.observe)
            context = Context(client, informers, clock, options.data)
            tasks = [asyncio.create_task(run_controllers(context, options.nodes > 0), name="controllers")]
            usable: list[Awaitable[object]] = [_usable(informers)]
            if options.nodes > 0:
                names = [f"sandbox-{number}" for number in range(options.nodes)]
                hidden = [str(path.resolve()) for path in (options.data, options.kubeconfig)]
                kubelet = Kubelet(client, informers, images, names, options.gpus, options.data, hidden, clock.now)
                tasks.append(asyncio.create_task(kubelet.run(), name="kubelet"))
                usable.append(kubelet.ready.wait())
            try:
                await _until_stopped(stop, tasks, asyncio.gather(*usable))
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                await informers.stop()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def _until_stopped(stop: asyncio.Event, tasks: list[asyncio.Task[None]], ready: asyncio.Future[Any]) -> None:
    """Says when the sandbox can be used, and returns when it is to end or a part of it has ended by itself."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ready, stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            print("ready", flush=True)
        await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
        stopping.cancel()


async def _usable(informers: Informers) -> None:
    """Waits until the namespace `default` has its ServiceAccount, which the controllers make."""
    accounts = informers[SERVICE_ACCOUNTS]
    found = asyncio.Event()
    accounts.on_change(lambda obj, _old: found.set() if obj["metadata"]["name"] == "default" else None)
    if ("default", "default") not in accounts.items:
        await found.wait()


@contextlib.asynccontextmanager
async def control_plane(options: Options) -> AsyncIterator[tuple[dict[str, Any], str | None]]:
    """The API server that was asked for; yields its administrator's kubeconfig and its socket for this process."""
    if options.control_plane == "envtest":
        async with envtest(options.data, options.port) as config:
            yield config, None
        return
    server = ApiServer(options.data, port=options.port)
    await server.start()
    try:
        yield server.kubeconfig(), server.socket
    finally:
        await server.stop()


def write_kubeconfig(path: Path, config: dict[str, Any]) -> None:
    """Writes a kubeconfig that nobody else can read, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(config, indent=2))
    temporary.replace(path)
