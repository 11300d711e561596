"""What the training benchmarks train: synthesised speech in WAV files with its manifest, and small pretrained models.

Both are made once and kept in build/cache. The models are the demo's: of Whisper's and wav2vec 2.0's architecture with
its proportions (the convolutions of wav2vec 2.0 cost 0.6 of its transformer, as in wav2vec2-base), taught voice A; the
benchmarks fine-tune them to voice B, so that losses and word error rates mean something.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from finetune_demo.bases import Family, make_base
from finetune_demo.cache import fingerprint, made_once
from finetune_demo.lexicon import WORDS
from finetune_demo.speech import SAMPLE_RATE, VOICE_B, synthesise

from benchmarks.harness import Options

CACHE = Path("build/cache")
SPEAKERS = 40


@dataclass(frozen=True)
class Speech:
    """A set of utterances to be made.

    Attributes:
        clips: Number of training clips; validation and test have a quarter of it each.
        words: Least and most words of a clip.
        seconds: Shortest and longest clip; others are left out.
    """

    clips: int
    words: tuple[int, int]
    seconds: tuple[float, float]
    seed: int = 0

    def quick(self) -> Speech:
        """A few short clips."""
        return Speech(8, (1, 3), (0.3, 2.0), self.seed)


LONG = Speech(clips=96, words=(4, 70), seconds=(1.0, 20.0))
"""Lengths from 1 to 20 s, evenly spread; about as many as the least backlog that a resource accepts by default."""
SHORT = Speech(clips=384, words=(1, 3), seconds=(0.3, 2.0))
"""Commands and corrections: all fit two seconds."""
FEW = Speech(clips=96, words=(1, 3), seconds=(0.3, 2.0))
"""The same, where each costs 30 s, and for the trials of a sweep."""
WARM_UP = SHORT.quick()
"""What both sides go over before anything is measured: imports and first allocations are nobody's figure."""


def manifest(speech: Speech) -> Path:
    """The manifest of a set, `manifest.jsonl` beside its WAV files."""
    folder = CACHE / f"speech-{fingerprint(vars(speech))}"
    return (made_once(folder, lambda scratch: _make(speech, scratch)) / "manifest.jsonl").resolve()


def base(family: Family, options: Options) -> Path:
    """Folder of a pretrained model; of an untaught one in miniature."""
    if not options.quick:
        return make_base(family, 0, CACHE, lambda line: print(f"  {line}", flush=True)).resolve()

    def make(scratch: Path) -> None:
        from finetune_demo import tiny_ctc, tiny_whisper

        model, processor = (tiny_ctc if family == "ctc" else tiny_whisper).untaught(0)
        model.save_pretrained(scratch)
        processor.save_pretrained(scratch)

    return made_once(CACHE / f"{family}-untaught", make).resolve()


def whisper_of_30_seconds(options: Options) -> Path:
    """The same Whisper with an input of 30 s, as checkpoints on the hub have it.

    Its encoder's positions are sinusoids, so that those of the shorter input are the first of the longer one's.
    """
    source = base("whisper", options)

    def make(scratch: Path) -> None:
        from transformers import AutoConfig, WhisperForConditionalGeneration, WhisperProcessor

        processor = WhisperProcessor.from_pretrained(source)
        extractor = processor.feature_extractor
        config = AutoConfig.from_pretrained(source)
        config.max_source_positions = 30 * SAMPLE_RATE // (2 * extractor.hop_length)
        model = WhisperForConditionalGeneration(config)
        taught = WhisperForConditionalGeneration.from_pretrained(source)
        weights = taught.state_dict()
        del weights["model.encoder.embed_positions.weight"]
        model.load_state_dict(weights, strict=False)
        model.generation_config = taught.generation_config
        extractor = type(extractor)(**{**extractor.to_dict(), "chunk_length": 30})
        model.save_pretrained(scratch)
        WhisperProcessor(feature_extractor=extractor, tokenizer=processor.tokenizer).save_pretrained(scratch)

    return made_once(CACHE / f"{source.name}-30s", make).resolve()


def speech_for(options: Options, speech: Speech) -> Speech:
    """The set in the size that was asked for."""
    return speech.quick() if options.quick else speech


def _make(speech: Speech, folder: Path) -> None:
    rng = np.random.default_rng(speech.seed)
    rows: list[dict[str, str]] = []
    for split, count in (
        ("train", speech.clips),
        ("validation", max(4, speech.clips // 4)),
        ("test", max(4, speech.clips // 4)),
    ):
        for _ in range(count):
            text, samples = _clip(speech, rng)
            name = f"{len(rows)}.wav"
            soundfile.write(folder / name, samples, SAMPLE_RATE)
            rows.append({"audio": name, "text": text, "hypothesis": "wrong", "split": split})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _clip(speech: Speech, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    least, most = speech.words
    while True:
        text = " ".join(rng.choice(WORDS, rng.integers(least, most + 1)))
        samples = synthesise(text, VOICE_B.speaker(int(rng.integers(SPEAKERS))), int(rng.integers(2**31))).samples
        if speech.seconds[0] <= len(samples) / SAMPLE_RATE <= speech.seconds[1]:
            return text, samples
