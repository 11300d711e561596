"""Each training benchmark in miniature: it runs and writes valid entries. Its figures mean nothing here."""

import pytest
import torch

from benchmarks.harness import Options
from benchmarks.registry import BENCHMARKS
from benchmarks.training.gpu import peak_flops, training_flops
from benchmarks.training.trial import overheads

torch.set_num_threads(1)
NAMES = [
    pytest.param("trial_overhead", marks=pytest.mark.slow),  # four trials, of which two are processes of their own
    "train_cpu_ctc",
    "train_cpu_whisper",
    "eval_cpu",
    "train_gpu",
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


def test_flops_are_six_per_weight_and_position():
    class Model(torch.nn.Module):
        config = type("Config", (), {"model_type": "wav2vec2"})

    model = Model()
    model.head = torch.nn.Linear(100, 10, bias=False)
    model.frozen = torch.nn.Linear(100, 10).requires_grad_(False)
    assert training_flops(model, audio_seconds=2.0) == 6 * 1000 * 100


def test_the_peak_of_a_device():
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("NVIDIA L40") is None, "neither an L4 nor an L40S"
    assert peak_flops("a device that nobody knows") is None
