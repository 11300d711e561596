"""Which utterances go into which batch.

A pure function of lengths, seed and epoch, so that a resumed trial sees the same order, on any number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_POOL = 64
CACHE_SECONDS = 20.0
"""Padded audio that a CPU computes at once: the activations of more fall out of its caches, and each step asks the
system for their memory anew. Cut into parts, a batch of 32 clips of 10 s is transcribed three times as fast."""


def batches_per_epoch(examples: int, batch_size: int) -> int:
    """Number of batches that one pass makes; the last may be smaller."""
    return math.ceil(examples / batch_size)


def epoch_batches(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int, bucket: bool) -> list[list[int]]:
    """The batches of one epoch, shuffled.

    With `bucket`, the shuffled order is cut into pools of 64 batches, each pool is sorted by length and cut into
    batches, and the batches are shuffled: rows of a batch are of similar length, so that little padding is computed,
    while the choice of rows stays random.

    Args:
        lengths: Extent of each example along time.
        batch_size: Rows of a batch.
        seed: Seed of the trial.
        epoch: Number of the pass, from 0.
        bucket: Whether lengths matter; they do not where the encoder pads all inputs to one length.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    if not bucket:
        return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
    extent = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), _POOL * batch_size):
        pool = order[start : start + _POOL * batch_size]
        pool = pool[np.argsort(extent[pool], kind="stable")]
        batches += [pool[i : i + batch_size].tolist() for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def parts(rows: Sequence[int], extents: Sequence[float], limit: float) -> list[list[int]]:
    """A batch cut into parts whose padded extent, rows times the longest, stays within a limit where a row alone does.

    Args:
        rows: The batch, in an order in which neighbours are of similar extent.
        extents: Extent of each example of the corpus.
        limit: In the unit of the extents.
    """
    made: list[list[int]] = []
    longest = 0.0
    for row in rows:
        longest = max(longest, extents[row])
        if made and (len(made[-1]) + 1) * longest <= limit:
            made[-1].append(row)
        else:
            made.append([row])
            longest = extents[row]
    return made


def by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches for evaluation: longest first, so that memory runs out at once or never."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
