"""The command line's root: which commands there are."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS = {
    "init": "write a ready YAML after a few questions, or from flags",
    "submit": "check and apply SweepRuns and FinetuneJobs",
    "watch": "follow a resource live until it has ended",
    "best": "the best run of a SweepRun, or the result of a FinetuneJob",
    "compare": "two resources or runs against each other, with significance",
    "promote": "put a finished result into service, if it passes its gates",
    "approve": "give the approval that a promotion waits for",
    "rollback": "return to the version that was in service before",
    "logs": "the logs of a resource's pods, or of a run in the tracker",
    "report": "one self-contained HTML file about a resource",
    "doctor": "find what is wrong with cluster, rights, secret, tracker, GPUs, image, data: each with the fix",
    "completion": "print the shell completion script",
}


class _Lazy(click.Group):
    """Imports a command when it is used, so that --help and completion answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"finetune_cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="NAME is a resource of the namespace: errors, sweeprun/errors, swr/errors, ftj/errors. "
    "Exit codes: docs/reference/cli.md.",
)
@click.version_option(package_name="finetune-operator", prog_name="finetune")
def cli(**_: Any) -> None:
    """Fine-tune speech-to-text models on Kubernetes with Weights & Biases sweeps.

    Works with any kubeconfig, context and namespace, as kubectl does, and as `kubectl finetune` too.
    """
