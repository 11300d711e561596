"""The frozen front end of CTC models, computed once per clip.

The convolutions that turn raw audio into 50 frames a second cost about as much as the transformer above them. Where
they stay as pretrained (`freeze_feature_encoder`, the default), their output never changes: it is computed once per
clip and process, for the baseline, for every epoch and for every trial. Each clip goes through alone, so that no
padding enters its statistics, and batches are masked: the result is that of the model hearing one clip at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .features import Example
    from .models import Base

_FAMILIES = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "wav2vec2-conformer"})
_MEMORY_SHARE = 0.25


class Precomputed(torch.nn.Module):
    """Stands where the convolutions were and passes on what they gave.

    The convolutions themselves are kept out of the module tree: they take no part in training, nor in its checkpoints.
    """

    def __init__(self, convolutions: torch.nn.Module) -> None:
        super().__init__()
        self.kept = (convolutions,)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns its input, `(batch, channels, frames)`."""
        return features


def can_precompute(base: Base) -> bool:
    """Whether a checkpoint has the front end that this module knows."""
    return base.config.model_type in _FAMILIES and not getattr(base.config, "add_adapter", False)


def fits_memory(base: Base, seconds: float) -> bool:
    """Whether the frames of so much audio fit a quarter of the memory that is free."""
    stride = 1
    for step in base.config.conv_stride:
        stride *= step
    needed = seconds * base.sampling_rate / stride * base.config.conv_dim[-1] * 4
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return bool(needed < _MEMORY_SHARE * free)


def detach(model: Any) -> None:
    """Takes the convolutions out of a model; it then wants their output as `input_values`."""
    body = getattr(model, model.base_model_prefix)
    body.feature_extractor = Precomputed(body.feature_extractor)


def attach(model: Any) -> None:
    """Puts the convolutions back, if they were taken out."""
    body = getattr(model, model.base_model_prefix)
    if isinstance(body.feature_extractor, Precomputed):
        (body.feature_extractor,) = body.feature_extractor.kept


def precompute(base: Base, examples: Sequence[Example], device: torch.device) -> None:
    """Computes the frames of those examples that have none yet.

    Args:
        base: The checkpoint.
        examples: Get `(channels, frames)` in float32, on the CPU.
        device: Where the convolutions run.
    """
    missing = [example for example in examples if example.frames is None]
    if not missing:
        return
    model = base.build()
    convolutions = getattr(model, model.base_model_prefix).feature_extractor.to(device).eval()
    with torch.no_grad():  # not inference mode, whose tensors autograd refuses as inputs
        for example in missing:
            example.frames = convolutions(example.features[None].to(device))[0].cpu().clone()
