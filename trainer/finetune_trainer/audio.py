"""Decoding of recordings to the model's sampling rate, in threads, never more than a bounded number ahead."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .locations import filesystem_of
from .manifest import Utterance

Samples = npt.NDArray[np.float32]
CLIPPED_SHARE = 0.01
MIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Clip:
    """A decoded recording, or why there is none.

    Attributes:
        samples: Mono, float32 in [-1, 1], at the asked rate; empty when `problem` is set.
        seconds: Duration of the recording.
        clipped: More than a hundredth of the samples touch full scale.
        problem: Issue code and explanation when the recording cannot be used.
    """

    utterance: Utterance
    samples: Samples
    seconds: float
    clipped: bool = False
    problem: tuple[str, str] | None = None


def decode(utterance: Utterance, sampling_rate: int, max_seconds: float | None) -> Clip:
    """Reads one recording: any format of libsndfile (wav, flac, ogg, mp3), any rate, any number of channels.

    The header is read first, so that an hour-long file costs nothing when it is refused.

    Args:
        utterance: The row whose recording is read.
        sampling_rate: Wanted rate in Hz.
        max_seconds: Longer recordings are refused; None accepts all.
    """
    import soundfile

    def refused(code: str, why: str, seconds: float = 0.0) -> Clip:
        return Clip(utterance, np.zeros(0, np.float32), seconds, problem=(code, why))

    try:
        source = _open(utterance)
    except FileNotFoundError:
        return refused("missing_audio", "the file does not exist")
    except Exception as error:
        return refused("unreadable_audio", f"cannot be opened ({type(error).__name__})")
    try:
        with soundfile.SoundFile(source) as file:
            seconds = file.frames / file.samplerate
            if max_seconds is not None and seconds > max_seconds:
                return refused("too_long", f"{seconds:.1f} s is over the limit of {max_seconds:.1f} s", seconds)
            if seconds < MIN_SECONDS:
                return refused("too_short", f"{seconds:.3f} s of audio", seconds)
            raw, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        return refused("unreadable_audio", f"not a readable audio file ({str(error)[-80:]})")
    if not np.isfinite(raw).all():
        return refused("not_finite", "contains NaN or infinite samples", seconds)
    clipped = float(np.mean(np.abs(raw) >= 0.999)) > CLIPPED_SHARE
    samples = raw[:, 0] if raw.shape[1] == 1 else raw.mean(axis=1)
    if rate != sampling_rate:
        import soxr

        samples = soxr.resample(samples, rate, sampling_rate)
    return Clip(utterance, np.ascontiguousarray(samples, np.float32), seconds, clipped)


def decode_all(
    utterances: Sequence[Utterance], sampling_rate: int, max_seconds: float | None, threads: int
) -> Iterator[Clip]:
    """Decodes in order, at most a few clips per thread ahead of the consumer, so memory stays bounded."""
    ahead = 4 * threads
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode") as pool:
        waiting: list[Any] = []
        for utterance in utterances:
            waiting.append(pool.submit(decode, utterance, sampling_rate, max_seconds))
            if len(waiting) >= ahead:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _open(utterance: Utterance) -> Any:
    if utterance.data is not None:
        return io.BytesIO(utterance.data)
    if "://" not in utterance.audio:
        return open(utterance.audio, "rb")
    filesystem, path = filesystem_of(utterance.audio)
    return io.BytesIO(filesystem.cat_file(path))
