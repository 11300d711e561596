"""`finetune submit`."""

from __future__ import annotations

import click

from finetune_cli import documents, options, output, resources, waiting
from finetune_cli.cluster import APPLY_PATCH, FIELD_MANAGER, ApiError, Cluster, Object, resource_path
from finetune_cli.errors import CliError, ExitCode


@click.command("submit")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="YAML file or folder; - is standard input. May be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Check against the API and the cluster, and change nothing.")
@click.option("--force", is_flag=True, help="Take over fields that another tool has set.")
@click.option("-w", "--watch", is_flag=True, help="Then follow the resources until they have ended.")
@options.timeout_option
@options.output_option
@options.cluster_options
def command(
    files: tuple[str, ...],
    dry_run: bool,
    force: bool,
    watch: bool,
    timeout: float | None,
    style: str | None,
    cluster: Cluster,
) -> None:
    """Check and apply SweepRuns and FinetuneJobs.

    Every document is checked here first, then by the cluster (a dry run), and only then applied: either all or none.
    """
    found = documents.read(files)
    for source, document in found:
        documents.check(source, document)
    for source, document in found:
        _apply(cluster, source, document, force=force, dry_run=True)
    applied = [_apply(cluster, s, d, force=force, dry_run=False) for s, d in found] if not dry_run else []
    if style is not None:
        output.emit(applied[0] if len(applied) == 1 else applied, style)
    else:
        for _, document in found:
            name = f"{document['kind'].lower()}.finetune.dev/{document['metadata']['name']}"
            click.echo(f"{name} {'valid (dry run)' if dry_run else 'applied'}")
    if watch and applied:
        codes = [waiting.follow(cluster, resources.parse(raw), timeout) for raw in applied]
        raise click.exceptions.Exit(int(max(codes)))


def _apply(cluster: Cluster, source: str, document: Object, *, force: bool, dry_run: bool) -> Object:
    namespace = document["metadata"].get("namespace") or cluster.namespace
    where = resource_path(document["kind"], namespace, document["metadata"]["name"])
    query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else None, "dryRun": "All" if dry_run else None}
    try:
        return cluster.request("PATCH", where, query, document, APPLY_PATCH)
    except ApiError as error:
        name = f"{source}: {document['kind']} {document['metadata']['name']}"
        message = error.message.partition(": ")[2]
        if error.status == 404:
            fix = "install the operator's chart, and create the namespace; `finetune doctor` tells which is missing"
            raise CliError(f"{name}: {message}", ExitCode.UNREACHABLE, fix) from error
        if error.status == 409:
            fix = "change it with the tool that owns the field, or take it over with --force"
            raise CliError(f"{name}: {message}", ExitCode.REFUSED, fix) from error
        raise CliError(f"{name}: {message}", ExitCode(error.exit_code), error.fix) from error
