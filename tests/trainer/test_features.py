"""Features and labels against transformers' own processing of one padded clip at a time."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_trainer.contract import ModelRef
from finetune_trainer.errors import BadConfigError
from finetune_trainer.features import collate, extract, prepare
from finetune_trainer.frontend import precompute
from finetune_trainer.manifest import Utterance, read_manifest
from finetune_trainer.models import load_base, merged
from finetune_trainer.objective import objective, shift_right
from finetune_trainer.quality import QualityReport
from transformers import AutoConfig, AutoModelForCTC

from .material import RATE, make_whisper, tone

CPU = torch.device("cpu")


def clips(lengths: list[float]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [tone("mid", generator, seconds) for seconds in lengths]


def examples_of(manifest: Path, base: object) -> list:  # type: ignore[type-arg]
    return prepare(read_manifest(str(manifest)).utterances[:12], base, QualityReport("m"), device=CPU, threads=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [[0.3], [0.1, 0.45, 0.9, 0.52], [0.25, 0.98]])
def test_unpadded_log_mels_padded_later_equal_the_extractors(bases: dict[str, Path], seconds: list[float]) -> None:
    base = load_base(ModelRef(name=str(bases["seq2seq"])))
    samples = clips(seconds)
    kept = extract(samples, base, CPU)
    expected = base.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
    assert expected.shape[-1] == base.input_frames
    for features, wanted, clip in zip(kept, expected, samples, strict=True):
        frames = min(features.shape[1], wanted.shape[1])
        padded = features[0, -1].expand_as(wanted).clone()
        padded[:, :frames] = features[:, :frames]
        inside = slice(0, len(clip) // 320)
        torch.testing.assert_close(padded[:, inside], wanted[:, inside], atol=1e-5, rtol=1e-5)
        # Only where a clip ends within half a window of the input's end does reflection there make a difference.
        assert (padded - wanted).abs().max() < (1e-5 if len(clip) < 0.95 * RATE else 0.5)


def test_a_batch_of_whisper_is_what_the_model_expects(bases: dict[str, Path], tones: Path) -> None:
    base = load_base(ModelRef(name=str(bases["seq2seq"])))
    examples = examples_of(tones, base)
    batch = collate(examples, [0, 3, 5], base, CPU)
    assert batch.inputs["input_features"].shape == (3, 20, 50)
    tokenizer = base.tokenizer
    expected = [tokenizer(examples[i].utterance.text).input_ids[1:] for i in (0, 3, 5)]
    assert [row[row >= 0].tolist() for row in batch.labels] == expected
    shifted = shift_right(batch.labels, base)
    assert (shifted[:, 0] == base.config.decoder_start_token_id).all()
    assert (shifted >= 0).all()


def test_a_batch_of_raw_audio_is_normalised_masked_and_padded(bases: dict[str, Path], tones: Path) -> None:
    base = load_base(ModelRef(name=str(bases["ctc"])))
    examples = examples_of(tones, base)
    batch = collate(examples, [1, 2], base, CPU)
    values, mask = batch.inputs["input_values"], batch.inputs["attention_mask"]
    assert values.shape == mask.shape
    assert mask.sum(dim=1).tolist() == batch.lengths.tolist()
    assert float(values[0][: batch.lengths[0]].mean()) == pytest.approx(0, abs=1e-4)
    assert float(values[0][: batch.lengths[0]].std()) == pytest.approx(1, abs=1e-2)
    assert (
        base.tokenizer.decode(batch.labels[0][batch.labels[0] >= 0], group_tokens=False) == examples[1].utterance.text
    )


def test_a_whisper_of_shorter_input(tmp_path: Path) -> None:
    base = load_base(ModelRef(name=str(make_whisper(tmp_path / "long", seconds=3))))
    short = base.shortened(1)
    assert (base.max_seconds, short.max_seconds) == (3.0, 1.0)
    model = short.build()
    assert model.get_encoder()(torch.zeros(1, 20, 50)).last_hidden_state.shape[1] == 25
    model.save_pretrained(tmp_path / "short")
    short.processor.save_pretrained(tmp_path / "short")
    again = load_base(ModelRef(name=str(tmp_path / "short")))
    assert again.max_seconds == 1.0
    made = again.feature_extractor(clips([0.4]), sampling_rate=RATE, return_tensors="pt")["input_features"]
    assert made.shape[-1] == 50
    with pytest.raises(BadConfigError, match=r"input_seconds 4 is more than the model's 3\.0"):
        base.shortened(4)


def test_texts_that_no_model_can_learn_are_reported(bases: dict[str, Path], tones: Path) -> None:
    base = load_base(ModelRef(name=str(bases["ctc"])))
    audio = read_manifest(str(tones)).utterances[0].audio
    rows = [
        Utterance(row=1, audio=audio, text="low " * 200),
        Utterance(row=2, audio=audio, text="привет"),
        Utterance(row=3, audio=audio, text="LOW"),
    ]
    report = QualityReport("m")
    kept = prepare(rows, base, report, device=CPU, threads=1)
    assert [example.utterance.row for example in kept] == [3]
    assert report.counts == {"text_longer_than_audio": 1, "unknown_characters": 1}
    assert base.tokenizer.unk_token_id not in kept[0].labels.tolist()


@pytest.mark.parametrize("name", ["/nonexistent/model", "gpt2-like"])
def test_a_checkpoint_that_is_none(tmp_path: Path, name: str) -> None:
    if name == "gpt2-like":
        (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
        name = str(tmp_path)
    with pytest.raises(BadConfigError, match=r"model\.name"):
        load_base(ModelRef(name=name))


@pytest.mark.filterwarnings("ignore:Support for mismatched")  # WavLM's own masks
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "group-norm"])
def test_precomputed_frames_change_nothing(bases: dict[str, Path], tones: Path, tmp_path: Path, kind: str) -> None:
    folder = bases["ctc"]
    if kind != "wav2vec2":
        folder = tmp_path / kind
        shutil.copytree(bases["ctc"], folder)
        config = json.loads((folder / "config.json").read_text())
        config |= (
            {"feat_extract_norm": "group"} if kind == "group-norm" else {"model_type": kind, "architectures": None}
        )
        made = AutoConfig.for_model(config.pop("model_type"), **config)
        torch.manual_seed(0)
        AutoModelForCTC.from_config(made).save_pretrained(folder)
    base = load_base(ModelRef(name=str(folder)))
    fast = dataclasses.replace(base, precomputed=True)
    examples = examples_of(tones, base)
    precompute(base, examples, CPU)
    whole, headless = base.build().eval(), fast.build().eval()
    batch = collate(examples, range(4), fast, CPU)
    with torch.inference_mode():
        alone = [whole(**collate(examples, [index], base, CPU).inputs).logits[0] for index in range(4)]
        together = headless(**batch.inputs).logits
    for index, expected in enumerate(alone):
        torch.testing.assert_close(together[index][: len(expected)], expected, atol=1e-4, rtol=1e-4)
    assert objective(headless, fast, batch).item() > 0
    names = {name for name, _ in merged(headless, fast).named_parameters()}
    assert names == {name for name, _ in whole.named_parameters()}
