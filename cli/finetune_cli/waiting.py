"""Waiting for a resource: reads it until it has ended, and shows it meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import click

from finetune_cli import resources, statusview
from finetune_cli.cluster import Cluster
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.progress import Meter, Progress
from finetune_cli.resources import Resource

INTERVAL = 1.0
"""Seconds between two looks."""


def observe(cluster: Cluster, resource: Resource, timeout: float | None) -> Iterator[Resource]:
    """The resource again and again, until the caller has seen enough.

    Raises:
        CliError: The time is over, or the resource has been deleted.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        yield resource
        if deadline is not None and time.monotonic() >= deadline:
            code = ExitCode.TIMEOUT
            raise CliError(f"{resource.label} is still {statusview.state(resource)} after {timeout:g} s", code)
        time.sleep(INTERVAL)
        resource = resources.reload(cluster, resource)


def until(cluster: Cluster, resource: Resource, done: Callable[[Resource], bool], timeout: float | None) -> Resource:
    """Waits quietly until `done` says so."""
    return next(seen for seen in observe(cluster, resource, timeout) if done(seen))


def follow(cluster: Cluster, resource: Resource, timeout: float | None, url: str | None = None) -> ExitCode:
    """Shows a resource until it has ended: redrawn in place on a terminal, else one line for each change.

    Args:
        cluster: Where the resource is.
        resource: What to follow.
        timeout: Seconds after which to give up.
        url: Address of the tracker as this machine reaches it; None takes the resource's.
    """
    draw = _redraw if sys.stdout.isatty() else _append
    final = draw(observe(cluster, resource, timeout), Meter(cluster, url))
    return ExitCode.OK if final.outcome else ExitCode.FAILED


def _redraw(seen: Iterator[Resource], meter: Meter) -> Resource:
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=4) as live:
        for resource in seen:
            live.update(Text(statusview.text(resource, datetime.now(UTC), meter.read(resource))))
            if resource.outcome is not None:
                return resource
    raise AssertionError("observe() never ends by itself")


def _append(seen: Iterator[Resource], meter: Meter) -> Resource:
    last = ""
    for resource in seen:
        line = brief(resource, meter.read(resource))
        if line != last:
            click.echo(line)
            last = line
        if resource.outcome is not None:
            click.echo(statusview.text(resource, datetime.now(UTC)))
            return resource
    raise AssertionError("observe() never ends by itself")


def brief(resource: Resource, progress: Progress | None = None) -> str:
    """One line that changes when something worth telling does."""
    parts = [resource.label, f"{statusview.state(resource)}: {statusview.why(resource)}"]
    rows = statusview.lines(resource, datetime.now(UTC), progress)
    parts += [text for label, text in rows if label in ("Trials", "Best")]
    parts += [f"{label.lower()} {text}" for label, text in rows if label == "Trained"]
    return "  ".join(parts)
