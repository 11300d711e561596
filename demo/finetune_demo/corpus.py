"""Utterances drawn from a voice: what is said, by whom, in which conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finetune_demo.lexicon import WORDS
from finetune_demo.speech import Samples, Voice, synthesise

MAX_WORDS = 3
"""Three words always fit the two seconds that the tiny Whisper hears."""


@dataclass(frozen=True)
class Clip:
    """One recorded utterance.

    Attributes:
        condition: What makes it hard: `accent`, `noise`, `fast`, or `clean`; the first that applies.
    """

    text: str
    speaker: str
    condition: str
    samples: Samples


def draw(voice: Voice, count: int, seed: int, speakers: range, words: int = MAX_WORDS) -> list[Clip]:
    """Draw `count` utterances of 1 to `words` words, spread over `speakers` of `voice`."""
    rng = np.random.default_rng([seed, *voice.name.encode(), speakers.start, words])
    clips = []
    for _ in range(count):
        text = " ".join(rng.choice(WORDS, rng.integers(1, words + 1)))
        speaker = voice.speaker(int(rng.integers(speakers.start, speakers.stop)))
        said = synthesise(text, speaker, int(rng.integers(2**31)))
        condition = "accent" if said.accented else "noise" if said.snr < 17 else "fast" if said.rate > 1.15 else "clean"
        clips.append(Clip(text, speaker.name, condition, said.samples))
    return clips
