"""`finetune completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  source <(finetune completion bash)
    zsh:   source <(finetune completion zsh)
    fish:  finetune completion fish | source

    kubectl completes `kubectl finetune` by itself, as kubectl_complete-finetune is installed too.
    """  # noqa: D301  # \b keeps click from rewrapping
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "finetune", "_FINETUNE_COMPLETE").source())
