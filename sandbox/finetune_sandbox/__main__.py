"""The command line: `finetune-sandbox up`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune_sandbox.up import Options, up


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    args = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.WARNING, format="%(asctime)s %(name)s %(message)s"
    )
    options = Options(
        args.data.resolve(),
        args.kubeconfig.resolve(),
        args.nodes,
        args.gpus,
        args.images,
        args.port,
        args.control_plane,
    )
    try:
        asyncio.run(up(options))
    except (ValueError, OSError) as error:
        print(f"finetune-sandbox: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finetune-sandbox", description="A Kubernetes on loopback, for demos and tests."
    )
    parser.add_argument("--verbose", action="store_true", help="log everything")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
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
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} must not be negative")
    return number


if __name__ == "__main__":
    sys.exit(main())
