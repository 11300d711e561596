"""`finetune rollback`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from finetune_cli import decisions, options, promoting, resources
from finetune_cli.cluster import Cluster


@click.command("rollback")
@options.reference_argument
@promoting.options
@options.cluster_options
def command(reference: str, cluster: Cluster, who: str, wait: bool, timeout: float, style: str | None) -> None:
    """Return the registry's aliases to the version that held them before this resource was promoted."""
    resource = resources.find(cluster, reference)
    patch = decisions.rollback(resource, who, datetime.now(UTC))
    promoting.carry_out(cluster, resource, patch, wait, timeout, style)
