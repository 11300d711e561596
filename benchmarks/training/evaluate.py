"""Evaluation on a CPU against `Trainer.predict`: utterances per second from files on disk to the word error rate."""

from __future__ import annotations

import torch

from benchmarks.harness import Comparison, Entry, Options
from benchmarks.training import material
from benchmarks.training.huggingface import Example, quiet
from benchmarks.training.ours import Trial
from benchmarks.training.outcome import Recipe

RECIPE = Recipe(batch_size=16, epochs=1, learning_rate=1e-3)
PAIRS = 3


def run(options: Options) -> list[Entry]:
    """Both families; the training sets are what is large enough to be heard."""
    torch.set_num_threads(1)
    quiet()
    entries = []
    for family, speech in (("whisper", material.SHORT), ("ctc", material.LONG)):
        manifest = material.manifest(material.speech_for(options, speech))
        base = material.base("ctc" if family == "ctc" else "whisper", options)
        theirs, ours = Example(base, manifest, RECIPE, family == "ctc"), Trial(base, manifest, RECIPE)
        speed, wer = Comparison(), Comparison()
        for _ in range(1 if options.quick else PAIRS):
            for trial, speeds, rates in ((theirs, speed.baseline, wer.baseline), (ours, speed.ours, wer.ours)):
                per_second, rate = trial.evaluate("train")
                speeds.append(per_second)
                rates.append(rate)
        entries += [speed.entry(f"eval_cpu_{family}", "utterances/s"), wer.entry(f"eval_cpu_{family}_wer", "WER")]
    return entries
