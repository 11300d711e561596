"""Text normalisers by name: baseline and candidate are scored with the same one, and the run records which.

A WER without its normaliser means little: "Don't stop." against "dont stop" is right or two errors.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import BadConfigError

Normalizer = Callable[[str], str]
NORMALIZERS = ("whisper-basic", "whisper-english", "lower", "none")


def check_normalizer(name: str) -> None:
    """Checks a name without importing anything.

    Raises:
        BadConfigError: There is no such normaliser.
    """
    if name not in NORMALIZERS:
        raise BadConfigError(f"dataset.normalizer {name!r} is unknown; choose one of {', '.join(NORMALIZERS)}.")


def normalizer(name: str) -> Normalizer:
    """The normaliser of a name; its result has single spaces and none at the ends.

    `whisper-basic` and `whisper-english` are those of the Whisper paper (Radford et al. 2022, appendix C), from
    `transformers`; the English one without the table of British spellings that checkpoints carry with their tokenizer.
    """
    check_normalizer(name)
    apply: Normalizer
    if name == "whisper-basic":
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        apply = BasicTextNormalizer()
    elif name == "whisper-english":
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        apply = EnglishTextNormalizer({})
    elif name == "lower":
        apply = str.lower
    else:
        apply = str
    return lambda text: " ".join(apply(text).split())
