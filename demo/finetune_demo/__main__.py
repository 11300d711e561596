"""The command line: `finetune-demo`."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.markup import escape

from finetune_demo import installing
from finetune_demo.errors import DemoError, tail
from finetune_demo.kubectl import require_kubectl
from finetune_demo.processes import Programs
from finetune_demo.signals import exit_on_signals
from finetune_demo.snapshot import condition, settled
from finetune_demo.story import NAMESPACE, Story
from finetune_demo.summary import Outcome
from finetune_demo.view import View

_SOURCE = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0 if everything that it claims held; 1 if not, or if something failed. A signal exits with the shell's code.
    """
    arguments = _parser().parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    exit_on_signals()
    folder: Path = arguments.dir.resolve()
    try:
        require_kubectl()
        with _claimed(folder), Programs(folder / "logs") as programs:
            story = Story(
                folder=folder,
                cache=arguments.cache.resolve(),
                source=_SOURCE,
                seed=arguments.seed,
                timeout=arguments.timeout,
                install=arguments.install,
                view=View(console),
                programs=programs,
            )
            try:
                outcome = story.tell()
            except DemoError:
                _explain_state(console, story)
                raise
            (folder / "summary.json").write_text(json.dumps(outcome.document(), indent=2))
            held = _report(console, story, outcome)
            if arguments.keep:
                keep(console, story)
    except DemoError as error:
        console.print(f"\n[red]The demo failed:[/red] {escape(str(error))}")
        if error.log and (text := tail(error.log)):
            console.print(f"\nThe end of {error.log}:\n{escape(text)}")
        if error.hint:
            console.print(escape(error.hint))
        return 1
    return 0 if held else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finetune-demo", description="From a correction backlog to a promoted speech model, on this machine."
    )
    parser.add_argument("--seed", type=int, default=0, help="of base model, speech and training (0)")
    ways = get_args(installing.Way)
    parser.add_argument(
        "--install", choices=ways, default="process", help="the operator: a process, or with Helm a pod"
    )
    parser.add_argument("--keep", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument("--dir", type=Path, default=Path("build/demo"), help="folder of this run (build/demo)")
    parser.add_argument("--cache", type=Path, default=Path("build/cache"), help="kept between runs (build/cache)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for sweep and training together (1800)")
    return parser


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Empty `folder` and keep other demos out of it.

    Raises:
        DemoError: Another demo runs in it, or it holds something that is not a demo's.
    """
    marker = folder / ".demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise DemoError(f"{folder} is not empty and not a demo's folder", hint="Name another one with --dir.")
    folder.mkdir(parents=True, exist_ok=True)
    with marker.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"another demo runs in {folder}", hint="End it, or name another folder with --dir."
            ) from None
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
        yield


def _report(console: Console, story: Story, outcome: Outcome) -> bool:
    """Print the results; returns whether every claim held."""
    console.print()
    console.print(outcome.table())
    console.print(f"\n$ kubectl get sweepruns,finetunejobs --namespace {NAMESPACE}", style="dim")
    listing = story.kubectl.run("get", "sweepruns,finetunejobs", f"--namespace={NAMESPACE}")
    console.print(listing, markup=False)
    claims = outcome.claims()
    for text, held in claims:
        console.print(f"{'[green]✓[/green]' if held else '[red]✗[/red]'} {escape(text)}")
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in outcome.seconds.items())
    console.print(f"\nTimes: {seconds}.")
    places = (
        f"Where to look next: {story.folder / 'summary.json'}, the applied files in {story.folder / 'manifests'},",
        f"logs in {story.folder / 'logs'}; with KEEP=1 the cluster stays up: kubectl describe, get events, logs.",
    )
    console.print("\n".join(places), markup=False)
    return all(held for _, held in claims)


def keep(console: Console, story: Story) -> None:
    """Leave everything running until a signal."""
    lines = (
        "\nEverything keeps running until Ctrl-C. In another shell:\n",
        f"export KUBECONFIG={story.kubeconfig} PATH={Path(sys.executable).parent}:$PATH",
        f"kubectl config set-context --current --namespace {NAMESPACE}",
        "kubectl get finetune",
        "finetune best accent",
        "finetune compare ftj/default ftj/accent-model",
        "finetune report ftj/accent-model",
        f"\nThe tracker's pages are at {story.tracker_url}; log in with the key in {story.key_file}.",
    )
    console.print("\n".join(lines), markup=False, soft_wrap=True)  # lines to paste stay whole
    with contextlib.suppress(SystemExit):  # the signal is the agreed end, not a failure
        while True:
            story.programs.check()
            time.sleep(1)


def _explain_state(console: Console, story: Story) -> None:
    """Print what the unfinished resources say of themselves, and the end of the logs of failed pods."""
    for name, resource in story.snapshot.resources().items():
        if settled(resource) and not condition(resource, "Failed"):
            continue
        console.print(f"\n{name}:")
        for entry in resource.get("status", {}).get("conditions", []):
            line = f"  {entry['type']}={entry['status']} {entry['reason']}: {entry.get('message', '')}"
            console.print(line, markup=False)
    for name, pod in story.snapshot.pods.items():
        if pod.get("status", {}).get("phase") == "Failed":
            text = story.kubectl.run("logs", name, f"--namespace={NAMESPACE}", "--tail=20", check=False)
            console.print(f"\nThe end of pod/{name}'s log:\n{escape(text)}")
    console.print(f"\nThe end of the operator's log:\n{escape(story.operator_log())}")


if __name__ == "__main__":
    sys.exit(main())
