"""Completion of `kubectl finetune`: kubectl runs kubectl_complete-finetune with the words typed so far."""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete

from finetune_cli.app import cli

_NO_FILES = ":4"
"""Cobra's directive that file names are no candidates."""
_FILES = ":0"


def candidates(words: list[str]) -> list[str]:
    """Completions of the last word."""
    *given, incomplete = words or [""]
    found = ShellComplete(cli, {}, "finetune", "_FINETUNE_COMPLETE").get_completions(given, incomplete)
    return [item.value for item in found if item.type == "plain"]


def kubectl_main() -> None:
    """Entry point of kubectl_complete-finetune."""
    found = candidates(sys.argv[1:])
    for value in found:
        click.echo(value)
    click.echo(_NO_FILES if found else _FILES)
