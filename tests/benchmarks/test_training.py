"""Each training benchmark in miniature: it runs and writes valid entries. Its figures mean nothing here."""

import pytest

from benchmarks.harness import Options
from benchmarks.registry import BENCHMARKS


@pytest.mark.parametrize("name", ["train_cpu_ctc", "train_cpu_whisper", "eval_cpu", "wer_100k"])
def test_it_runs(name):
    benchmark = BENCHMARKS[name]
    entries = {entry.name: entry for entry in benchmark.run(Options(quick=True))}
    assert set(benchmark.targets) <= set(entries)
    assert all(entry.value > 0 and entry.samples > 0 for entry in entries.values())
