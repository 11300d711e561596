"""Creates a sweep or reads its runs with the W&B SDK; arguments: ENTITY/PROJECT, a verb and what it is about."""

from __future__ import annotations

import json
import sys

import wandb


def main() -> None:
    """`create DOCUMENT` prints the new sweep's id, `runs SWEEP` the summaries of its runs as JSON."""
    where, verb, argument = sys.argv[1:]
    entity, project = where.split("/")
    if verb == "create":
        print(wandb.sweep(json.loads(argument), entity=entity, project=project))
        return
    keys = ("_timestamp", "duration/train_seconds")
    runs = wandb.Api(timeout=60).runs(where, filters={"sweep": argument})
    print(json.dumps([{key: run.summary[key] for key in keys} for run in runs if run.state == "finished"]))


if __name__ == "__main__":
    main()
