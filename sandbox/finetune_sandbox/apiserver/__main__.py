"""Runs the API server alone: `python -m finetune_sandbox.apiserver --data DIR --kubeconfig FILE`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from .server import ApiServer


async def serve(data: Path, kubeconfig: Path, port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    server = ApiServer(data, port=port)
    await server.start()
    server.write_kubeconfig(kubeconfig)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await server.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m finetune_sandbox.apiserver", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder for keys and pod logs")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="file to write")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(args.data, args.kubeconfig, args.port))


if __name__ == "__main__":
    main()
