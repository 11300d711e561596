from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from finetune_demo.corpus import MAX_WORDS, draw
from finetune_demo.lexicon import LEXICON, PHONEMES, WORDS
from finetune_demo.speech import SAMPLE_RATE, VOICE_A, VOICE_B, synthesise
from hypothesis import given, settings
from hypothesis import strategies as st

VOICES = st.sampled_from([VOICE_A, VOICE_B])
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=MAX_WORDS).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, voice=VOICES, speaker=st.integers(0, 200), seed=st.integers(0, 2**31))
def test_speech_is_sound_that_the_tiny_whisper_can_hear(text, voice, speaker, seed):
    said = synthesise(text, voice.speaker(speaker), seed)
    assert said.samples.dtype == np.float32
    assert np.isfinite(said.samples).all()
    assert np.abs(said.samples).max() == pytest.approx(0.5)
    assert 0.2 * SAMPLE_RATE < said.samples.size < 2.0 * SAMPLE_RATE
    assert voice.snr[0] <= said.snr <= voice.snr[1]
    assert voice.rate[0] <= said.rate <= voice.rate[1]
    assert not (voice is VOICE_A and said.accented)


@settings(max_examples=20, deadline=None)
@given(text=TEXTS, voice=VOICES, seed=st.integers(0, 2**31))
def test_the_same_arguments_give_the_same_samples(text, voice, seed):
    speaker = voice.speaker(3)
    first, again = synthesise(text, speaker, seed), synthesise(text, voice.speaker(3), seed)
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples[:3000], synthesise(text, speaker, seed + 1).samples[:3000])


def test_another_process_gives_the_same_samples():
    code = (
        "import hashlib; from finetune_demo.speech import VOICE_B, synthesise;"
        "print(hashlib.sha256(synthesise('seven left', VOICE_B.speaker(5), 11).samples.tobytes()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout


def test_the_voices_differ_in_what_is_heard():
    """Voice B is band-limited: it has less above 7 kHz than voice A, for all its noise."""

    def share_above(voice, hertz):
        samples = np.concatenate([clip.samples for clip in draw(voice, 20, 0, range(10))])
        power = np.abs(np.fft.rfft(samples)) ** 2
        return power[np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE) > hertz].sum() / power.sum()

    assert share_above(VOICE_B, 7000) < 0.5 * share_above(VOICE_A, 7000)


def test_any_few_dozen_speakers_cover_the_voice_evenly():
    for start in (0, 40, 52, 1000):
        tracts = [VOICE_B.speaker(number).tract for number in range(start, start + 20)]
        assert np.mean(tracts) == pytest.approx(np.mean(VOICE_B.tract), abs=0.1 * np.ptp(VOICE_B.tract))


def test_an_unknown_word_is_refused_with_the_words_that_are_known():
    with pytest.raises(ValueError, match=r"not in the lexicon: maybe; it has zero, one"):
        synthesise("yes maybe", VOICE_A.speaker(0), 0)


def test_every_sound_of_lexicon_and_accent_is_a_phoneme():
    sounds = {sound for word in LEXICON.values() for sound in word} | set(VOICE_B.accent.values())
    assert sounds <= PHONEMES.keys()


def test_a_draw_is_a_function_of_its_arguments():
    first, again, other = (draw(VOICE_B, 12, seed, range(5)) for seed in (1, 1, 2))
    assert [clip.text for clip in first] == [clip.text for clip in again] != [clip.text for clip in other]
    assert {clip.speaker for clip in first} <= {f"b{number:03d}" for number in range(5)}
