"""A wav2vec 2.0 CTC model small enough for a CPU, saved as the hub saves one: raw audio in, letters out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from finetune_demo.corpus import Clip, draw
from finetune_demo.learning import Batch, Lesson, Progress, shuffled, teach
from finetune_demo.lexicon import WORDS
from finetune_demo.recipes import CTC as RECIPE
from finetune_demo.speech import SAMPLE_RATE, VOICE_A, VOICE_C


def build(seed: int, folder: Path, progress: Progress) -> None:
    """Teach a tiny wav2vec 2.0 the words of voices A and C and save model and processor into `folder`."""
    model, processor = untaught(seed)
    progress("synthesising what it learns from")
    speakers = range(RECIPE["speakers"])
    clips = [clip for voice in (VOICE_A, VOICE_C) for clip in draw(voice, RECIPE["clips"], seed, speakers)]
    batches = _batches(processor, clips, seed)
    lessons = [
        Lesson("utterances", batches, RECIPE["loss"], RECIPE["limit"]),
        Lesson("decay", batches, 0.0, RECIPE["decay"], decay=True),
    ]
    teach(model, lessons, RECIPE["learning_rate"], progress)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def untaught(seed: int) -> tuple[Wav2Vec2ForCTC, Wav2Vec2Processor]:
    """The model before its first lesson, and its processor."""
    torch.manual_seed(seed)
    processor = _processor()
    return _model(processor.tokenizer), processor


def _processor() -> Wav2Vec2Processor:
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "word_delimiter_token": "|"}
    letters = [*special.values(), *sorted(set("".join(WORDS)))]
    with TemporaryDirectory() as folder:  # the tokenizer takes its vocabulary from a file only
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
        tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), bos_token=None, eos_token=None, **special)
    features = Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=SAMPLE_RATE, padding_value=0.0, do_normalize=True, return_attention_mask=True
    )
    return Wav2Vec2Processor(feature_extractor=features, tokenizer=tokenizer)


def _model(tokenizer: Wav2Vec2CTCTokenizer) -> Wav2Vec2ForCTC:
    config = Wav2Vec2Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=384,
        conv_dim=(32, 32, 64, 96),
        conv_kernel=(20, 8, 4, 2),
        conv_stride=(10, 4, 4, 2),
        feat_extract_activation="relu",
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
        initializer_range=0.1,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
    )
    return Wav2Vec2ForCTC(config)


def _batches(processor: Wav2Vec2Processor, clips: list[Clip], seed: int) -> Iterator[Batch]:
    """Endless batches, padded to their longest clip."""
    ids = [processor.tokenizer(clip.text).input_ids for clip in clips]
    for index in shuffled(len(clips), RECIPE["batch"], seed):
        batch = processor.feature_extractor(
            [clips[i].samples for i in index], sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt"
        )
        labels = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(ids[i]) for i in index], batch_first=True, padding_value=-100
        )
        yield {"input_values": batch.input_values, "attention_mask": batch.attention_mask, "labels": labels}
