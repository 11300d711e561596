"""Each training benchmark in miniature: it runs and writes valid entries. Its figures mean nothing here."""

import pytest

from benchmarks.harness import Options
from benchmarks.registry import BENCHMARKS
from benchmarks.training.trial import overheads

NAMES = [
    pytest.param("trial_overhead", marks=pytest.mark.slow),  # four trials, of which two are processes of their own
    "train_cpu_ctc",
    "train_cpu_whisper",
    "eval_cpu",
    "wer_100k",
]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name):
    benchmark = BENCHMARKS[name]
    entries = {entry.name: entry for entry in benchmark.run(Options(quick=True))}
    assert set(benchmark.targets) <= set(entries)
    assert all(entry.value > 0 and entry.samples > 0 for entry in entries.values())


def test_the_first_trial_warms_up_and_steps_are_taken_off():
    runs = [
        {"_timestamp": 130.0, "duration/train_seconds": 4.0},
        {"_timestamp": 100.0, "duration/train_seconds": 90.0},
        {"_timestamp": 110.0, "duration/train_seconds": 8.0},
    ]
    assert overheads(runs) == [2.0, 16.0]
