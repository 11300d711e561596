"""The command line: `finetune-sandbox up`, and `finetune-sandbox fault` for tests."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune_sandbox.client import Access, ApiClient, ApiError
from finetune_sandbox.faults import drain, send_signal, set_clock_forward, uncordon


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    args = _parser().parse_args(argv)
    level = logging.DEBUG if args.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(message)s")
    try:
        asyncio.run(_up(args) if args.command == "up" else _fault(args))
    except (ValueError, OSError, ApiError) as error:
        print(f"finetune-sandbox: {error}", file=sys.stderr)
        return 2
    return 0


async def _up(args: argparse.Namespace) -> None:
    from finetune_sandbox.up import Options, up  # the API server is much to import where a fault is all that is asked

    places = args.data.resolve(), args.kubeconfig.resolve()
    await up(Options(*places, args.nodes, args.gpus, args.images, args.port, args.control_plane))


async def _fault(args: argparse.Namespace) -> None:
    async with ApiClient(Access.from_kubeconfig(args.kubeconfig)) as client:
        match args.fault:
            case "drain":
                print(*await drain(client, args.node), sep="\n")
            case "uncordon":
                await uncordon(client, args.node)
            case "signal":
                namespace, _, name = args.pod.partition("/")
                await send_signal(client, namespace, name, args.signal)
            case "clock":
                await set_clock_forward(client, args.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finetune-sandbox", description="A Kubernetes on loopback, for demos and tests."
    )
    parser.add_argument("--verbose", action="store_true", help="log everything")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    command = commands.add_parser("up", help="run a cluster until SIGTERM; the first line of output is `ready`")
    command.add_argument("--data", type=Path, required=True, help="folder for keys, volumes and logs; hidden from pods")
    command.add_argument(
        "--kubeconfig", type=Path, required=True, help="file to write the administrator's kubeconfig to"
    )
    command.add_argument(
        "--nodes", type=_count, default=1, help="number of nodes; 0 runs neither scheduler nor kubelet (1)"
    )
    command.add_argument("--gpus", type=_count, default=0, help="nvidia.com/gpu of each node (0)")
    command.add_argument("--images", type=Path, help="YAML file: {IMAGE: {command: [...], env: {...}, cwd: DIR}}")
    command.add_argument("--port", type=_count, default=0, help="port of the API server (a free one)")
    command.add_argument(
        "--control-plane", choices=("embedded", "envtest"), default="embedded", help="whose API server"
    )
    command = commands.add_parser("fault", help="make something go wrong in a running sandbox")
    command.add_argument("--kubeconfig", type=Path, required=True, help="the sandbox's kubeconfig")
    faults = command.add_subparsers(required=True, metavar="FAULT", dest="fault")
    faults.add_parser("drain", help="cordon a node and evict its pods").add_argument("node")
    faults.add_parser("uncordon", help="let pods onto a node again").add_argument("node")
    signal = faults.add_parser("signal", help="send a signal to a pod's containers")
    signal.add_argument("pod", metavar="NAMESPACE/POD")
    signal.add_argument("signal", nargs="?", default="KILL")
    faults.add_parser("clock", help="set the clock forward").add_argument("seconds", type=float)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} must not be negative")
    return number


if __name__ == "__main__":
    sys.exit(main())
