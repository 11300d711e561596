"""Options and arguments that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from finetune_cli.cluster import Cluster
from finetune_cli.errors import CliError

Command = TypeVar("Command", bound=Callable[..., Any])


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --kubeconfig, --context and --namespace; the command gets a `cluster`."""

    @click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Kubeconfig file (default: KUBECONFIG).")
    @click.option("--context", help="Context of the kubeconfig (default: the current one).")
    @click.option("-n", "--namespace", help="Namespace (default: the context's).")
    @functools.wraps(command)
    def wrapped(kubeconfig: str | None, context: str | None, namespace: str | None, **arguments: Any) -> Any:
        return command(cluster=Cluster(kubeconfig, context, namespace), **arguments)

    return wrapped


def tracker_options(command: Command) -> Command:
    """Adds --tracker-url."""
    return click.option(
        "--tracker-url",
        envvar="FINETUNE_TRACKER_URL",
        help="Address of the W&B server as this machine reaches it, where it differs from the one the pods use "
        "(default: FINETUNE_TRACKER_URL, then the resource's). The API key comes from WANDB_API_KEY, else from the "
        "resource's Secret.",
    )(command)


def output_option(command: Command) -> Command:
    """Adds -o json|yaml."""
    return click.option(
        "-o",
        "--output",
        "style",
        type=click.Choice(["json", "yaml"]),
        help="Print a document for programs instead of text.",
    )(command)


def timeout_option(command: Command) -> Command:
    """Adds --timeout."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="Give up waiting after this long (exit code 124).",
    )(command)


def _complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from finetune_cli import resources

    given = context.params
    try:
        listed = resources.names(Cluster(given.get("kubeconfig"), given.get("context"), given.get("namespace")))
    except CliError:
        return []
    bare = [name.partition("/")[2] for name in listed]
    wanted = listed if "/" in incomplete else [name for name in bare if bare.count(name) == 1] + listed
    return [CompletionItem(name) for name in wanted if name.startswith(incomplete)]


def reference_argument(command: Command) -> Command:
    """Adds the NAME argument: a resource, as NAME or KIND/NAME."""
    return click.argument("reference", metavar="NAME", shell_complete=_complete)(command)


def references_argument(count: int) -> Callable[[Command], Command]:
    """Adds NAME several times."""

    def add(command: Command) -> Command:
        return click.argument("references", metavar="NAME", nargs=count, shell_complete=_complete)(command)

    return add
