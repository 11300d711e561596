"""A sandbox whose API server restarts on SIGUSR1, as one does whose etcd lives on.

Everything else is the sandbox itself. The server stops listening and drops every connection, stays away for as long as
`CHAOS_API_DOWN` says, and comes back at the same address with what its store holds; controllers and kubelet go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from finetune_sandbox import up as sandbox
from finetune_sandbox.apiserver import ApiServer


@contextlib.asynccontextmanager
async def restartable(options: sandbox.Options) -> AsyncIterator[dict[str, Any]]:
    server = ApiServer(options.data, port=options.port)
    await server.start()
    away = float(os.environ.get("CHAOS_API_DOWN", "2"))
    restarts: set[asyncio.Task[None]] = set()

    async def restart() -> None:
        await server.stop()
        await asyncio.sleep(away)
        await server.start()

    def begin() -> None:
        task = asyncio.create_task(restart())
        restarts.add(task)
        task.add_done_callback(restarts.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin)
    try:
        yield server.kubeconfig()
    finally:
        await server.stop()


def main() -> None:
    folder, images, gpus = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sandbox.control_plane = restartable
    options = sandbox.Options(folder / "data", folder / "kubeconfig", nodes=1, gpus=gpus, images=images)
    asyncio.run(sandbox.up(options))


if __name__ == "__main__":
    main()
