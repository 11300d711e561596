"""Evaluation on a CPU against `Trainer.predict`: utterances per second from files on disk to the word error rate."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.harness import Comparison, Entry, Options
from benchmarks.training import material
from benchmarks.training.huggingface import Example, quiet
from benchmarks.training.ours import Trial
from benchmarks.training.outcome import Recipe

OURS = Recipe(batch_size=32, epochs=1, learning_rate=1e-3)
SHIPPED = replace(OURS, batch_size=8)
"""The batch size that `TrainingArguments` has for evaluation unless told otherwise."""
PAIRS = 3


def run(options: Options) -> list[Entry]:
    """Both families, each side with its own batch size and with the same one; the training sets are the larger ones."""
    torch.set_num_threads(1)
    quiet()
    entries = []
    for family, speech in (("whisper", material.SHORT), ("ctc", material.LONG)):
        manifest = material.manifest(material.speech_for(options, speech))
        base = material.base("ctc" if family == "ctc" else "whisper", options)
        trial = Trial(base, manifest, OURS)
        for suffix, recipe in (("", SHIPPED), ("_equal_batch", OURS)):
            example = Example(base, manifest, recipe, family == "ctc")
            entries += compare(f"eval_cpu_{family}{suffix}", example, trial, 1 if options.quick else PAIRS)
    return entries


def compare(name: str, theirs: Example, ours: Trial, pairs: int) -> list[Entry]:
    """Speed in alternation, and the word error rates, which have to be equal."""
    for warming in (theirs, ours):
        replace(warming, manifest=material.manifest(material.WARM_UP)).evaluate("train")
    speed, wer = Comparison(), Comparison()
    for _ in range(pairs):
        for trial, speeds, rates in ((theirs, speed.baseline, wer.baseline), (ours, speed.ours, wer.ours)):
            per_second, rate = trial.evaluate("train")
            speeds.append(per_second)
            rates.append(rate)
    return [speed.entry(name, "utterances/s"), wer.entry(f"{name}_wer", "WER")]
