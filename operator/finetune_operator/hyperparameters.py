"""Names that the trainer understands, and the search spaces of the presets."""

from __future__ import annotations

from typing import Any

NAMES = frozenset(
    {
        "learning_rate",
        "batch_size",
        "gradient_accumulation",
        "epochs",
        "max_steps",
        "warmup_ratio",
        "weight_decay",
        "dropout",
        "scheduler",
        "label_smoothing",
        "spec_augment",
        "freeze_encoder",
        "freeze_feature_encoder",
        "lora_rank",
        "lora_alpha",
        "max_grad_norm",
        "input_seconds",
    }
)
"""Hyperparameters of the trainer; an unknown name is an error, never ignored."""

PRESETS: dict[str, dict[str, Any]] = {
    "finetuning": {
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3},
        "batch_size": {"values": [8, 16, 32]},
        "epochs": {"values": [3, 5, 8, 12]},
        "warmup_ratio": {"distribution": "uniform", "min": 0.0, "max": 0.2},
        "weight_decay": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "dropout": {"values": [0.0, 0.1, 0.2]},
        "gradient_accumulation": {"values": [1, 2]},
    },
    "minimal": {
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3},
        "epochs": {"values": [3, 5, 8]},
    },
    "none": {},
}
"""Search spaces in W&B's syntax."""

PRESET_EARLY_TERMINATION: dict[str, dict[str, Any]] = {
    "finetuning": {"type": "hyperband", "min_iter": 3, "eta": 3},
}
"""Early termination that comes with a preset."""
