"""What a model hears: transcripts of clips, through the Auto classes alone, as for any checkpoint from the hub."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor

from finetune_demo.corpus import Clip
from finetune_demo.speech import SAMPLE_RATE

_BATCH = 64


@torch.inference_mode()
def transcribe(model_dir: Path, clips: list[Clip]) -> list[str]:
    """Greedy transcripts of `clips`, in their order."""
    processor = AutoProcessor.from_pretrained(model_dir)
    seq2seq = AutoConfig.from_pretrained(model_dir).is_encoder_decoder
    loader = AutoModelForSpeechSeq2Seq if seq2seq else AutoModelForCTC
    model = loader.from_pretrained(model_dir).eval()
    texts: list[str] = []
    for start in range(0, len(clips), _BATCH):
        audio = [clip.samples for clip in clips[start : start + _BATCH]]
        if seq2seq:
            inputs = processor(audio, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            tokens = model.generate(inputs.input_features)
        else:
            inputs = processor(audio, sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt")
            tokens = model(**inputs).logits.argmax(-1)
            # What a model makes of padding is no part of the clip.
            frames = model._get_feat_extract_output_lengths(inputs.attention_mask.sum(-1))
            beyond = torch.arange(tokens.shape[1]) >= frames[:, None]
            tokens = tokens.masked_fill(beyond, processor.tokenizer.pad_token_id)
        texts += [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
    return texts
