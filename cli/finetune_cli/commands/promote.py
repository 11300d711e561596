"""`finetune promote`."""

from __future__ import annotations

import click

from finetune_cli import decisions, options, promoting, resources
from finetune_cli.cluster import Cluster


@click.command("promote")
@options.reference_argument
@click.option("--model", help="Registered model to link to (default: the resource's).")
@click.option("--alias", "aliases", multiple=True, help="Alias to move to it; may be given several times.")
@click.option("--min-improvement", help="Gate: least relative WER improvement, such as 0.05.")
@click.option("--significance", help="Gate: largest p-value, such as 0.05.")
@promoting.options
@options.cluster_options
def command(
    reference: str,
    cluster: Cluster,
    model: str | None,
    aliases: tuple[str, ...],
    min_improvement: str | None,
    significance: str | None,
    who: str,
    wait: bool,
    timeout: float,
    style: str | None,
) -> None:
    """Put a finished result into service, if it passes its gates.

    The operator judges the gates and moves the aliases; what was asked for is written to the resource's
    spec.promotion. Where the resource asks for approval, this gives it.
    """
    resource = resources.find(cluster, reference)
    gates = {"minImprovement": min_improvement, "significance": significance}
    given = {key: value for key, value in gates.items() if value is not None}
    patch = decisions.promote(resource, model, aliases, who, given)
    promoting.carry_out(cluster, resource, patch, wait, timeout, style)
