"""Tiny speech: words that are tones, and untrained models small enough to learn them in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000
TONES = {"low": 300.0, "mid": 700.0, "high": 1500.0, "top": 3000.0}


def tone(word: str, generator: np.random.Generator, seconds: float = 0.4, shift: float = 1.0) -> np.ndarray:
    """One word: its tone, slightly detuned, in noise; `shift` moves it like another kind of voice."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = shift * TONES[word] * generator.uniform(0.95, 1.05)
    noise = 0.02 * generator.standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * pitch * time) + noise).astype(np.float32)


def write_manifest(folder: Path, rows: int, seed: int = 0, shift: float = 1.0, **extra: Any) -> Path:
    """A manifest of `rows` tones by 30 speakers; hypotheses are wrong throughout."""
    generator = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(rows):
        word = str(generator.choice(list(TONES)))
        samples = tone(word, generator, generator.uniform(0.25, 0.45), shift)
        soundfile.write(folder / "audio" / f"{number}.wav", samples, RATE)
        split = "train" if number % 4 else ("test" if number % 8 else "validation")
        lines.append(
            {
                "audio": f"audio/{number}.wav",
                "text": word,
                "hypothesis": "wrong",
                "speaker": f"s{number % 30}",
                "split": split,
                **extra,
            }
        )
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def make_whisper(folder: Path, seed: int = 0, seconds: int = 1) -> Path:
    """An untrained Whisper that hears one second."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    torch.manual_seed(seed)
    symbols = sorted(ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(
        vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[], additional_special_tokens=special[1:]
    )
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(51)])
    start, end = (tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("startoftranscript", "endoftext"))
    tokens = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=20, max_source_positions=25 * seconds, max_target_positions=40,
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, init_std=0.1, dropout=0.1, suppress_tokens=[],
        begin_suppress_tokens=[], **tokens,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        is_multilingual=False,
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        return_timestamps=False, max_length=24, suppress_tokens=[], begin_suppress_tokens=[end], **tokens,
    )  # fmt: skip
    features = WhisperFeatureExtractor(feature_size=20, sampling_rate=RATE, hop_length=320, chunk_length=seconds)
    model.save_pretrained(folder)
    WhisperProcessor(feature_extractor=features, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def make_ctc(folder: Path, seed: int = 0) -> Path:
    """An untrained wav2vec 2.0 with a CTC head over letters."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    letters = ["<pad>", "<unk>", "|", *sorted(set("".join(TONES)))]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(
        str(vocabulary), pad_token="<pad>", unk_token="<unk>", word_delimiter_token="|", bos_token=None, eos_token=None
    )
    config = Wav2Vec2Config(
        vocab_size=len(letters), pad_token_id=0, bos_token_id=None, eos_token_id=None, hidden_size=32,
        num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, conv_dim=(16, 16, 32), conv_kernel=(20, 8, 4),
        conv_stride=(10, 8, 4), feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, initializer_range=0.1, layerdrop=0.0, apply_spec_augment=False,
        ctc_zero_infinity=True, hidden_dropout=0.1, attention_dropout=0.0, activation_dropout=0.0,
        feat_proj_dropout=0.0, final_dropout=0.0,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    features = Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=RATE, padding_value=0.0, do_normalize=True, return_attention_mask=True
    )
    Wav2Vec2Processor(feature_extractor=features, tokenizer=tokenizer).save_pretrained(folder)
    return folder
