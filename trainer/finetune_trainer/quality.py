"""Quality of a dataset: every row that is odd is counted and named, and none is dropped without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .manifest import Utterance

EXCLUDING = frozenset(
    {
        "empty_text",
        "missing_audio",
        "unreadable_audio",
        "not_finite",
        "too_long",
        "too_short",
        "duplicate",
        "unknown_characters",
        "text_longer_than_audio",
    }
)
"""Issues that keep a row out of training; the others (`clipped`, `no_error`) are reported and the row is used."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One odd row."""

    row: int
    audio: str
    code: str
    detail: str

    @property
    def excluded(self) -> bool:
        """Whether the row is left out."""
        return self.code in EXCLUDING


@dataclass(slots=True)
class QualityReport:
    """What was found in a manifest.

    Attributes:
        rows: Rows of the manifest.
        used: Rows that training or evaluation uses.
        error_cases: Used rows that are error cases, i.e. not known to be right already.
        seconds: Audio of the used rows.
    """

    uri: str
    rows: int = 0
    used: int = 0
    error_cases: int = 0
    seconds: float = 0.0
    issues: list[Issue] = field(default_factory=list)

    def add(self, utterance: Utterance, code: str, detail: str) -> None:
        """Notes an odd row."""
        self.issues.append(Issue(utterance.row, utterance.audio, code, detail))

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows per issue code."""
        return dict(sorted(Counter(issue.code for issue in self.issues).items()))

    def summary(self) -> str:
        """One sentence: how many rows are used, and what kept the others out, with the first example."""
        excluded = [issue for issue in self.issues if issue.excluded]
        text = f"{self.used} of {self.rows} rows of {self.uri} are usable"
        if not excluded:
            return text
        counts = ", ".join(f"{count} {code}" for code, count in self.counts.items() if code in EXCLUDING)
        first = excluded[0]
        return f"{text} ({counts}; first: row {first.row}, {first.audio}: {first.detail})"


def check_rows(utterances: Sequence[Utterance], report: QualityReport) -> list[Utterance]:
    """Checks what can be told without decoding: empty texts, duplicates, rows that are no errors.

    Args:
        utterances: Rows of the manifest.
        report: Takes the issues and the number of rows.

    Returns:
        The rows that remain.
    """
    report.rows += len(utterances)
    kept = []
    seen: dict[tuple[str, str], int] = {}
    for utterance in utterances:
        if not utterance.text.strip():
            report.add(utterance, "empty_text", "the correction is empty")
            continue
        key = (utterance.audio, utterance.text)
        if utterance.data is None and key in seen:
            report.add(utterance, "duplicate", f"same audio and text as row {seen[key]}")
            continue
        seen[key] = utterance.row
        if is_right_already(utterance):
            report.add(utterance, "no_error", "the hypothesis equals the correction")
        kept.append(utterance)
    return kept


def is_right_already(utterance: Utterance) -> bool:
    """Tells whether the model in service already had the row right: useful for replay, but no error case."""
    return utterance.hypothesis is not None and _plain(utterance.hypothesis) == _plain(utterance.text)


def _plain(text: str) -> str:
    return " ".join(text.split())
