"""Deterministic train/validation/test split, grouped by speaker.

A speaker's utterances all go to one set: a model that has heard a voice in training scores better on it, and the test
would flatter. The place of a speaker depends on a hash of its name alone, so that it never moves from test to train
when the manifest grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import get_args

from .contract import Split
from .errors import BadDataError
from .manifest import SplitName, Utterance

SPLITS: tuple[SplitName, ...] = get_args(SplitName)


def group_of(utterance: Utterance) -> str:
    """The speaker, or the recording itself where no speaker is known."""
    return f"speaker:{utterance.speaker}" if utterance.speaker else f"audio:{utterance.audio.rpartition('/')[2]}"


def split_utterances(utterances: Sequence[Utterance], shares: Split) -> dict[SplitName, list[Utterance]]:
    """Divides a manifest.

    Rows that name their split keep it; the others follow the hash of their group. A set that the hash leaves empty, as
    happens with few speakers, takes the group whose hash lies nearest to its range.

    Raises:
        BadDataError: There are too few groups to fill three sets.
    """
    sets: dict[SplitName, list[Utterance]] = {name: [] for name in SPLITS}
    free = [utterance for utterance in utterances if utterance.split is None]
    for utterance in utterances:
        if utterance.split is not None:
            sets[utterance.split].append(utterance)
    if free:
        taken = {name for name, rows in sets.items() if rows}
        places = _places({group_of(utterance) for utterance in free}, shares, taken)
        for utterance in free:
            sets[places[group_of(utterance)]].append(utterance)
    empty = [name for name, rows in sets.items() if not rows]
    if empty:
        groups = len({group_of(utterance) for utterance in utterances})
        raise BadDataError(
            f"The {' and '.join(empty)} set is empty: {len(utterances)} usable rows of {groups} speakers cannot fill "
            "three sets; add speakers, or give the rows a `split` column."
        )
    return sets


def _places(groups: set[str], shares: Split, taken: set[SplitName]) -> dict[str, SplitName]:
    # The train range comes last so that validation and test, the small sets, keep their range whatever `train` is.
    bounds: dict[SplitName, tuple[float, float]] = {
        "test": (0.0, shares.test),
        "validation": (shares.test, shares.test + shares.validation),
        "train": (shares.test + shares.validation, 1.0),
    }
    positions = {group: _position(group) for group in groups}
    places: dict[str, SplitName] = {
        group: next((name for name, (low, high) in bounds.items() if low <= position < high), "train")
        for group, position in positions.items()
    }
    for name in ("train", "test", "validation"):
        if name in taken or name in places.values():
            continue
        low, high = bounds[name]
        counts = {other: sum(1 for place in places.values() if place == other) for other in SPLITS}
        movable = [group for group in sorted(groups) if counts[places[group]] > 1 or places[group] in taken]
        if movable:
            places[min(movable, key=lambda group: max(low - positions[group], positions[group] - high))] = name
    return places


def _position(group: str) -> float:
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) / 2**64
