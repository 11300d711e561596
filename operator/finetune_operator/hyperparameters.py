"""Names that the trainer understands."""

from __future__ import annotations

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
