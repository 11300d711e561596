"""The program that `wandb agent` starts for each trial in the baseline of trial_overhead.

The sequence-to-sequence example's training and evaluation, reporting to W&B, with the model, data and steps of ours.
Arguments: the base's folder, the manifest, and the sweep's `--learning_rate=...`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path


def main() -> None:
    """One trial."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--learning_rate", type=float, required=True)
    arguments = parser.parse_args()

    import torch
    import wandb

    from benchmarks.training.huggingface import Example, quiet
    from benchmarks.training.trial import RECIPE

    torch.set_num_threads(1)
    quiet()
    run = wandb.init(config={"learning_rate": arguments.learning_rate})
    recipe = replace(RECIPE, learning_rate=arguments.learning_rate)
    example = Example(arguments.base, arguments.manifest, recipe, ctc=False)
    outcome = example.train(report_to="wandb")
    scores = {name: example.evaluate(name, outcome.model)[1] for name in ("validation", "test")}
    run.log({"eval/wer": scores["validation"], "test/wer": scores["test"]})
    run.summary["duration/train_seconds"] = outcome.train_seconds
    run.finish()


if __name__ == "__main__":
    main()
