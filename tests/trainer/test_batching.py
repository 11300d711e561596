"""Order, schedule and split: pure, deterministic, complete."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from finetune_trainer.batching import batches_per_epoch, by_length, epoch_batches, parts
from finetune_trainer.contract import Split
from finetune_trainer.errors import BadDataError
from finetune_trainer.manifest import Utterance
from finetune_trainer.schedule import learning_rate_factor
from finetune_trainer.split import split_utterances
from hypothesis import given
from hypothesis import strategies as st


@given(
    lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=200),
    batch_size=st.integers(1, 32),
    seed=st.integers(0, 100),
    epoch=st.integers(0, 5),
    bucket=st.booleans(),
)
def test_an_epoch_holds_every_example_once(
    lengths: list[int], batch_size: int, seed: int, epoch: int, bucket: bool
) -> None:
    batches = epoch_batches(lengths, batch_size, seed=seed, epoch=epoch, bucket=bucket)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(batches) == batches_per_epoch(len(lengths), batch_size)
    assert max(map(len, batches)) <= batch_size
    assert batches == epoch_batches(lengths, batch_size, seed=seed, epoch=epoch, bucket=bucket)


def test_epochs_and_seeds_differ() -> None:
    lengths = list(range(100))
    first = epoch_batches(lengths, 8, seed=0, epoch=0, bucket=False)
    assert first != epoch_batches(lengths, 8, seed=0, epoch=1, bucket=False)
    assert first != epoch_batches(lengths, 8, seed=1, epoch=0, bucket=False)


def test_buckets_save_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 20, 400).tolist()

    def computed(bucket: bool) -> int:
        batches = epoch_batches(lengths, 8, seed=0, epoch=0, bucket=bucket)
        return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)

    assert computed(True) < 0.8 * computed(False)


def test_evaluation_starts_with_the_longest() -> None:
    assert by_length([1, 9, 5], 2) == [[1, 2], [0]]


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant"])
def test_schedule_rises_then_falls(scheduler: str) -> None:
    factors = [learning_rate_factor(step, 100, 0.1, scheduler) for step in range(100)]  # type: ignore[arg-type]
    assert factors[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert max(factors) == 1.0
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert (factors[-1] < 0.02) == (scheduler != "constant")


def rows(speakers: int, per_speaker: int = 5) -> list[Utterance]:
    return [
        Utterance(row=i * per_speaker + k, audio=f"{i}-{k}.wav", text="go", speaker=f"s{i}")
        for i in range(speakers)
        for k in range(per_speaker)
    ]


def test_no_speaker_is_in_two_sets_and_shares_are_met() -> None:
    sets = split_utterances(rows(400), Split())
    speakers = {name: {row.speaker for row in members} for name, members in sets.items()}
    assert not speakers["train"] & speakers["test"]
    assert not speakers["train"] & speakers["validation"]
    assert not speakers["validation"] & speakers["test"]
    assert len(sets["train"]) / 2000 == pytest.approx(0.8, abs=0.06)


def test_growth_moves_nobody() -> None:
    before = split_utterances(rows(200), Split())
    after = split_utterances(rows(400), Split())
    for name, members in before.items():
        assert {row.audio for row in members} <= {row.audio for row in after[name]}


@pytest.mark.parametrize("speakers", [3, 4, 7])
def test_few_speakers_still_fill_three_sets(speakers: int) -> None:
    sets = split_utterances(rows(speakers), Split())
    assert all(sets.values())


def test_too_few_speakers_are_bad_data() -> None:
    with pytest.raises(BadDataError, match="2 speakers cannot fill three sets"):
        split_utterances(rows(2), Split())


def test_rows_may_name_their_split() -> None:
    named = [
        Utterance(row=i, audio=f"{i}.wav", text="go", split=split)
        for i, split in enumerate(("train", "validation", "test"))
    ]
    sets = split_utterances([*named, *rows(50)], Split())
    for row in named:
        assert row in sets[row.split or "train"]


@given(extents=st.lists(st.floats(0.1, 30.0), min_size=1, max_size=40), limit=st.floats(0.5, 100.0))
def test_parts_keep_all_rows_in_order_within_the_limit(extents: list[float], limit: float) -> None:
    rows = list(reversed(range(len(extents))))
    made = parts(rows, extents, limit)
    assert [row for part in made for row in part] == rows
    assert all(len(part) == 1 or len(part) * max(extents[row] for row in part) <= limit for part in made)
