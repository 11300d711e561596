"""Learning-rate schedules as pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate_factor(
    step: int, total: int, warmup_ratio: float, scheduler: Literal["linear", "cosine", "constant"]
) -> float:
    """Share of the peak learning rate in one optimiser step.

    The rise is linear over the first `warmup_ratio` of the steps; then `linear` and `cosine` fall to 0 at the end
    (Loshchilov & Hutter 2017 for the cosine). The first step already learns: its factor is 1 / warm-up steps, not 0.

    Args:
        step: Number of the step, from 0.
        total: Steps of the whole training.
        warmup_ratio: Share of the steps that rise.
        scheduler: Shape of what follows.
    """
    warmup = math.ceil(total * warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    if scheduler == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 1 - progress if scheduler == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
