"""Hyperparameters of one trial: names, bounds and defaults, checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import BadConfigError


class Hyperparameters(BaseModel):
    """What a sweep may vary.

    Attributes:
        learning_rate: Peak learning rate of AdamW.
        batch_size: Utterances per forward pass, over all processes together, so that a trial means the same on one GPU
            and on eight.
        gradient_accumulation: Forward passes per optimiser step.
        epochs: Passes over the training set; a fraction is allowed.
        max_steps: Optimiser steps; when given it replaces `epochs`.
        warmup_ratio: Share of the steps over which the learning rate rises linearly from 0.
        weight_decay: Decoupled weight decay, on matrices only (not on biases and norms).
        dropout: Replaces every dropout probability that the checkpoint's configuration has; None keeps them.
        scheduler: Shape of the decay after the warm-up.
        label_smoothing: Smoothing of the cross-entropy; sequence-to-sequence models only.
        spec_augment: Share of the time steps that SpecAugment masks (Park et al. 2019); 0 turns it off.
        freeze_encoder: Train the decoder (or the CTC head) alone.
        freeze_feature_encoder: Leave the convolutions of a CTC model as pretrained, as its paper's recipe does (Baevski
            et al. 2020); they cost time and memory, and matter only where the sound itself is unlike all pretraining.
        lora_rank: Rank of the low-rank adapters on the attention projections (Hu et al. 2021); 0 trains all weights.
        lora_alpha: Scale of the adapters; the adapter's output is multiplied by alpha / rank.
        input_seconds: Length of a Whisper model's input in place of the checkpoint's 30 s. Its encoder is cut to as
            many positions, which saves most of the computing where clips are short; the result hears no more than this.
        max_grad_norm: Gradients are clipped to this norm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: float = Field(default=1e-5, gt=0)
    batch_size: int = Field(default=16, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    epochs: float = Field(default=3, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    spec_augment: float = Field(default=0.0, ge=0, le=0.5)
    freeze_encoder: bool = False
    freeze_feature_encoder: bool = True
    lora_rank: int = Field(default=0, ge=0)
    lora_alpha: float = Field(default=32.0, gt=0)
    input_seconds: int | None = Field(default=None, ge=1, le=30)
    max_grad_norm: float = Field(default=1.0, gt=0)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Hyperparameters:
        """Checks a configuration.

        Raises:
            BadConfigError: A name is unknown or a value out of bounds; the sentence names the field and the fix.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise BadConfigError(describe(error, "hyperparameters", tuple(cls.model_fields))) from None


def describe(error: ValidationError, root: str, known: tuple[str, ...] = ()) -> str:
    """One sentence for the first few problems of a pydantic validation.

    Args:
        error: What pydantic found.
        root: Name of the document, put before each field's path.
        known: Names that would have been right, listed when an unknown one was given.
    """
    parts = []
    for problem in error.errors(include_url=False)[:3]:
        path = ".".join([root, *(str(step) for step in problem["loc"])])
        if problem["type"] == "extra_forbidden":
            hint = f"; known names are {', '.join(known)}" if known else ""
            parts.append(f"{path} is not a known field{hint}")
        elif problem["type"] == "missing":
            parts.append(f"{path} is required")
        else:
            reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
            parts.append(f"{path}: {reason} (given: {str(problem['input'])[:60]!r})")
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "") + "."
