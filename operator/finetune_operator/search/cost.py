"""What a search costs: an estimate before the first trial, a better one once trials have ended, and what was saved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from finetune_operator.search.space import Parameters, distribution

_SIZES = (
    ("whisper-large-v3-turbo", 809), ("whisper-large", 1550), ("whisper-medium", 769), ("whisper-small", 244),
    ("whisper-base", 74), ("whisper-tiny", 39), ("distil-large", 756), ("distil-medium", 394), ("distil-small", 166),
    ("xls-r-2b", 2162), ("xls-r-1b", 965), ("mms-1b", 965), ("xls-r-300m", 317), ("mms-300m", 317),
    ("w2v-bert-2", 580), ("hubert-xlarge", 964), ("wav2vec2-large", 317), ("hubert-large", 317), ("wavlm-large", 317),
    ("data2vec-audio-large", 313), ("wav2vec2-base", 95), ("hubert-base", 95), ("wavlm-base", 95),
    ("data2vec-audio-base", 93),
)  # fmt: skip
"""Millions of parameters, by what a checkpoint's name contains; the first that fits counts."""
_POSITIONS = {"whisper": 1500, "ctc": 500}
"""Encoder positions per utterance: Whisper pads to 30 s at 50 a second, the others take about 10 s as they are."""
_FLOPS = 30e12
"""Floating-point operations per second and GPU that a fine-tuning sustains: a tenth of an A100's peak in bfloat16."""
_EVALUATION = 1.5
"""Evaluation costs half as much again as the training."""
_OVERHEAD_SECONDS = 30.0
"""Per trial: building the model, saving it, logging."""
_DEFAULT_EPOCHS = 3.0


@dataclass(frozen=True, slots=True)
class Saving:
    """What trials that ended before their time did not cost.

    Attributes:
        trials: Trials that were stopped before their time.
        epochs: Epochs that they did not train.
        seconds: Time that they did not take.
    """

    trials: int = 0
    epochs: float = 0.0
    seconds: float = 0.0


def model_parameters(name: str) -> float | None:
    """Number of a checkpoint's parameters, by its name; None when the name does not tell."""
    lowered = name.lower()
    return next((millions * 1e6 for mark, millions in _SIZES if mark in lowered), None)


def mean_epochs(parameters: Parameters) -> float:
    """Epochs of the average trial of a search space."""
    block = parameters.get("epochs")
    if block is None:
        return _DEFAULT_EPOCHS
    kind = distribution(block)
    if kind == "constant":
        return float(block["value"])
    if kind == "categorical":
        return sum(float(value) for value in block["values"]) / len(block["values"])
    if kind == "categorical_w_probabilities":
        return sum(float(v) * float(p) for v, p in zip(block["values"], block["probabilities"], strict=True))
    if "min" not in block or "max" not in block:
        return float(block.get("mu", _DEFAULT_EPOCHS))
    low, high = float(block["min"]), float(block["max"])
    if kind.endswith("log_uniform_values") and low != high:
        return (high - low) / math.log(high / low)  # mean of the log-uniform distribution
    return (low + high) / 2 if "log_uniform" not in kind else math.exp((low + high) / 2)


def gpu_hours_per_trial(model: str, family: str, epochs: float, cases: float) -> float | None:
    """GPU-hours of one trial before anything has been measured; None for a model of unknown size.

    Training takes 6 operations per parameter and position (Kaplan et al. 2020, C = 6 N D), which for encoder-decoders
    counts too much, as few positions reach the decoder; what a GPU sustains is a guess. Right within a small factor.

    Args:
        model: Name of the checkpoint.
        family: `whisper` or `ctc`.
        epochs: Passes over the training set.
        cases: Utterances in the training set.
    """
    size, positions = model_parameters(model), _POSITIONS.get(family)
    if size is None or positions is None:
        return None
    seconds = 6 * size * positions * cases * epochs * _EVALUATION / _FLOPS
    return (seconds + _OVERHEAD_SECONDS) / 3600


def saving(stopped: Iterable[tuple[Mapping[str, Any], float | None, float | None]]) -> Saving:
    """What early termination has saved, from the runs that it stopped.

    Args:
        stopped: Of each run its hyperparameters, the epoch it reached, and the seconds it took.
    """
    trials, epochs, saved_seconds = 0, 0.0, 0.0
    for config, reached, seconds in stopped:
        trials += 1
        planned = config.get("epochs", _DEFAULT_EPOCHS)
        if reached is None or not isinstance(planned, (int, float)) or not 0 < reached < planned:
            continue
        epochs += planned - reached
        saved_seconds += (seconds or 0.0) * (planned - reached) / reached
    return Saving(trials, epochs, saved_seconds)
