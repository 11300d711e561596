"""What a run reports of single utterances, so that runs can be compared with one another."""

from __future__ import annotations

import numpy as np
from finetune_trainer.evaluation import paired_counts
from finetune_trainer.metrics import ErrorCounts


def test_each_type_lists_its_utterances_in_order() -> None:
    counts = ErrorCounts(np.array([1, 0, 2, 3]), np.array([5, 6, 7, 8]))
    assert paired_counts(["b", "a", "b", "a"], counts) == {
        "test/utterance_errors/a": "0 3",
        "test/utterance_words/a": "6 8",
        "test/utterance_errors/b": "1 2",
        "test/utterance_words/b": "5 7",
    }


def test_large_sets_are_cut_alike_for_every_run_and_each_type_keeps_its_share() -> None:
    types = ["a"] * 900 + ["b"] * 90 + ["c"]
    counts = ErrorCounts(np.arange(991), np.arange(991) + 1)
    values = paired_counts(types, counts, limit=100)
    lengths = {kind: len(values[f"test/utterance_errors/{kind}"].split()) for kind in "abc"}
    assert lengths == {"a": 90, "b": 9, "c": 1}
    assert values["test/utterance_errors/a"].split()[:2] == ["0", "1"]
