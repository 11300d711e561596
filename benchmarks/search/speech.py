"""The speech that is searched on: a backlog from one voice, and what becomes of it when new error cases arrive.

`first` holds what the base model gets wrong of voice B. A later version of the dataset is a window over the backlog of
the same size: its newer half is new. In `steady` the new cases are of voice B again; in `shifted` of voice C, which
neither base model nor the model in service has heard. Validation and test sets are utterances as they come, right or
wrong, in the proportions of the training set's voices, and share no speaker with it nor with each other.
"""

import json
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Literal, get_args

from finetune_demo.bases import make_base
from finetune_demo.cache import fingerprint, made_once
from finetune_demo.corpus import Clip, draw
from finetune_demo.speech import VOICE_B, Voice
from finetune_demo.task import write_manifest

RECIPE_VERSION = 1
Version = Literal["first", "steady", "shifted"]

VOICE_C = Voice(
    "c",
    pitch=(80, 105),
    tract=(0.86, 0.94),
    rate=(0.85, 1.05),
    snr=(12, 20),
    band=(250, 3800),
    accent={"iy": "ey", "ah": "aa", "ao": "ow", "f": "th", "t": "d", "w": "v", "n": "l"},
    accent_share=0.5,
)
"""New callers: long vocal tracts, slow, over a narrow and noisy line, with an accent of their own."""

_TRAIN, _VALIDATION, _TEST = range(40), range(40, 56), range(56, 80)
"""Speakers of each set."""


@dataclass(frozen=True)
class Sizes:
    """Utterances per set.

    The validation set is the largest, since runs are chosen by it: with 120 utterances (some 460 words) a WER of 10 %
    has a standard error of more than a point, as much as good configurations differ by, and luck would choose.
    """

    train: int = 240
    validation: int = 360
    test: int = 240


@dataclass(frozen=True)
class Speech:
    """Where a seed's material is.

    Attributes:
        base: Folder of the base model.
        manifests: Of each version of the dataset.
    """

    base: Path
    manifests: dict[Version, Path]


def make_speech(seed: int, sizes: Sizes, cache: Path) -> Speech:
    """Make, or find, the datasets of a seed; the base model is the same for all, as what one fine-tunes is given."""
    base = make_base("whisper", 0, cache)
    folder = cache / f"search-{base.name}-{seed}-{fingerprint([RECIPE_VERSION, asdict(sizes)])}"

    def make(scratch: Path) -> None:
        for version, rows in _versions(base, seed, sizes).items():
            write_manifest(scratch / version, rows)
        (scratch / "search.json").write_text(json.dumps({"base": base.name, "seed": seed, "sizes": asdict(sizes)}))

    made_once(folder, make)
    return Speech(base, {version: folder / version / "manifest.jsonl" for version in get_args(Version)})


Row = tuple[str, Clip, str, bool]


def _versions(base: Path, seed: int, sizes: Sizes) -> dict[Version, list[Row]]:
    from finetune_demo.listening import transcribe

    half = sizes.train // 2
    old = _errors(base, VOICE_B, sizes.train, seed)
    fresh = {"steady": _errors(base, VOICE_B, half, seed + 500), "shifted": _errors(base, VOICE_C, half, seed)}
    train = {"first": old, **{version: old[half:] + rows for version, rows in fresh.items()}}
    voices = {"first": (VOICE_B, VOICE_B), "steady": (VOICE_B, VOICE_B), "shifted": (VOICE_B, VOICE_C)}
    made: dict[Version, list[Row]] = {}
    for number, version in enumerate(get_args(Version)):
        rows = list(train[version])
        for split, size, speakers in (("validation", sizes.validation, _VALIDATION), ("test", sizes.test, _TEST)):
            for half_number, voice in enumerate(voices[version]):
                part = draw(voice, size // 2, 1_000_000 + seed * 10 + number * 2 + half_number, speakers)
                rows += [(split, clip, said, True) for clip, said in zip(part, transcribe(base, part), strict=True)]
        made[version] = rows
    return made


def _errors(base: Path, voice: Voice, wanted: int, seed: int) -> list[Row]:
    """The first `wanted` utterances of the voice that the base gets wrong."""
    from finetune_demo.listening import transcribe

    found: list[Row] = []
    for part in count(1):
        clips = draw(voice, wanted, seed * 1000 + part, _TRAIN)
        found += [
            ("train", clip, said, True)
            for clip, said in zip(clips, transcribe(base, clips), strict=True)
            if clip.text != said
        ]
        if len(found) >= wanted:
            break
        if part == 20:
            raise RuntimeError(f"the base gets only {len(found)} of {part * wanted} utterances of {voice.name} wrong")
    return found[:wanted]
