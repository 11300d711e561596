"""`finetune doctor`."""

from __future__ import annotations

import dataclasses

import click

from finetune_cli import documents, options, output, resources
from finetune_cli.cluster import Cluster
from finetune_cli.doctor import checks, gather, probe
from finetune_cli.doctor.facts import Facts, Finding
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource

_MARKS = {"ok": "ok     ", "fault": "FAULT  ", "unknown": "?      "}


def text(findings: list[Finding]) -> str:
    """One line for each finding, its fix below, and the count."""
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.level]} {finding.check}: {finding.message}")
        if finding.fix and finding.level != "ok":
            lines.append(f"          {'fix' if finding.level == 'fault' else 'try'}: {finding.fix}")
    faults = sum(finding.level == "fault" for finding in findings)
    return "\n".join([*lines, "", f"{faults} fault{'' if faults == 1 else 's'} found" if faults else "no fault found"])


@click.command("doctor")
@click.argument("reference", metavar="[NAME]", required=False)
@click.option("-f", "--filename", "file", help="Judge this file before it is submitted.")
@click.option("--probe", "probing", is_flag=True, help="Start a pod of the trainer's image that reads the dataset.")
@options.tracker_options
@options.cluster_options
@options.output_option
def command(
    reference: str | None, cluster: Cluster, file: str | None, probing: bool, tracker_url: str | None, style: str | None
) -> None:
    """Find what is wrong: definitions, rights, operator, secret, tracker, GPUs, quota, queue, volumes, image, data.

    Without NAME the installation is looked at, with NAME (or -f FILE) also what that resource asks for. Every fault
    comes with its fix. Exits with 1 if there is one.
    """
    resource = _target(cluster, reference, file)
    findings = judge(cluster, resource, tracker_url, probing)
    if style is not None:
        output.emit([finding.document() for finding in findings], style)
    else:
        click.echo(text(findings))
    raise click.exceptions.Exit(int(ExitCode.FAILED if any(f.level == "fault" for f in findings) else ExitCode.OK))


def judge(cluster: Cluster, resource: Resource | None, tracker_url: str | None, probing: bool) -> list[Finding]:
    """Gathers and judges; a cluster that does not answer is a finding like any other."""
    try:
        known: Facts = gather.facts(cluster, resource, tracker_url)
    except CliError as error:
        if error.exit_code != ExitCode.UNREACHABLE:
            raise
        return [Finding("cluster", "fault", error.message, error.fix or "")]
    if probing and resource is not None:
        known = dataclasses.replace(known, dataset=gather.attempt(lambda: probe.dataset(cluster, resource)))
    return [Finding("cluster", "ok", "answers"), *checks.judge(known)]


def _target(cluster: Cluster, reference: str | None, file: str | None) -> Resource | None:
    if reference is not None and file is not None:
        raise CliError("give NAME or -f, not both", ExitCode.USAGE)
    if file is not None:
        found = documents.read([file])
        if len(found) != 1:
            raise CliError(f"{file} holds {len(found)} documents; doctor judges one", ExitCode.USAGE)
        source, document = found[0]
        documents.check(source, document)
        document["metadata"].setdefault("namespace", cluster.namespace)
        return resources.parse(document)
    if reference is None:
        return None  # the installation alone
    try:
        return resources.find(cluster, reference)
    except CliError as error:
        if error.exit_code == ExitCode.UNREACHABLE:
            return None  # judged as a finding
        raise
