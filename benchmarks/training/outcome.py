"""What a training run leaves, whoever trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Settings that ours and the baseline share.

    Attributes:
        batch_size: Rows of a batch.
        epochs: Passes over the training set.
        learning_rate: Peak, linear decay after a tenth of warm-up.
    """

    batch_size: int
    epochs: int
    learning_rate: float
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """A training run.

    Attributes:
        seconds: From the files on disk to the last step, without imports.
        audio_seconds: Audio that all steps together heard.
        model: As trained, a `transformers` model.
        train_seconds: Of the steps alone, where the trainer tells.
    """

    seconds: float
    audio_seconds: float
    model: Any
    train_seconds: float = 0.0

    @property
    def speed(self) -> float:
        """Audio seconds trained per second."""
        return self.audio_seconds / self.seconds
