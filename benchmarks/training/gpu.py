"""Training on one GPU against Hugging Face's Trainer at its best documented settings, with model FLOPs utilisation.

Shapes of Whisper-small and wav2vec2-base with random weights, bfloat16 on both sides, the same batches. The baseline
has bf16, the fused optimiser, SDPA attention, pinned memory and four dataloader workers, as transformers' guide to
training on one GPU advises.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from finetune_demo.bases import Family
from finetune_demo.cache import whole_folder

from benchmarks.harness import Comparison, Entry, Options, UnavailableError, measured
from benchmarks.training import material
from benchmarks.training.huggingface import Example, quiet
from benchmarks.training.ours import Trial
from benchmarks.training.outcome import Recipe

RECIPE = Recipe(batch_size=16, epochs=3, learning_rate=1e-5)
BEST = {"bf16": True, "tf32": True, "dataloader_num_workers": 4, "dataloader_persistent_workers": True}
PAIRS = 3
PEAK_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12}
"""Dense bfloat16 FLOP/s by a word of the device's name, from NVIDIA's data sheets."""
WHISPER_SMALL = {
    "d_model": 768, "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 12,
    "decoder_attention_heads": 12, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "num_mel_bins": 80,
    "max_source_positions": 1500, "max_target_positions": 448, "vocab_size": 51865,
    "init_std": 0.02,
}  # fmt: skip
WAV2VEC2_BASE = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "mask_time_prob": 0.0, "layerdrop": 0.0, "ctc_zero_infinity": True, "ctc_loss_reduction": "mean",
    "hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
}  # fmt: skip


def run(options: Options) -> list[Entry]:
    """Both shapes; miniature ones in miniature, on whatever there is.

    Raises:
        UnavailableError: There is no GPU.
    """
    if not torch.cuda.is_available() and not options.quick:
        raise UnavailableError("it takes a CUDA device")
    quiet()
    entries = []
    manifest = material.manifest(material.speech_for(options, material.LONG))
    for family, name in (("whisper", "train_gpu_whisper_small"), ("ctc", "train_gpu_wav2vec2_base")):
        base = material.base("ctc" if family == "ctc" else "whisper", options)
        if not options.quick:
            base = shaped("ctc" if family == "ctc" else "whisper", base)
        entries += compare(name, base, manifest, family == "ctc", options)
    return entries


def compare(name: str, base: Path, manifest: Path, ctc: bool, options: Options) -> list[Entry]:
    """Speed in alternation, and ours as a share of what the device could do."""
    speed = Comparison()
    shares: list[float] = []
    settings = BEST if torch.cuda.is_available() else {}
    for seed in range(1 if options.quick else PAIRS):
        recipe = replace(RECIPE, seed=seed, epochs=1 if options.quick else RECIPE.epochs)
        speed.baseline.append(Example(base, manifest, recipe, ctc).train(**settings).speed)
        outcome = Trial(base, manifest, recipe).train()
        speed.ours.append(outcome.speed)
        if torch.cuda.is_available() and (peak := peak_flops(torch.cuda.get_device_name())):
            shares.append(training_flops(outcome.model, outcome.audio_seconds) / outcome.seconds / peak)
    entries = [speed.entry(name, "audio s/s")]
    return entries + ([measured(f"{name}_mfu", "of peak", shares)] if shares else [])


def training_flops(model: Any, audio_seconds: float) -> float:
    """Floating-point operations of a training: two per weight and position forward, four backward (Kaplan et al. 2020).

    Attention's own products are left out, and so are padding and recomputation: MFU counts useful work only (Chowdhery
    et al. 2022, PaLM, appendix B). What is frozen is not counted.

    Args:
        model: As trained; Whisper counts its encoder only, which sees 50 positions a second, as wav2vec 2.0 does.
        audio_seconds: Heard over all epochs.
    """
    body = model.get_encoder() if model.config.model_type == "whisper" else model
    trained = sum(parameter.numel() for parameter in body.parameters() if parameter.requires_grad)
    return float(6 * trained * 50 * audio_seconds)


def peak_flops(device_name: str) -> float | None:
    """Dense bfloat16 FLOP/s of a GPU; None for one that is not in the table."""
    words = re.split(r"[ -]", device_name)
    return next((PEAK_BF16[word] for word in words if word in PEAK_BF16), None)


def shaped(family: Family, processor_of: Path) -> Path:
    """A model of full size with random weights and the processor of a small one; kept in the cache."""
    folder = material.CACHE / f"{family}-full-size"
    if folder.is_dir():
        return folder.resolve()
    from transformers import (
        AutoConfig,
        AutoProcessor,
        Wav2Vec2Config,
        Wav2Vec2ForCTC,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    torch.manual_seed(0)
    processor = AutoProcessor.from_pretrained(processor_of)
    config = AutoConfig.from_pretrained(processor_of)
    model: Any
    if family == "whisper":
        for key, value in WHISPER_SMALL.items():
            setattr(config, key, value)
        model = WhisperForConditionalGeneration(config)
        processor = WhisperProcessor(feature_extractor=WhisperFeatureExtractor(80), tokenizer=processor.tokenizer)
    else:
        shape = {**WAV2VEC2_BASE, "vocab_size": config.vocab_size, "pad_token_id": config.pad_token_id}
        model = Wav2Vec2ForCTC(Wav2Vec2Config(**shape))
    with whole_folder(folder) as scratch:
        model.save_pretrained(scratch)
        processor.save_pretrained(scratch)
    return folder.resolve()
