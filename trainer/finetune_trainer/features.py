"""Features and labels, computed once per dataset and kept for every trial of the process.

Whisper's encoder wants frames of one fixed number, but what lies behind the end of a clip is one constant value: the
floor of the log-mel scale after clamping. So a clip is stored with its own frames only, and padded when a batch is put
together: a 3 s clip costs a tenth of the memory and of the transfer of the 30 s that the extractor would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .audio import Clip, decode_all
from .manifest import Utterance
from .models import Base
from .quality import QualityReport, is_right_already

_EXTRACT_TOGETHER = 64


@dataclass(slots=True)
class Example:
    """One utterance, ready for the model.

    Attributes:
        features: `(mels, frames)` for log-mel encoders, `(samples,)` for raw audio, `(frames, bands)` for filter banks.
        labels: Token ids.
        length: Extent of the features along time: frames or samples.
        seconds: Duration of the recording.
        language: Whisper's language code, for multilingual checkpoints.
        frames: Output of a CTC model's frozen convolutions, `(channels, frames)`, once it is known.
    """

    utterance: Utterance
    features: torch.Tensor
    labels: torch.Tensor
    length: int
    seconds: float
    language: str | None = None
    frames: torch.Tensor | None = None


def prepare(
    utterances: Sequence[Utterance], base: Base, report: QualityReport, *, device: torch.device, threads: int
) -> list[Example]:
    """Decodes, extracts features and tokenises.

    Args:
        utterances: Rows of a manifest.
        base: The checkpoint that they are for.
        report: Takes the rows that cannot be used, and the totals.
        device: Where the STFT runs.
        threads: Decoding threads.
    """
    examples: list[Example] = []
    waiting: list[Clip] = []

    def flush() -> None:
        labelled = [(clip, _usable_labels(clip, base, report)) for clip in waiting]
        waiting.clear()
        usable = [(clip, labels) for clip, labels in labelled if labels is not None]
        extracted = extract([clip.samples for clip, _ in usable], base, device)
        for (clip, labels), features in zip(usable, extracted, strict=True):
            length = int(features.shape[-1] if base.is_whisper else features.shape[0])
            language = language_of(clip.utterance, base)
            examples.append(Example(clip.utterance, features, labels, length, clip.seconds, language))
            report.used += 1
            report.seconds += clip.seconds
            report.error_cases += not is_right_already(clip.utterance)

    for clip in decode_all(utterances, base.sampling_rate, base.max_seconds, threads):
        waiting.append(clip)
        if len(waiting) == _EXTRACT_TOGETHER:
            flush()
    flush()
    return examples


def extract(clips: Sequence[np.ndarray[Any, Any]], base: Base, device: torch.device) -> list[torch.Tensor]:
    """Features of each clip without padding, by the checkpoint's own extractor.

    Args:
        clips: Mono samples at the base's rate.
        base: The checkpoint that they are for.
        device: Where Whisper's STFT runs; the result is on the CPU.
    """
    if not clips:
        return []
    extractor = base.feature_extractor
    if base.is_whisper:
        hop = int(extractor.hop_length)
        # One window and one hop beyond the clip: the last frame that is kept then holds nothing but the floor value.
        beyond = int(extractor.n_fft) + hop
        longest = max(len(clip) for clip in clips) + beyond
        batch = extractor(
            list(clips),
            sampling_rate=base.sampling_rate,
            padding="max_length",
            max_length=-(-longest // hop) * hop,
            truncation=False,
            return_tensors="pt",
            device=str(device),
        )["input_features"]
        return [
            features[:, : -(-(len(clip) + beyond) // hop)].clone() for features, clip in zip(batch, clips, strict=True)
        ]
    name = extractor.model_input_names[0]
    return [
        extractor(clip, sampling_rate=base.sampling_rate, return_tensors="pt")[name][0].contiguous() for clip in clips
    ]


@dataclass(slots=True)
class Batch:
    """Inputs of one forward pass.

    Attributes:
        inputs: Keyword arguments of the model, without labels.
        labels: `(batch, tokens)`, padded with -100.
        lengths: `(batch,)` on the CPU, extent of each row's features.
        label_lengths: `(batch,)` on the CPU, tokens of each row.
        indices: Places of the rows in the corpus.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    lengths: torch.Tensor
    label_lengths: torch.Tensor
    indices: list[int]


def collate(examples: Sequence[Example], indices: Sequence[int], base: Base, device: torch.device) -> Batch:
    """Pads a batch and moves it to the device."""
    rows = [examples[index] for index in indices]
    lengths = torch.tensor([row.length for row in rows])
    label_lengths = torch.tensor([len(row.labels) for row in rows])
    labels = torch.nn.utils.rnn.pad_sequence([row.labels for row in rows], batch_first=True, padding_value=-100)
    if base.is_whisper:
        inputs = {"input_features": _pad_frames([row.features for row in rows], base.input_frames or 0, device)}
    elif base.precomputed:
        inputs = _pad_precomputed(rows, lengths, device)
    else:
        inputs = _pad_any(rows, base, device)
    return Batch(inputs, _moved(labels, device), lengths, label_lengths, list(indices))


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on the device; pinned memory lets the copy run beside the computing of the batch before."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _pad_frames(rows: Sequence[torch.Tensor], frames: int, device: torch.device) -> torch.Tensor:
    mels = rows[0].shape[0]
    floors = torch.stack([row[0, -1] for row in rows])
    padded = floors[:, None, None].expand(len(rows), mels, frames).clone()
    for target, row in zip(padded, rows, strict=True):
        used = min(frames, row.shape[1])
        target[:, :used] = row[:, :used]
    return _moved(padded, device)


def _pad_precomputed(rows: Sequence[Example], lengths: torch.Tensor, device: torch.device) -> dict[str, torch.Tensor]:
    frames = [row.frames.T for row in rows if row.frames is not None]
    padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True).transpose(1, 2)
    # The model sums its mask over the samples and asks its configuration how many frames they make, so that a mask of
    # one column with the number of samples says the same as one of that many columns.
    inputs = {"input_values": _moved(padded, device)}
    if _padded(lengths):
        inputs["attention_mask"] = _moved(lengths[:, None], device)
    return inputs


def _pad_any(rows: Sequence[Example], base: Base, device: torch.device) -> dict[str, torch.Tensor]:
    extractor = base.feature_extractor
    name = extractor.model_input_names[0]
    value = float(getattr(extractor, "padding_value", 0.0))
    padded = torch.nn.utils.rnn.pad_sequence([row.features for row in rows], batch_first=True, padding_value=value)
    inputs = {name: _moved(padded, device)}
    lengths = torch.tensor([row.features.shape[0] for row in rows])
    # Checkpoints normalised per group (wav2vec2-base) were trained without a mask on zero-padded audio.
    if getattr(extractor, "return_attention_mask", True) and _padded(lengths):
        steps = torch.arange(padded.shape[1])
        inputs["attention_mask"] = _moved((steps[None, :] < lengths[:, None]).long(), device)
    return inputs


def _padded(lengths: torch.Tensor) -> bool:
    """Whether a batch needs a mask at all; attention without one is a fifth faster."""
    return bool((lengths != lengths[0]).any())


def language_of(utterance: Utterance, base: Base) -> str | None:
    """Whisper's language code of a row, for multilingual checkpoints."""
    if not utterance.locale or base.generation is None or not getattr(base.generation, "is_multilingual", False):
        return None
    return utterance.locale.replace("_", "-").split("-")[0].lower()


def text_for(text: str, base: Base) -> str:
    """The text in the letters that the vocabulary has: CTC vocabularies are often of one case only."""
    if base.family != "ctc":
        return text
    vocabulary = "".join(token for token in base.tokenizer.get_vocab() if len(token) == 1)
    if vocabulary.upper() == vocabulary:
        return text.upper()
    return text.lower() if vocabulary.lower() == vocabulary else text


def _labels(utterance: Utterance, base: Base) -> torch.Tensor:
    tokenizer = base.tokenizer
    language = language_of(utterance, base)
    if language is not None and hasattr(tokenizer, "set_prefix_tokens"):
        tokenizer.set_prefix_tokens(language=language, task="transcribe")
    ids = list(tokenizer(text_for(utterance.text, base)).input_ids)
    if base.family == "seq2seq":
        start, end = base.config.decoder_start_token_id, tokenizer.eos_token_id
        if ids and ids[0] == start:
            ids = ids[1:]  # the decoder's input is shifted right, which puts the start token there
        if end is not None and (not ids or ids[-1] != end):
            ids.append(end)
    return torch.tensor(ids, dtype=torch.long)


def _usable_labels(clip: Clip, base: Base, report: QualityReport) -> torch.Tensor | None:
    """The labels of a clip; None, and an issue in the report, where the clip cannot be used."""
    if clip.problem is not None:
        report.add(clip.utterance, *clip.problem)
        return None
    if clip.clipped:
        report.add(clip.utterance, "clipped", "more than 1 % of the samples are at full scale")
    labels = _labels(clip.utterance, base)
    if base.family == "ctc":
        unknown = base.tokenizer.unk_token_id
        if unknown is not None and len(labels) and bool((labels == unknown).all()):
            report.add(clip.utterance, "unknown_characters", "none of the text's characters is in the vocabulary")
            return None
        if len(labels) > _frames(len(clip.samples), base):
            report.add(clip.utterance, "text_longer_than_audio", f"{len(labels)} characters in {clip.seconds:.2f} s")
            return None
    elif len(labels) > int(getattr(base.config, "max_target_positions", None) or 1 << 30):
        report.add(clip.utterance, "text_longer_than_audio", f"{len(labels)} tokens are more than the decoder holds")
        return None
    return labels


def _frames(samples: int, base: Base) -> int:
    """Frames that a CTC model of the wav2vec2 family makes of a clip."""
    for kernel, stride in zip(
        getattr(base.config, "conv_kernel", ()), getattr(base.config, "conv_stride", ()), strict=True
    ):
        samples = (samples - kernel) // stride + 1
    return samples
