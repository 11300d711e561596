"""Scoring of a large test set: what a trial's judgement costs, and WER alone beside plain jiwer."""

import random

import jiwer
from finetune_trainer.alignment import infer_error_type
from finetune_trainer.evaluation import by_error_type
from finetune_trainer.metrics import RESAMPLES, count_characters, count_operations, count_words, paired_bootstrap

from benchmarks.harness import Entry, Options, alternate, measured, seconds

UTTERANCES = 100_000
VOCABULARY = 20_000


def texts(utterances: int, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """References of 3 to 25 words, and the hypotheses of two models that get 20 % and 15 % of the words wrong."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 10))) for _ in range(VOCABULARY)]
    references = [rng.choices(words, k=rng.randint(3, 25)) for _ in range(utterances)]

    def heard(reference: list[str], rate: float) -> str:
        output: list[str] = []
        for word in reference:
            chance = rng.random() / rate
            if chance >= 1:
                output.append(word)
            elif chance >= 0.5:
                output.append(rng.choice(words))
            elif chance >= 0.25:
                output += [word, rng.choice(words)]
        return " ".join(output)

    before = [heard(reference, 0.2) for reference in references]
    after = [heard(reference, 0.15) for reference in references]
    return [" ".join(reference) for reference in references], before, after


def judge(references: list[str], before: list[str], after: list[str]) -> None:
    """Everything that a trial says of two models on one set, of normalised texts."""
    kinds = [infer_error_type(text, hypothesis) for text, hypothesis in zip(references, before, strict=True)]
    baseline, candidate = count_words(references, before), count_words(references, after)
    _ = count_characters(references, before).rate, count_characters(references, after).rate
    by_error_type(kinds, candidate, baseline)
    count_operations(references, after)
    paired_bootstrap(baseline, candidate, seed=0, resamples=RESAMPLES)


def run(options: Options) -> list[Entry]:
    """Measure on made-up texts."""
    references, before, after = texts(UTTERANCES // 100 if options.quick else UTTERANCES)
    assert count_words(references, after).rate == jiwer.wer(references, after)
    alone = alternate(
        lambda: seconds(lambda: jiwer.wer(references, after)),
        lambda: seconds(lambda: count_words(references, after).rate),
        pairs=3,
    )
    whole = [seconds(lambda: judge(references, before, after)) for _ in range(3)]
    return [measured("wer_100k_seconds", "s", whole), alone.entry("wer_100k_wer_alone", "s")]
