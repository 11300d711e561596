"""Training on a CPU against Hugging Face's Trainer: audio seconds per second, from files on disk, at the same loss.

One thread each: the matrices of these models are too small to share, and what a busy neighbour takes from one of two
threads holds up the other.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.harness import Comparison, Entry, Options
from benchmarks.training import material
from benchmarks.training.huggingface import Example, quiet
from benchmarks.training.ours import Trial
from benchmarks.training.outcome import Recipe

CTC = Recipe(batch_size=8, epochs=2, learning_rate=1e-3)
WHISPER = Recipe(batch_size=16, epochs=2, learning_rate=1e-3)
PAIRS = 3


def run_ctc(options: Options) -> list[Entry]:
    """wav2vec 2.0 on clips of 1 to 20 s."""
    manifest = material.manifest(material.speech_for(options, material.LONG))
    base = material.base("ctc", options)
    return compare("train_cpu_ctc", Example(base, manifest, CTC, ctc=True), Trial(base, manifest, CTC), options)


def run_whisper(options: Options) -> list[Entry]:
    """Whisper on short clips: with an input of two seconds on both sides, and each as it comes with a 30 s checkpoint.

    As it comes, the example pads every clip to 30 s; ours cuts the encoder to what the clips need (`input_seconds`).
    """
    manifest = material.manifest(material.speech_for(options, material.SHORT))
    base = material.base("whisper", options)
    entries = compare(
        "train_cpu_whisper_equal_length",
        Example(base, manifest, WHISPER, ctc=False),
        Trial(base, manifest, WHISPER),
        options,
    )
    few = material.manifest(material.speech_for(options, material.FEW))
    long = material.whisper_of_30_seconds(options)
    once = replace(WHISPER, epochs=1)
    shipped = compare(
        "train_cpu_whisper", Example(long, few, once, ctc=False), Trial(long, few, once, input_seconds=2), options
    )
    return shipped + entries


def compare(name: str, theirs: Example, ours: Trial, options: Options) -> list[Entry]:
    """Speed in alternation, and the validation loss and word error rate of what was trained.

    Each pair has a seed of its own, so that the spread of loss and word error rate is that of the training.
    """
    torch.set_num_threads(1)
    quiet()
    for warming in (theirs, ours):
        replace(warming, manifest=material.manifest(material.WARM_UP)).train()
    speed, loss, wer = Comparison(), Comparison(), Comparison()
    for seed in range(1 if options.quick else PAIRS):
        recipe = replace(ours.recipe, seed=seed, epochs=1 if options.quick else ours.recipe.epochs)
        baseline, trial = replace(theirs, recipe=recipe), replace(ours, recipe=recipe)
        for side, outcome, judge in (
            ("baseline", baseline.train(), replace(trial, base=theirs.base, input_seconds=None)),
            ("ours", trial.train(), trial),
        ):
            judged = judge.judge(outcome.model)
            getattr(speed, side).append(outcome.speed)
            getattr(loss, side).append(judged.loss)
            getattr(wer, side).append(judged.wer)
    return [
        speed.entry(name, "audio s/s"),
        loss.entry(f"{name}_loss", "validation loss"),
        wer.entry(f"{name}_wer", "validation WER"),
    ]
