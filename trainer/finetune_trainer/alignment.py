"""What kind of error a model made, from the alignment of hypothesis and correction."""

from __future__ import annotations

from typing import Literal

ErrorType = Literal["none", "substitution", "deletion", "insertion", "pronunciation"]
PRONUNCIATION_LIKE = 0.5
"""Least similarity of characters (1 - normalised edit distance) for a substituted word to count as mispronounced."""


def infer_error_type(text: str, hypothesis: str) -> ErrorType:
    """The kind of most of a row's word errors; ties go to the first of the four in `ErrorType`'s order.

    A substituted word that sounds like the right one ("tree" for "three") points at pronunciation or acoustics, another
    ("left" for "stop") at the language model; spelling stands in for sound.

    Args:
        text: Normalised correction.
        hypothesis: Normalised output of the model.
    """
    from rapidfuzz.distance import Levenshtein

    reference, output = text.split(), hypothesis.split()
    counts: dict[ErrorType, int] = {"substitution": 0, "deletion": 0, "insertion": 0, "pronunciation": 0}
    for operation in Levenshtein.opcodes(reference, output):
        if operation.tag == "delete":
            counts["deletion"] += operation.src_end - operation.src_start
        elif operation.tag == "insert":
            counts["insertion"] += operation.dest_end - operation.dest_start
        elif operation.tag == "replace":
            words = zip(
                reference[operation.src_start : operation.src_end],
                output[operation.dest_start : operation.dest_end],
                strict=False,
            )
            for right, wrong in words:
                alike = Levenshtein.normalized_similarity(right, wrong) >= PRONUNCIATION_LIKE
                counts["pronunciation" if alike else "substitution"] += 1
    kind = max(counts, key=lambda name: counts[name])
    return kind if counts[kind] else "none"
