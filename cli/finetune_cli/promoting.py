"""What promote, approve and rollback share: send the wish, wait for the operator's answer, tell it."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any

import click

from finetune_cli import decisions, output, resources, statusview, waiting
from finetune_cli import options as common
from finetune_cli.cluster import Cluster
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --as, --no-wait, --timeout and -o."""
    command = click.option(
        "--as", "who", default=_user, show_default="your user name", help="Who decides; kept in the audit trail."
    )(command)
    command = click.option("--wait/--no-wait", default=True, help="Wait for the operator's answer.")(command)
    command = click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="Longest wait.",
    )(command)
    return common.output_option(command)


def _user() -> str:
    try:
        return getpass.getuser()
    except OSError:
        return "unknown"


def carry_out(
    cluster: Cluster, resource: Resource, patch: dict[str, Any] | None, wait: bool, timeout: float, style: str | None
) -> None:
    """Sends a patch and reports what the operator made of it.

    Raises:
        CliError: The promotion was refused, or the operator did not answer in time.
    """
    before = resource.parsed.status.promotion
    if patch is not None:
        resource = resources.parse(cluster.merge(resource.path, patch))
        if wait:
            resource = waiting.until(cluster, resource, lambda seen: decisions.settled(seen, before), timeout)
    state = resource.parsed.status.promotion
    if style is not None:
        output.emit((resource.raw.get("status") or {}).get("promotion") or {}, style)
    elif patch is not None and not wait:
        click.echo(f"{resource.label}: asked; follow it with `finetune watch {resource.label}`")
    elif state is not None:
        for label, text in statusview.promotion(state):
            click.echo(f"{(label + ':') if label else '  '} {text}")
    if wait and state is not None and state.state not in decisions.IN_SERVICE:
        raise CliError(f"{resource.label} is not in service: {state.reason or state.state}", ExitCode.REFUSED)
