"""`finetune logs`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import click
from finetune_operator.names import CONTAINER, UID_LABEL

from finetune_cli import options, resources
from finetune_cli.cluster import Cluster, Object, path
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource
from finetune_cli.tracker import Tracker


def pods_of(cluster: Cluster, resource: Resource) -> list[Object]:
    """The resource's pods, oldest first."""
    selector = f"{UID_LABEL}={resource.raw['metadata']['uid']}"
    found = cluster.items(path("pods", resource.namespace), labelSelector=selector)
    return sorted(found, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))


def started(pod: Object) -> bool:
    """Whether a pod's container has run, so that there is something to read."""
    states = [s.get("state") or {} for s in pod.get("status", {}).get("containerStatuses") or ()]
    return any("running" in state or "terminated" in state for state in states)


def _stream(cluster: Cluster, pod: Object, follow: bool, tail: int | None) -> Iterator[str]:
    where = path("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]) + "/log"
    query = {"container": CONTAINER, "follow": "true" if follow else None, "tailLines": tail}
    return cluster.lines(where, **query)


def _merge(cluster: Cluster, pods: list[Object], tail: int | None) -> Iterator[tuple[str, str]]:
    """Lines of several followed pods, as they come."""
    lines: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()

    def pump(pod: Object) -> None:
        try:
            for line in _stream(cluster, pod, True, tail):
                lines.put((pod["metadata"]["name"], line))
        except CliError as error:
            lines.put((pod["metadata"]["name"], f"error: {error.message}"))
        finally:
            lines.put(None)

    for pod in pods:
        threading.Thread(target=pump, args=(pod,), daemon=True).start()
    open_streams = len(pods)
    while open_streams:
        item = lines.get()
        if item is None:
            open_streams -= 1
        else:
            yield item


@click.command("logs")
@options.reference_argument
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written.")
@click.option("--tail", type=click.IntRange(min=0), help="Only the last lines of each pod.")
@click.option("--pod", "pod_name", help="Only this pod (default: all of the resource's).")
@click.option("--run", "run_id", help="The console of this run, read from the tracker; also when its pod is long gone.")
@options.tracker_options
@options.cluster_options
def command(
    reference: str,
    cluster: Cluster,
    follow: bool,
    tail: int | None,
    pod_name: str | None,
    run_id: str | None,
    tracker_url: str | None,
) -> None:
    """The logs of a resource's pods, each line after its pod's name if there are several."""
    resource = resources.find(cluster, reference)
    if run_id is not None:
        for line in Tracker.of(cluster, resource, tracker_url).console(run_id, tail):
            click.echo(line)
        return
    pods = [pod for pod in pods_of(cluster, resource) if pod_name in (None, pod["metadata"]["name"])]
    ready = [pod for pod in pods if started(pod)]
    if not ready:
        what = f"has no pod {pod_name!r}" if pod_name else ("has no pod that has started" if pods else "has no pods")
        fix = f"`finetune watch {resource.label}` says why; of pods that are gone the tracker has the console: --run ID"
        raise CliError(f"{resource.label} {what}", ExitCode.NOT_FOUND, fix)
    if follow:
        for name, line in _merge(cluster, ready, tail):
            click.echo(f"{name}: {line}" if len(ready) > 1 else line)
        return
    for pod in ready:
        for line in _stream(cluster, pod, False, tail):
            click.echo(f"{pod['metadata']['name']}: {line}" if len(ready) > 1 else line)
