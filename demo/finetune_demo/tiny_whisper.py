"""A Whisper small enough for a CPU, saved as the hub saves one: 40 mel bands, two seconds of audio, English only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
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

from finetune_demo.corpus import Clip, draw
from finetune_demo.learning import Batch, Lesson, Progress, shuffled, teach
from finetune_demo.lexicon import WORDS
from finetune_demo.recipes import WHISPER as RECIPE
from finetune_demo.speech import SAMPLE_RATE, VOICE_A


def build(seed: int, folder: Path, progress: Progress) -> None:
    """Teach a tiny Whisper the words of voice A and save model, processor and generation config into `folder`."""
    model, processor = untaught(seed)
    progress("synthesising what it learns from")
    lessons = [
        Lesson(
            name,
            _batches(processor, draw(VOICE_A, part["clips"], seed, range(RECIPE["speakers"]), words), seed),
            part["loss"],
            part["limit"],
        )
        for name, part, words in (("words", RECIPE["words"], 1), ("utterances", RECIPE["utterances"], 3))
    ]
    lessons.append(Lesson("decay", lessons[-1].batches, 0.0, RECIPE["decay"], decay=True))
    teach(model, lessons, RECIPE["learning_rate"], progress)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def untaught(seed: int) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """The model before its first lesson, and its processor."""
    torch.manual_seed(seed)
    processor = _processor()
    return _model(processor.tokenizer), processor


def _processor() -> WhisperProcessor:
    """Feature extractor and a byte-level BPE tokenizer in which a word of the lexicon, with its space, is one token."""
    symbols = sorted(ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    known = set(symbols)
    for word in WORDS:
        merged = "\u0120"  # byte-level BPE writes a space so
        for letter in word:
            if merged + letter not in known:
                known.add(merged + letter)
                merges.append((merged, letter))
                symbols.append(merged + letter)
            merged += letter
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(
        vocab={symbol: i for i, symbol in enumerate(symbols)},
        merges=merges,
        add_prefix_space=True,
        additional_special_tokens=special[1:],
        model_max_length=448,
    )
    stamps = [f"<|{i * 0.02:.2f}|>" for i in range(RECIPE["seconds"] * 50 + 1)]
    tokenizer.add_tokens(stamps)
    features = WhisperFeatureExtractor(
        feature_size=RECIPE["mels"],
        sampling_rate=SAMPLE_RATE,
        hop_length=RECIPE["hop"],
        chunk_length=RECIPE["seconds"],
    )
    return WhisperProcessor(feature_extractor=features, tokenizer=tokenizer)


def _model(tokenizer: WhisperTokenizer) -> WhisperForConditionalGeneration:
    """An untaught model, its config and generation config pointing at the tokenizer's special tokens."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    plain = tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    tokens = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=RECIPE["mels"],
        max_source_positions=RECIPE["seconds"] * SAMPLE_RATE // RECIPE["hop"] // 2,
        max_target_positions=32,
        d_model=96,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=384,
        decoder_ffn_dim=384,
        init_std=0.1,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        **tokens,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        is_multilingual=False,
        no_timestamps_token_id=plain,
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        return_timestamps=False,
        max_length=16,
        max_initial_timestamp_index=50,
        suppress_tokens=[],
        begin_suppress_tokens=[end],
        **tokens,
    )
    return model


def _batches(processor: WhisperProcessor, clips: list[Clip], seed: int) -> Iterator[Batch]:
    """Endless batches; features once for all clips, the leading start token cut as in transformers' own example."""
    features = processor.feature_extractor(
        [clip.samples for clip in clips], sampling_rate=SAMPLE_RATE, return_tensors="pt"
    ).input_features
    ids = [processor.tokenizer(clip.text).input_ids[1:] for clip in clips]
    labels = np.full((len(ids), max(map(len, ids))), -100)
    for row, tokens in zip(labels, ids, strict=True):
        row[: len(tokens)] = tokens
    targets = torch.from_numpy(labels)
    for index in shuffled(len(clips), RECIPE["batch"], seed):
        yield {"input_features": features[index], "labels": targets[index]}
