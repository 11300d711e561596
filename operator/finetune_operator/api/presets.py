"""The presets of a search: the one place that says what `finetuning` and `minimal` contain, per family of models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Family = Literal["whisper", "ctc", "other"]
PresetName = Literal["finetuning", "minimal", "none"]

DEFAULT_TRIALS = 20
MINIMAL_TRIALS = 5

_CTC_NAMES = ("wav2vec", "w2v", "hubert", "wavlm", "data2vec", "unispeech", "xls-r", "xlsr", "mms-", "ctc")
_LEARNING_RATES: dict[Family, tuple[float, float]] = {
    "whisper": (1e-6, 1e-4),
    "ctc": (1e-5, 1e-3),
    "other": (1e-6, 1e-3),
}
"""Around what the models' authors fine-tune with: Whisper a fortieth of its pre-training rate, 4e-6 (large) to 4e-5
(tiny); wav2vec 2.0 and its kin 3e-5 to 3e-4."""
_WARMUP: dict[Family, tuple[float, float]] = {"whisper": (0.0, 0.2), "ctc": (0.05, 0.3), "other": (0.0, 0.2)}
"""CTC heads start from nothing and collapse to blanks without a warm-up."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset stands for.

    Attributes:
        trials: Cap on trials where the spec has none.
        parameters: Search space in W&B's syntax.
        early_terminate: Early termination in W&B's syntax.
    """

    trials: int = DEFAULT_TRIALS
    parameters: dict[str, Any] = field(default_factory=dict)
    early_terminate: dict[str, Any] | None = None


def family(model: str) -> Family:
    """The family of a checkpoint, by its name; `other` when the name does not tell."""
    name = model.lower()
    if "whisper" in name:
        return "whisper"
    return "ctc" if any(mark in name for mark in _CTC_NAMES) else "other"


def preset(name: PresetName, model: str) -> Preset:
    """What a preset stands for with a model."""
    kind = family(model)
    low, high = _LEARNING_RATES[kind]
    learning_rate = {"distribution": "log_uniform_values", "min": low, "max": high}
    if name == "none":
        return Preset()
    if name == "minimal":
        return Preset(MINIMAL_TRIALS, {"learning_rate": learning_rate, "epochs": {"values": [3, 5, 8]}})
    least, most = _WARMUP[kind]
    return Preset(
        DEFAULT_TRIALS,
        {
            "learning_rate": learning_rate,
            "batch_size": {"values": [8, 16, 32]},
            "epochs": {"values": [3, 5, 8, 12] if kind != "ctc" else [5, 10, 20]},
            "warmup_ratio": {"distribution": "uniform", "min": least, "max": most},
            "weight_decay": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
            "dropout": {"values": [0.0, 0.1, 0.2]},
            "gradient_accumulation": {"values": [1, 2]},
        },
        {"type": "hyperband", "min_iter": 3, "eta": 3},
    )


def describe() -> str:
    """The presets in a few sentences, for `kubectl explain` and the reference."""
    rates = "; ".join(f"{kind} {low:g} to {high:g}" for kind, (low, high) in _LEARNING_RATES.items())
    full = preset("finetuning", "")
    kinds: dict[str, Family] = {"": "other", "whisper": "whisper", "wav2vec2": "ctc"}
    epochs = "; ".join(
        f"{kind} {_listed(preset('finetuning', model).parameters['epochs']['values'])}" for model, kind in kinds.items()
    )
    rows = [
        f"`finetuning` ({full.trials} trials): learning_rate log-uniform ({rates})",
        f"batch_size {_listed(full.parameters['batch_size']['values'])}",
        f"epochs ({epochs})",
        "warmup_ratio uniform ("
        + "; ".join(f"{kind} {low:g} to {high:g}" for kind, (low, high) in _WARMUP.items())
        + ")",
        "weight_decay log-uniform 0.0001 to 0.1",
        f"dropout {_listed(full.parameters['dropout']['values'])}",
        f"gradient_accumulation {_listed(full.parameters['gradient_accumulation']['values'])}",
        "hyperband (min_iter 3, eta 3)",
    ]
    small = preset("minimal", "")
    short = _listed(small.parameters["epochs"]["values"])
    return (
        f"Search space to start from; parameters override it key by key, null takes one out. {', '.join(rows)}. "
        f"`minimal` ({small.trials} trials): learning_rate as above, epochs {short}. `none`: nothing. "
        "The family is told from trainer.model.name: whisper, ctc (wav2vec 2.0 and its kin), other."
    )


def _listed(values: list[Any]) -> str:
    return "/".join(f"{value:g}" for value in values)
