"""`finetune report`."""

from __future__ import annotations

from pathlib import Path

import click

from finetune_cli import options, resources
from finetune_cli.cluster import Cluster
from finetune_cli.report import read


@click.command("report")
@options.reference_argument
@click.option(
    "-O", "--out", type=click.Path(dir_okay=False), help="File to write (default: NAME.html; - is standard output)."
)
@options.tracker_options
@options.cluster_options
def command(reference: str, cluster: Cluster, out: str | None, tracker_url: str | None) -> None:
    """One self-contained HTML file: WER by each hyperparameter, loss, error types, regression suites, worst utterances.

    Nothing is fetched when it is opened, so it can be mailed, archived and read behind any firewall.
    """
    resource = resources.find(cluster, reference)
    found = read.material(cluster, resource, tracker_url)
    for note in found.missing:
        click.echo(note, err=True)
    text = read.page(resource, found)
    target = out or f"{resource.name}.html"
    if target == "-":
        click.echo(text, nl=False)
        return
    Path(target).write_text(text, encoding="utf-8")
    click.echo(f"wrote {target}")
