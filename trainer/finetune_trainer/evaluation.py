"""Transcribes sets of utterances and scores the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from .batching import CACHE_SECONDS, by_length, parts
from .contract import PAIRED_UTTERANCES, RegressionSuite, SuiteResult
from .control import Control
from .distributed import Topology
from .features import Batch, Example, collate
from .metrics import ErrorCounts, count_characters, count_words
from .models import Base, plain
from .normalizers import Normalizer
from .objective import objective, weight_of
from .training import Precision

Outcome = Literal["pass", "degraded", "fail"]


@dataclass(frozen=True, slots=True)
class Transcripts:
    """What a model said, in the order of the examples.

    Attributes:
        seconds: Wall time of features to text, without decoding of files.
        audio_seconds: Duration of what was heard.
        loss: Mean validation loss, when it was asked for.
    """

    texts: list[str]
    seconds: float
    audio_seconds: float
    loss: float | None = None

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing per second of audio."""
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """Transcripts against references, after normalisation.

    Attributes:
        references, hypotheses: Normalised texts.
    """

    references: list[str]
    hypotheses: list[str]
    words: ErrorCounts
    characters: ErrorCounts
    real_time_factor: float
    loss: float | None = None

    @property
    def wer(self) -> float:
        """Corpus-level word error rate."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Corpus-level character error rate."""
        return self.characters.rate


def transcribe(
    model: Any,
    base: Base,
    examples: Sequence[Example],
    *,
    topology: Topology,
    control: Control,
    batch_size: int = 32,
    with_loss: bool = False,
) -> Transcripts:
    """Transcribes a set greedily, in batches of similar length, shared out over the processes.

    Args:
        model: On the topology's device.
        base: The checkpoint that the model was made from.
        examples: What to transcribe.
        topology: This process among its peers.
        control: Where requests to end arrive.
        batch_size: Utterances per batch and process.
        with_loss: Also compute the mean loss (a second pass through the decoder for `seq2seq`).

    Raises:
        PreemptedError: SIGTERM came.
        StoppedError: The tracker stopped the run.
    """
    began = time.monotonic()
    model.eval()
    precision = Precision.of(topology.device)
    batches = by_length([example.length for example in examples], batch_size)
    if topology.device.type == "cpu" and not base.is_whisper:
        seconds = [example.seconds for example in examples]
        batches = [part for rows in batches for part in parts(rows, seconds, CACHE_SECONDS)]
    longest = max((len(example.labels) for example in examples), default=0)
    mine: dict[int, str] = {}
    loss = torch.zeros((), device=topology.device)
    rounds = -(-len(batches) // topology.size)
    own = topology.share(batches)
    with torch.inference_mode(), precision.autocast():
        for place in range(rounds):
            topology.check(control)
            if place >= len(own):
                continue
            batch = collate(examples, own[place], base, topology.device)
            if with_loss:
                loss += objective(model, base, batch)
            languages = [examples[index].language for index in own[place]]
            mine |= zip(batch.indices, _decode(model, base, batch, languages, longest), strict=True)
    texts: dict[int, str] = {}
    total = 0.0
    for part, part_loss in topology.gather((mine, float(loss))):
        texts |= part
        total += part_loss
    weight = sum(weight_of(example, base) for example in examples)
    return Transcripts(
        texts=[texts[index] for index in range(len(examples))],
        seconds=time.monotonic() - began,
        audio_seconds=sum(example.seconds for example in examples),
        loss=total / weight if with_loss and weight else None,
    )


def score(transcripts: Transcripts, examples: Sequence[Example], normalize: Normalizer) -> Score:
    """Scores transcripts against the corrections."""
    references = [normalize(example.utterance.text) for example in examples]
    hypotheses = [normalize(text) for text in transcripts.texts]
    return Score(
        references,
        hypotheses,
        count_words(references, hypotheses),
        count_characters(references, hypotheses),
        transcripts.real_time_factor,
        transcripts.loss,
    )


def judge_suite(suite: RegressionSuite, candidate: Score, baseline: Score) -> SuiteResult:
    """Holds a regression suite's WER to its bound."""
    return SuiteResult(
        name=suite.name,
        utterances=len(candidate.references),
        wer=candidate.wer,
        baseline_wer=baseline.wer,
        degraded=sum(outcome != "pass" for outcome in outcomes(candidate, baseline)),
        passed=candidate.wer - baseline.wer
        <= suite.max_degradation + 1e-9,  # the bound itself passes, despite rounding
    )


def outcomes(candidate: Score, baseline: Score) -> list[Outcome]:
    """Each utterance's fate.

    `pass` when the candidate makes no more errors than the baseline, `fail` when it makes more and gets at least half
    of the words wrong, `degraded` in between.
    """
    worse = candidate.words.errors > baseline.words.errors
    lost = 2 * candidate.words.errors >= candidate.words.units
    return ["pass" if not w else "fail" if f else "degraded" for w, f in zip(worse, lost, strict=True)]


def by_error_type(
    types: Sequence[str], candidate: ErrorCounts, baseline: ErrorCounts
) -> dict[str, tuple[float, float]]:
    """WER per error type: candidate's and baseline's."""
    kinds = np.asarray(types)
    return {
        str(kind): (candidate.subset(kinds == kind).rate, baseline.subset(kinds == kind).rate)
        for kind in sorted(set(types))
    }


def paired_counts(types: Sequence[str], counts: ErrorCounts, limit: int = PAIRED_UTTERANCES) -> dict[str, str]:
    """Errors and words of each utterance, as summary values per error type: numbers in the set's order.

    Two runs on the same set list the same utterances in the same places, which is what a paired test needs. Of larger
    sets each type gives its first utterances, in proportion.
    """
    kinds = np.asarray(types)
    share = min(1.0, limit / max(1, len(types)))
    values = {}
    for kind in sorted(set(types)):
        part = counts.subset(np.flatnonzero(kinds == kind)[: max(1, int(share * (kinds == kind).sum()))].tolist())
        values[f"test/utterance_errors/{kind}"] = " ".join(map(str, part.errors.tolist()))
        values[f"test/utterance_words/{kind}"] = " ".join(map(str, part.units.tolist()))
    return values


def _decode(model: Any, base: Base, batch: Batch, languages: Sequence[str | None], longest: int) -> list[str]:
    if base.family == "ctc":
        logits = model(**batch.inputs).logits
        frames = plain(model)._get_feat_extract_output_lengths(batch.lengths).to(logits.device)
        ids = logits.argmax(dim=-1)
        padding = torch.arange(ids.shape[1], device=ids.device)[None, :] >= frames[:, None]
        ids = ids.masked_fill(padding, base.tokenizer.pad_token_id)
        return [str(text) for text in base.tokenizer.batch_decode(ids)]
    options: dict[str, Any] = {}
    if base.is_whisper and base.generation is not None and getattr(base.generation, "is_multilingual", False):
        options["task"] = "transcribe"
        if all(language is not None for language in languages):
            options["language"] = list(languages)
    # Half as long again as the longest reference: a model that loops is wrong anyway, and need not loop to the end.
    budget = longest + longest // 2 + 8
    room = getattr(base.config, "max_target_positions", None)
    if room is not None:
        budget = min(budget, int(room) - 4)
    ids = model.generate(**batch.inputs, max_new_tokens=budget, do_sample=False, num_beams=1, **options)
    return [str(text) for text in base.tokenizer.batch_decode(ids, skip_special_tokens=True)]
