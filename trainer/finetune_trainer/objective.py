"""What a training makes small: cross-entropy for `seq2seq` models, connectionist temporal classification for `ctc`."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from .features import Batch, Example
from .models import Base, plain


def objective(network: Any, base: Base, batch: Batch, label_smoothing: float = 0.0) -> torch.Tensor:
    """Sum of the loss over a batch, in the unit of `weight_of`.

    Cross-entropy per token for `seq2seq`; for `ctc` the negative log-likelihood (Graves et al. 2006) of each row,
    divided by its number of labels, so that long utterances do not outweigh short ones.
    """
    if base.family == "seq2seq":
        logits = network(**batch.inputs, decoder_input_ids=shift_right(batch.labels, base), use_cache=False).logits
        return functional.cross_entropy(
            logits.flatten(0, 1).float(), batch.labels.flatten(), ignore_index=-100, reduction="sum",
            label_smoothing=label_smoothing,
        )  # fmt: skip
    logits = network(**batch.inputs).logits
    frames = _frames_of(network, logits, batch)
    targets = batch.labels.clamp(min=0)
    counts = batch.label_lengths.clamp(min=1).to(logits.device)
    log_probabilities = functional.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    # cuDNN's CTC is not deterministic and refuses long targets; the native one is used everywhere.
    with torch.backends.cudnn.flags(enabled=False):
        losses = functional.ctc_loss(
            log_probabilities, targets, frames, batch.label_lengths, blank=base.tokenizer.pad_token_id,
            reduction="none", zero_infinity=True,
        )  # fmt: skip
    return (losses / counts).sum()


def shift_right(labels: torch.Tensor, base: Base) -> torch.Tensor:
    """The decoder's input: labels moved right by one behind the start token.

    Args:
        labels: `(batch, tokens)`, padded with -100.
        base: The checkpoint; it has the start token.
    """
    padding = base.config.pad_token_id if base.config.pad_token_id is not None else base.tokenizer.eos_token_id
    start = torch.full_like(labels[:, :1], base.config.decoder_start_token_id)
    return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == -100, padding)], dim=1)


def weight_of(example: Example, base: Base) -> float:
    """What an example counts for in a mean loss: its tokens, or 1 for `ctc`."""
    return float(len(example.labels)) if base.family == "seq2seq" else 1.0


def _frames_of(network: Any, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    model = plain(getattr(network, "module", network))
    frames: torch.Tensor = model._get_feat_extract_output_lengths(batch.lengths)
    return frames.clamp(max=logits.shape[1])
