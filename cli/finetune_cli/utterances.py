"""The per-utterance table that the trainer logs (`test/utterances`), and pairing two of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KEY = "test/utterances"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance of the held-out test set.

    Attributes:
        words: Words of the reference.
        baseline_errors: Word errors of the untouched model.
        errors: Word errors of the candidate.
    """

    audio: str
    reference: str
    baseline: str
    candidate: str
    error_type: str
    words: int
    baseline_errors: float
    errors: float


def parse(records: Iterable[Mapping[str, Any]]) -> list[Utterance]:
    """Rows of the table; word errors are the rate times the reference's length, as the trainer counts it."""
    found = []
    for row in records:
        reference = str(row.get("reference") or "")
        words = max(1, len(reference.split()))
        found.append(
            Utterance(
                audio=str(row.get("audio") or ""),
                reference=reference,
                baseline=str(row.get("baseline") or ""),
                candidate=str(row.get("candidate") or ""),
                error_type=str(row.get("error_type") or "other"),
                words=words,
                baseline_errors=round(float(row.get("baseline_wer") or 0) * words),
                errors=round(float(row.get("wer") or 0) * words),
            )
        )
    return found


def pair(a: Iterable[Utterance], b: Iterable[Utterance]) -> list[tuple[Utterance, Utterance]]:
    """Utterances that both have: same audio, same reference."""
    others = {(u.audio, u.reference): u for u in b}
    return [(u, others[(u.audio, u.reference)]) for u in a if (u.audio, u.reference) in others]
