"""Entry point of `finetune`, `kubectl-finetune` and `python -m finetune_cli`."""

from __future__ import annotations

import sys
from pathlib import Path

from finetune_cli.app import cli


def main() -> None:
    """Runs the command line; as a kubectl plugin it calls itself `kubectl finetune`."""
    plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    cli(prog_name="kubectl finetune" if plugin else "finetune")


if __name__ == "__main__":
    main()
