"""A formant synthesiser: text to 16 kHz speech from numpy alone, the same samples for the same arguments.

Source and filter, frame by frame: a glottal pulse train and white noise are cut into overlapping frames, each frame's
spectrum is multiplied by the envelope of the sound that is being said (resonances for the voice, a band for the noise),
and the frames are added up again. Voices differ as speakers do (pitch, vocal tract length, pace), as recordings do
(noise, band limits) and as accents do (one phoneme said for another).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_demo.lexicon import LEXICON, PHONEMES, Phoneme

SAMPLE_RATE: Final = 16_000
FRAME: Final = 128
"""Samples between two frames of the envelope: 8 ms."""
_WINDOW: Final = 2 * FRAME
_FFT: Final = 512
_BANDWIDTHS: Final = (70.0, 110.0, 170.0)
_ROBERTS: Final = (0.7548776662466927, 0.5698402909980532)
"""Steps of the two-dimensional R2 sequence: powers of the inverse plastic number."""
_FREQUENCIES: Final = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)

Range = tuple[float, float]
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Voice:
    """A population of speakers and recordings; each range is uniform.

    Attributes:
        pitch: Fundamental frequency in Hz.
        tract: Factor on the formants; above 1 is a shorter vocal tract.
        rate: Factor on the speaking rate.
        snr: Signal-to-noise ratio in dB.
        band: Pass band of the recording in Hz.
        accent: Phoneme said for another.
        accent_share: Probability that a phoneme with an accented form takes it.
    """

    name: str
    pitch: Range
    tract: Range
    rate: Range
    snr: Range
    band: Range = (0.0, SAMPLE_RATE / 2)
    accent: dict[str, str] = field(default_factory=dict)
    accent_share: float = 0.0

    def speaker(self, number: int) -> Speaker:
        """Speaker `number` of this voice: always the same person.

        Speakers follow Roberts' low-discrepancy sequence through pitch and tract, so that any few dozen in a row
        cover both ranges evenly: a test set is no easier or harder than a training set by the luck of its speakers.
        """
        pitch, tract = ((0.5 + number * step) % 1.0 for step in _ROBERTS)
        return Speaker(f"{self.name}{number:03d}", self, _within(self.pitch, pitch), _within(self.tract, tract))


@dataclass(frozen=True)
class Speaker:
    """One person of a voice: pitch (Hz) and tract factor are theirs, pace and noise change with each utterance."""

    name: str
    voice: Voice
    pitch: float
    tract: float


@dataclass(frozen=True)
class Utterance:
    """What was recorded, and the conditions it was recorded in.

    Attributes:
        samples: Mono float32 in [-1, 1] at `SAMPLE_RATE`.
        accented: Number of phonemes that the accent replaced.
        snr: Signal-to-noise ratio in dB.
        rate: Speaking rate.
    """

    samples: Samples
    accented: int
    snr: float
    rate: float


VOICE_A: Final = Voice("a", pitch=(100, 140), tract=(0.95, 1.06), rate=(0.9, 1.12), snr=(18, 40))
"""What the base model has learnt."""

VOICE_B: Final = Voice(
    "b",
    pitch=(140, 180),
    tract=(1.02, 1.10),
    rate=(1.1, 1.3),
    snr=(14, 24),
    band=(120, 6500),
    accent={"ay": "ey", "ow": "ao", "eh": "ih", "ih": "iy", "th": "t", "v": "w", "r": "l", "z": "s"},
    accent_share=0.5,
)
"""The shifted domain, where the error cases come from."""


VOICE_C: Final = Voice("c", pitch=(120, 170), tract=(0.98, 1.09), rate=(1.0, 1.3), snr=(14, 30), band=(120, 6500))
"""Between the two: recorded as B is, without B's accent. A model that hears raw audio understands nothing of B before
it has learnt what B's recordings sound like."""


def synthesise(text: str, speaker: Speaker, seed: int) -> Utterance:
    """Say `text`.

    Args:
        text: Words of the lexicon, separated by spaces.
        speaker: Who says it.
        seed: Of pace, intonation, accent and noise.

    Raises:
        ValueError: A word is not in the lexicon.
    """
    unknown = sorted(set(text.split()) - LEXICON.keys())
    if unknown:
        raise ValueError(f"not in the lexicon: {', '.join(unknown)}; it has {', '.join(LEXICON)}")
    voice = speaker.voice
    rng = np.random.default_rng([*speaker.name.encode(), *text.encode(), seed])
    rate, snr = rng.uniform(*voice.rate), rng.uniform(*voice.snr)
    segments: list[tuple[Phoneme | None, float]] = [(None, rng.uniform(0.04, 0.1))]
    accented = 0
    for word in text.split():
        for sound in LEXICON[word]:
            said = voice.accent[sound] if sound in voice.accent and rng.random() < voice.accent_share else sound
            accented += said != sound
            phoneme = PHONEMES[said]
            if phoneme.closure:
                segments.append((None, phoneme.closure / rate))
            segments.append((phoneme, phoneme.seconds * rng.uniform(0.9, 1.1) / rate))
        segments.append((None, rng.uniform(0.03, 0.07) / rate))
    clean = _render(segments, speaker, rng)
    return Utterance(_record(clean, snr, voice.band, rng), accented, snr, rate)


def _within(bounds: Range, share: float) -> float:
    return bounds[0] + share * (bounds[1] - bounds[0])


def _render(
    segments: list[tuple[Phoneme | None, float]], speaker: Speaker, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Source-filter synthesis of the segments (None is silence); shape (samples,)."""
    tracks = np.concatenate([_targets(phoneme, max(1, round(s * SAMPLE_RATE / FRAME))) for phoneme, s in segments])
    smooth = np.array([0.25, 0.5, 0.25])  # articulators move, targets do not
    tracks = np.stack([np.convolve(np.pad(track, 1, mode="edge"), smooth, mode="valid") for track in tracks.T])
    formants, voicing, noise, centre, width = tracks[:3] * speaker.tract, tracks[3], tracks[4], tracks[5], tracks[6]
    frames = tracks.shape[1]
    count = (frames + 1) * FRAME
    contour = (
        speaker.pitch * np.linspace(1.06, 0.9, count) * (1 + 0.02 * np.sin(np.arange(count) * rng.uniform(3e-4, 6e-4)))
    )
    phase = np.cumsum(contour / SAMPLE_RATE) + rng.random()
    pulses = np.diff(np.floor(phase), prepend=np.floor(phase[0])) * np.sqrt(SAMPLE_RATE / contour)
    hiss = rng.standard_normal(count)
    f = _FREQUENCIES
    tilt = 1 / np.sqrt(1 + (f / 500.0) ** 2)  # glottal source: -6 dB per octave with radiation
    resonances = np.ones((frames, f.size))
    for formant, bandwidth in zip(formants, _BANDWIDTHS, strict=True):
        c = formant[:, None]
        resonances *= c**2 / np.sqrt((f**2 - c**2) ** 2 + (bandwidth * f) ** 2)
    voice_envelope = voicing[:, None] * tilt * resonances
    noise_envelope = noise[:, None] * np.exp(-0.5 * ((f - centre[:, None]) / (width[:, None] / 1.5)) ** 2)
    spectrum = _frames(pulses, frames) * voice_envelope + _frames(hiss, frames) * noise_envelope
    waves = np.fft.irfft(spectrum, _FFT)
    out = np.zeros((frames + _FFT // FRAME, FRAME))
    for part in range(_FFT // FRAME):  # overlap-add, one quarter of every frame at a time
        out[part : part + frames] += waves[:, part * FRAME : (part + 1) * FRAME]
    return out.reshape(-1)[:count]


def _targets(phoneme: Phoneme | None, frames: int) -> NDArray[np.float64]:
    """Control tracks of one segment, shape (frames, 7): three formants, voicing, noise, noise centre, noise width."""
    if phoneme is None:
        return np.tile([500.0, 1500.0, 2500.0, 0.0, 0.0, 4000.0, 2000.0], (frames, 1))
    start, end = np.array(phoneme.formants), np.array(phoneme.glide or phoneme.formants)
    path = start + np.linspace(0, 1, frames)[:, None] * (end - start)
    rest = np.tile([phoneme.voicing, phoneme.noise, *phoneme.band], (frames, 1))
    return np.hstack([path, rest])


def _frames(signal: NDArray[np.float64], frames: int) -> NDArray[np.complex128]:
    """Spectra of the Hann-windowed frames, shape (frames, bins)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    cut = np.lib.stride_tricks.sliding_window_view(signal, _WINDOW)[::FRAME][:frames]
    return np.fft.rfft(cut * window, _FFT)


def _record(clean: NDArray[np.float64], snr: float, band: Range, rng: np.random.Generator) -> Samples:
    """Add noise at `snr` dB, limit to `band`, and level to a peak of 0.5."""
    power = float(np.mean(clean**2))
    noisy = clean + rng.standard_normal(clean.size) * np.sqrt(power / 10 ** (snr / 10))
    spectrum = np.fft.rfft(noisy)
    f = np.fft.rfftfreq(noisy.size, 1 / SAMPLE_RATE)
    low, high = band
    spectrum *= 1 / np.sqrt(1 + (f / max(high, 1.0)) ** 16)
    if low:
        spectrum *= (f / low) ** 2 / np.sqrt(1 + (f / low) ** 4)
    limited = np.fft.irfft(spectrum, noisy.size)
    return np.asarray(0.5 * limited / np.max(np.abs(limited)), dtype=np.float32)
