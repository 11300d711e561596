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
        causes: By name of the entry, why it misses its target where it does, as profiled.
    """

    module: str
    about: str
    targets: Mapping[str, Target] = field(default_factory=dict)
    causes: Mapping[str, str] = field(default_factory=dict)

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
        "wav2vec 2.0 with CTC on clips of 1 to 20 s, from files on disk; Hugging Face Trainer as in its example, with "
        "as many steps of as many clips. Ours computes the frozen convolutions once per clip, not once per epoch, and "
        "a step in parts that fit a CPU's caches; the gradient is the same",
        {"train_cpu_ctc": Target(at_least=1.5), "train_cpu_ctc_loss": Target(at_most=SAME)},
        {
            "train_cpu_ctc": "what can be left out, padding and the frozen convolutions of the second epoch, is too "
            "little on this shape; attention and matrix products, the same on both sides, run near the core's "
            "arithmetic limit (46 and 57 GFLOP/s), and torch's CTC loss, also on both, is 23 % of our step"
        },
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
        "Files to WER of a set, with decoding; Trainer.predict with its own batch of 8, and with ours of 32",
        {"eval_cpu_whisper": Target(at_least=2), "eval_cpu_ctc": Target(at_least=2)},
        {
            "eval_cpu_ctc": "sorting by length saves the example's padding and its loss, no more; of what is left two "
            "thirds are the transformer, near the core's arithmetic limit, a fifth the frozen convolutions, a tenth "
            "reading and features"
        },
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
    "apply_to_job": Benchmark(
        "benchmarks.control.latency",
        "FinetuneJob created to its Job visible, 200 one after the other; against a minimal loop that watches and "
        "creates the equal Job",
        {"apply_to_job_p50": Target(at_most=1.5), "apply_to_job_p99": Target(at_most=2.0)},
    ),
    "control_load": Benchmark(
        "benchmarks.control.load",
        "1,000 FinetuneJobs at once until all are Complete, against the minimal loop with the same writes (Kueue's own "
        "test admits about 43 workloads/s); then processor time and memory of an operator that starts on these and 100 "
        "running resources, against a kopf operator that does nothing",
        {
            "burst_1000": Target(at_most=1.5),
            "idle_cpu": Target(at_most=1.0, of="value"),
            "idle_rss_over_noop_mb": Target(at_most=60, of="value"),
        },
    ),
    "sweeps_100": Benchmark(
        "benchmarks.control.sweeps",
        "100 SweepRuns of 10 trials on 4 agents each, at once: seconds that a trial takes beyond its own, against the "
        "10 s polling of W&B Launch's agent",
        {"sweeps_100": Target(at_most=0.2)},
        {
            "sweeps_100": "100 sweeps at once are 400 pods, which wait for two cores: in a run of 77 s "
            "the sandbox took 55 s of it, the operator 25 s, the tracker 17 s; the baseline waits without cost"
        },
    ),
    "api_requests": Benchmark(
        "benchmarks.control.counts",
        "Requests of the operator, counted by proxies in front of the API server and of the tracker: writes per life "
        "against the floor that benchmarks/control/counts.py argues, reads while resources run and nothing happens, "
        "requests to the tracker per minute against one poll per sweep",
        {
            "api_writes_finetunejob": Target(at_most=7, of="value"),
            "api_writes_sweeprun": Target(at_most=13, of="value"),
            "api_reads_steady": Target(at_most=0, of="value"),
            "tracker_requests_1": Target(at_most=20, of="value"),
            "tracker_requests_10": Target(at_most=20, of="value"),
            "tracker_requests_100": Target(at_most=20, of="value"),
        },
    ),
}
