"""Every benchmark by name: the module that runs it, and what its entries have to hold."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.harness import Entry, Options, Target


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        module: Holds `run(options) -> list[Entry]`, or the function named after a colon; imported when it runs, so that
            the list of them costs nothing.
        about: What it measures, against what.
        targets: By name of the entry.
    """

    module: str
    about: str
    targets: Mapping[str, Target] = field(default_factory=dict)

    def run(self, options: Options) -> list[Entry]:
        """Measure, in this process."""
        module, _, function = self.module.partition(":")
        entries: list[Entry] = getattr(importlib.import_module(module), function or "run")(options)
        return entries


SAME = 1.1
"""A trained model's loss may be this much of the baseline's: two seeds of either differ by as much."""

BENCHMARKS: dict[str, Benchmark] = {
    "trial_overhead": Benchmark(
        "benchmarks.training.trial",
        "Seconds of a trial beside its training steps in a warm agent; `wandb agent` with a process per trial",
        {"trial_overhead": Target(at_most=0.2)},
    ),
    "train_cpu_ctc": Benchmark(
        "benchmarks.training.train:run_ctc",
        "wav2vec 2.0 with CTC on clips of 1 to 20 s, from files on disk; Hugging Face Trainer as in its example",
        {"train_cpu_ctc": Target(at_least=1.5), "train_cpu_ctc_loss": Target(at_most=SAME)},
    ),
    "train_cpu_whisper": Benchmark(
        "benchmarks.training.train:run_whisper",
        "Whisper on clips of up to 2 s, from files on disk, at equal input length and as shipped with 30 s; "
        "Seq2SeqTrainer as in its example",
        {
            "train_cpu_whisper": Target(at_least=3),
            "train_cpu_whisper_equal_length": Target(at_least=1.1),
            "train_cpu_whisper_equal_length_loss": Target(at_most=SAME),
        },
    ),
    "eval_cpu": Benchmark(
        "benchmarks.training.evaluate",
        "Files to WER of a set, with decoding; Trainer.predict",
        {"eval_cpu_whisper": Target(at_least=2), "eval_cpu_ctc": Target(at_least=2)},
    ),
    "train_gpu": Benchmark(
        "benchmarks.training.gpu",
        "Whisper-small's and wav2vec2-base's shape in bf16 on one GPU; Hugging Face Trainer at its best settings",
        {"train_gpu_whisper_small": Target(at_least=1.5), "train_gpu_wav2vec2_base": Target(at_least=1.5)},
    ),
    "wer_100k": Benchmark(
        "benchmarks.training.wer",
        "WER, CER, per-type WER and a paired bootstrap (1,000 resamples) on 100,000 utterances; "
        "WER alone beside a plain jiwer loop",
        {"wer_100k_seconds": Target(at_most=10, of="value"), "wer_100k_wer_alone": Target(at_most=1.2)},
    ),
}
