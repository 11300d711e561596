"""What the synthetic speakers can say: phonemes as acoustic targets, and words as phonemes.

Vowel formants follow Peterson and Barney (1952, men), glides, liquids and nasals Klatt (1980); noise bands of
fricatives and bursts are rounded textbook values. Frequencies are in Hz, durations in seconds, levels are linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Formants = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Phoneme:
    """Acoustic targets of one speech sound.

    Attributes:
        seconds: Duration at speaking rate 1.
        formants: First three formants at the start of the sound.
        glide: Formants at its end, for diphthongs; None stays at `formants`.
        voicing: Level of the glottal source.
        noise: Level of the frication or burst noise.
        band: Centre and width of the noise.
        closure: Silence before the sound, for stops.
    """

    seconds: float
    formants: Formants = (500.0, 1500.0, 2500.0)
    glide: Formants | None = None
    voicing: float = 0.0
    noise: float = 0.0
    band: tuple[float, float] = (4000.0, 2000.0)
    closure: float = 0.0


_IY, _IH, _EH, _AE = (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410)
_AA, _AO, _AH, _UW = (730, 1090, 2440), (570, 840, 2410), (640, 1190, 2390), (300, 870, 2240)

PHONEMES: Final[dict[str, Phoneme]] = {
    "iy": Phoneme(0.13, _IY, voicing=1.0),
    "ih": Phoneme(0.09, _IH, voicing=1.0),
    "eh": Phoneme(0.11, _EH, voicing=1.0),
    "ae": Phoneme(0.13, _AE, voicing=1.0),
    "aa": Phoneme(0.13, _AA, voicing=1.0),
    "ao": Phoneme(0.13, _AO, voicing=1.0),
    "ah": Phoneme(0.09, _AH, voicing=1.0),
    "uw": Phoneme(0.13, _UW, voicing=1.0),
    "ay": Phoneme(0.17, _AA, _IH, voicing=1.0),
    "ey": Phoneme(0.15, _EH, _IY, voicing=1.0),
    "ow": Phoneme(0.16, _AO, _UW, voicing=1.0),
    "aw": Phoneme(0.17, _AA, _UW, voicing=1.0),
    "w": Phoneme(0.07, (290, 610, 2150), voicing=0.6),
    "y": Phoneme(0.06, (260, 2070, 3020), voicing=0.6),
    "r": Phoneme(0.07, (310, 1060, 1380), voicing=0.7),
    "l": Phoneme(0.07, (310, 1050, 2880), voicing=0.6),
    "n": Phoneme(0.08, (480, 1340, 2620), voicing=0.4),
    "f": Phoneme(0.09, noise=0.12, band=(5000.0, 3500.0)),
    "v": Phoneme(0.06, (300, 1100, 2300), voicing=0.4, noise=0.05, band=(5000.0, 3500.0)),
    "th": Phoneme(0.08, noise=0.08, band=(6500.0, 2500.0)),
    "s": Phoneme(0.10, noise=0.45, band=(5500.0, 1800.0)),
    "z": Phoneme(0.08, (300, 1400, 2500), voicing=0.35, noise=0.30, band=(5500.0, 1800.0)),
    "p": Phoneme(0.03, noise=0.30, band=(900.0, 700.0), closure=0.05),
    "t": Phoneme(0.03, noise=0.50, band=(4200.0, 1800.0), closure=0.04),
    "k": Phoneme(0.03, noise=0.50, band=(1900.0, 700.0), closure=0.04),
    "d": Phoneme(0.03, (250, 1700, 2600), voicing=0.3, noise=0.30, band=(3800.0, 1800.0), closure=0.03),
    "g": Phoneme(0.03, (250, 1500, 2200), voicing=0.3, noise=0.30, band=(1800.0, 700.0), closure=0.03),
}

LEXICON: Final[dict[str, tuple[str, ...]]] = {
    word: tuple(sounds.split())
    for word, sounds in {
        "zero": "z ih r ow",
        "one": "w ah n",
        "two": "t uw",
        "three": "th r iy",
        "four": "f ao r",
        "five": "f ay v",
        "six": "s ih k s",
        "seven": "s eh v ah n",
        "eight": "ey t",
        "nine": "n ay n",
        "go": "g ow",
        "stop": "s t aa p",
        "left": "l eh f t",
        "right": "r ay t",
        "up": "ah p",
        "down": "d aw n",
        "on": "aa n",
        "off": "ao f",
        "yes": "y eh s",
        "no": "n ow",
    }.items()
}

WORDS: Final[tuple[str, ...]] = tuple(LEXICON)
