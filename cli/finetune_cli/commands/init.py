"""`finetune init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from finetune_cli import documents
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.scaffold import Answers, render

_KINDS = {"sweep": "SweepRun", "job": "FinetuneJob"}


@click.command("init")
@click.argument("kind", type=click.Choice(list(_KINDS)), required=False)
@click.option("--name", help="Name of the resource.")
@click.option("--model", help="Checkpoint: hub name, path in the pod, or W&B artifact.")
@click.option("--dataset", help="Manifest of the error cases, as the pods reach it.")
@click.option("--suite", help="Manifest of a regression suite.")
@click.option("--image", help="Trainer image (default: the operator's).")
@click.option("--project", default="stt-finetuning", show_default=True, help="W&B project.")
@click.option("--base-url", help="W&B server, where it is not the operator's default.")
@click.option("--secret", default="wandb", show_default=True, help="Secret with the API key, under `api-key`.")
@click.option("--gpus", type=click.IntRange(0, 64), help="GPUs per pod.")
@click.option("--trials", type=click.IntRange(1, 10_000), help="Sweep: hard cap on the trials.")
@click.option(
    "--parallelism", type=click.IntRange(1, 1000), default=4, show_default=True, help="Sweep: agents at a time."
)
@click.option("--gpu-hours", default="40", show_default=True, help="Sweep: ceiling on the cost.")
@click.option("--sweep", help="Job: SweepRun whose best hyperparameters it takes.")
@click.option(
    "--approval",
    type=click.Choice(["Automatic", "Manual"]),
    default="Manual",
    show_default=True,
    help="Job: who promotes.",
)
@click.option("--registered-model", default="stt", show_default=True, help="Job: registered model to promote to.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; take the defaults for what is not given.")
@click.option("-O", "--out", type=click.Path(dir_okay=False), help="File to write (default: standard output).")
def command(kind: str | None, yes: bool, out: str | None, **given: Any) -> None:
    """Write a ready YAML after a few questions, or from flags alone.

    \b
    finetune init sweep --name errors --dataset s3://corrections/manifest.jsonl -y -O sweep.yaml
    finetune submit -f sweep.yaml --watch
    """  # noqa: D301  # \b keeps click from rewrapping
    asking = not yes and sys.stdin.isatty()
    if kind is None:
        if not asking:
            raise CliError("say what to write", ExitCode.USAGE, "finetune init sweep, or finetune init job")
        kind = click.prompt(
            "A sweep (search) or a job (one training)?", type=click.Choice(list(_KINDS)), default="sweep", err=True
        )
    questions: dict[str, tuple[str, Any]] = {
        "name": ("Name", "errors" if kind == "sweep" else "candidate"),
        "model": ("Model to start from", "openai/whisper-small"),
        "dataset": ("Manifest of the error cases (path in the pod or URI)", None),
        "gpus": ("GPUs per pod", 1),
    }
    questions |= {"trials": ("Trials", 20)} if kind == "sweep" else {}
    for key, (question, default) in questions.items():
        if given[key] is None:
            given[key] = click.prompt(question, default=default, err=True) if asking else default
    if not given["dataset"]:
        raise CliError(
            "--dataset is needed", ExitCode.USAGE, "name the manifest of the error cases, as the pods reach it"
        )
    text = render(Answers(kind=_KINDS[kind], **{key: value for key, value in given.items() if value is not None}))
    documents.check("the new document", documents.load(text, "the new document")[0])
    if out is None:
        click.echo(text, nl=False)
        return
    target = Path(out)
    if target.exists() and not yes:
        raise CliError(f"{out} exists", ExitCode.USAGE, "remove it, name another file with -O, or overwrite it with -y")
    target.write_text(text, encoding="utf-8")
    click.echo(f"wrote {out}; next: finetune doctor -f {out}, then finetune submit -f {out} --watch", err=True)
