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
    kernels = channels_last(convolutions)
    with torch.no_grad():  # not inference mode, whose tensors autograd refuses as inputs
        for example in missing:
            example.frames = convolve(convolutions, kernels, example.features.to(device)).cpu().clone()


def channels_last(convolutions: Any) -> list[torch.Tensor]:
    """The kernels of a front end's layers, `(out, in, 1, width)` with the channels innermost in memory."""
    return [
        layer.conv.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
        for layer in convolutions.conv_layers
    ]


def convolve(convolutions: Any, kernels: Sequence[torch.Tensor], samples: torch.Tensor) -> torch.Tensor:
    """What a front end makes of one clip, with the channels innermost throughout.

    The layers of `transformers` keep time innermost and turn everything around for each `LayerNorm` and back: two
    copies of all activations per layer, which cost a third of the time.

    Args:
        convolutions: A `Wav2Vec2FeatureEncoder` or its like.
        kernels: Its `channels_last`.
        samples: `(samples,)`.

    Returns:
        `(channels, frames)`.
    """
    count = len(samples)
    hidden = samples.as_strided((1, 1, 1, count), (count, 1, count, 1))  # strides that say which layout is meant
    for layer, kernel in zip(convolutions.conv_layers, kernels, strict=True):
        hidden = torch.nn.functional.conv2d(hidden, kernel, layer.conv.bias, stride=(1, *layer.conv.stride))
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, torch.nn.LayerNorm):
            hidden = norm(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        elif norm is not None:
            hidden = norm(hidden)
        hidden = layer.activation(hidden)
    return hidden[0, :, 0]
