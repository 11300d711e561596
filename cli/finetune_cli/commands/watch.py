"""`finetune watch`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from finetune_cli import options, output, resources, statusview, waiting
from finetune_cli.cluster import Cluster
from finetune_cli.errors import ExitCode
from finetune_cli.progress import Meter


@click.command("watch")
@options.reference_argument
@options.cluster_options
@click.option("--once", is_flag=True, help="Print the present state and leave.")
@options.timeout_option
@options.tracker_options
@options.output_option
def command(
    reference: str, cluster: Cluster, once: bool, timeout: float | None, tracker_url: str | None, style: str | None
) -> None:
    """Follow a resource live until it has ended: trials, best WER, cost, time to go, why it is not running.

    Exits with 0 when it is complete and 1 when it has failed. With -o it prints the final status.
    """
    resource = resources.find(cluster, reference)
    if not once and style is None:
        raise click.exceptions.Exit(int(waiting.follow(cluster, resource, timeout, tracker_url)))
    if not once:
        resource = waiting.until(cluster, resource, lambda seen: seen.outcome is not None, timeout)
    if style is not None:
        output.emit(resource.raw.get("status") or {}, style)
    else:
        read = Meter(cluster, tracker_url).read(resource)
        click.echo(statusview.text(resource, datetime.now(UTC), read))
    raise click.exceptions.Exit(int(ExitCode.FAILED if resource.outcome is False else ExitCode.OK))
