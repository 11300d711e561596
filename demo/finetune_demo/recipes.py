"""What determines a base model beside its seed: the cache key is made of it."""

from __future__ import annotations

from typing import Any, Final

WHISPER: Final[dict[str, Any]] = {
    "version": 1,
    "seconds": 2,
    "hop": 320,
    "mels": 40,
    "words": {"clips": 800, "loss": 0.6, "limit": 1500},
    "utterances": {"clips": 1500, "loss": 0.5, "limit": 2000},
    "decay": 80,
    "learning_rate": 1e-3,
    "batch": 16,
    "speakers": 40,
}

CTC: Final[dict[str, Any]] = {
    "version": 2,
    "clips": 700,
    "loss": 0.15,
    "limit": 3000,
    "decay": 80,
    "learning_rate": 3e-3,
    "batch": 8,
    "speakers": 40,
}
