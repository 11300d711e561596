"""`finetune approve`."""

from __future__ import annotations

import click

from finetune_cli import decisions, options, promoting, resources
from finetune_cli.cluster import Cluster


@click.command("approve")
@options.reference_argument
@promoting.options
@options.cluster_options
def command(reference: str, cluster: Cluster, who: str, wait: bool, timeout: float, style: str | None) -> None:
    """Give the approval that a promotion with `approval: Manual` waits for, once its gates are met."""
    resource = resources.find(cluster, reference)
    promoting.carry_out(cluster, resource, decisions.approve(resource, who), wait, timeout, style)
