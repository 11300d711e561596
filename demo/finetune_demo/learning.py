"""The loop that teaches a tiny base model: until a loss is reached, because step counts do not survive another CPU."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

Batch = dict[str, torch.Tensor]
Progress = Callable[[str], None]
_WINDOW = 24


class BaseNotLearntError(RuntimeError):
    """The loss stayed above its threshold for as many steps as are allowed."""


@dataclass(frozen=True)
class Lesson:
    """One phase of teaching.

    Attributes:
        batches: Endless batches of tensors for the model, labels included.
        until: Mean loss of the last batches that ends the phase; 0 for a phase that only decays.
        limit: Steps after which a phase that has not reached its loss is an error, or the length of the decay.
        decay: Let the learning rate fall linearly to zero over `limit` steps.
    """

    name: str
    batches: Iterator[Batch]
    until: float
    limit: int
    decay: bool = False


def shuffled(count: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Endless index batches, each item once per epoch; the incomplete batch at an epoch's end is left out."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        yield from (order[i : i + batch] for i in range(0, count - batch + 1, batch))


def teach(model: torch.nn.Module, lessons: list[Lesson], learning_rate: float, progress: Progress) -> None:
    """Train `model` through `lessons` with AdamW.

    Raises:
        BaseNotLearntError: A lesson did not reach its loss.
    """
    torch.set_num_threads(1)  # the matrices are too small to share, and a busy second core would hold up the first
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), fused=True)
    model.train()
    started = time.monotonic()
    for lesson in lessons:
        recent: deque[float] = deque(maxlen=_WINDOW)
        for step in range(1, lesson.limit + 1):
            if lesson.decay:
                rate = learning_rate * (1 - (step - 1) / lesson.limit)
            else:
                rate = learning_rate * min(1.0, step / 50)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = model(**next(lesson.batches)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            recent.append(loss.item())
            mean = sum(recent) / len(recent)
            if step % 50 == 0:
                progress(f"{lesson.name}: step {step}, loss {mean:.2f}, {time.monotonic() - started:.0f} s")
            if not lesson.decay and len(recent) == _WINDOW and mean < lesson.until:
                progress(f"{lesson.name}: loss {mean:.2f} after {step} steps, {time.monotonic() - started:.0f} s")
                break
        else:
            if not lesson.decay:
                raise BaseNotLearntError(
                    f"{lesson.name}: loss {mean:.2f} after {lesson.limit} steps, wanted {lesson.until}; "
                    "another seed may learn"
                )
    model.eval()
