from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import pytest
import soundfile
import torch
from finetune_demo.corpus import draw
from finetune_demo.listening import transcribe
from finetune_demo.speech import VOICE_A
from finetune_demo.task import Sizes, make_task
from finetune_trainer.manifest import read_manifest
from transformers import AutoConfig, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor

SIZES = Sizes(errors=6, replay=4, validation=5, test=7, regression=3)


@pytest.fixture(scope="session")
def task(untaught_base, tmp_path_factory):
    return make_task(untaught_base, 3, tmp_path_factory.mktemp("cache"), SIZES)


def rows(task, name):
    return [json.loads(line) for line in (task / name / "manifest.jsonl").read_text().splitlines()]


def test_sets_have_their_sizes_and_share_no_speaker(task):
    errors, regression = rows(task, "errors"), rows(task, "regression")
    assert Counter(row["split"] for row in errors) == {"train": 10, "validation": 5, "test": 7}
    assert len(regression) == 3
    speakers = [
        {row["speaker"] for row in errors if row["split"] == split} for split in ("train", "validation", "test")
    ]
    speakers.append({row["speaker"] for row in regression})
    assert sum(map(len, speakers)) == len(set.union(*speakers))


def test_train_holds_errors_with_their_type_and_replay_without(task):
    train = [row for row in rows(task, "errors") if row["split"] == "train"]
    errors = [row for row in train if "error_type" in row]
    assert len(errors) == 6
    assert all(row["hypothesis"] != row["text"] and row["speaker"].startswith("b") for row in errors)
    assert all(row["speaker"].startswith("a") for row in train if row not in errors)
    assert {row["error_type"] for row in errors} <= {"accent", "noise", "fast", "clean"}


def test_the_trainer_reads_the_manifests_and_every_file_is_16_khz_mono(task):
    for name, count in (("errors", 22), ("regression", 3)):
        manifest = read_manifest(str(task / name / "manifest.jsonl"))
        assert len(manifest.utterances) == count
        for row in rows(task, name):
            info = soundfile.info(task / name / row["audio"])
            assert (info.samplerate, info.channels) == (16000, 1)
            assert 0.2 < info.duration < 2.0


def test_a_task_is_made_once_and_readable_by_everyone(task, untaught_base):
    card = task / "task.json"
    made = card.stat().st_mtime_ns
    assert make_task(untaught_base, 3, task.parent, SIZES) == task
    assert card.stat().st_mtime_ns == made
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in task.rglob("*"))
    assert [path for path in task.parent.iterdir() if path.is_dir()] == [task]


def test_the_bases_load_and_run_like_checkpoints_from_the_hub(untaught_base, task):
    processor = AutoProcessor.from_pretrained(untaught_base)
    audio, rate = soundfile.read(task / "errors" / rows(task, "errors")[0]["audio"], dtype="float32")
    assert processor.feature_extractor.sampling_rate == rate
    labels = processor.tokenizer("seven left").input_ids
    assert processor.tokenizer.decode(labels, skip_special_tokens=True).strip() == "seven left"
    if AutoConfig.from_pretrained(untaught_base).is_encoder_decoder:
        model = AutoModelForSpeechSeq2Seq.from_pretrained(untaught_base)
        inputs = processor([audio, audio], sampling_rate=rate, return_tensors="pt")
        tokens = model.generate(inputs.input_features, max_new_tokens=8, num_beams=2, do_sample=False)
        assert tokens.shape[0] == 2
        assert labels[:2] == [model.config.decoder_start_token_id, model.generation_config.no_timestamps_token_id]
        assert labels[-1] == model.config.eos_token_id
    else:
        model = AutoModelForCTC.from_pretrained(untaught_base)
        inputs = processor([audio, audio[:8000]], sampling_rate=rate, padding=True, return_tensors="pt")
        frames = model(**inputs).logits.shape[1]
        assert abs(frames - len(audio) / 320) < 2


class Talkative:
    """A CTC model that hears another letter in every frame, also in those that are padding."""

    def eval(self):
        return self

    def __call__(self, input_values, attention_mask):
        frames = torch.arange(input_values.shape[1] // 320) % 2 + 3
        logits = torch.nn.functional.one_hot(frames, 8).float().expand(len(input_values), -1, -1)
        return SimpleNamespace(logits=logits)

    def _get_feat_extract_output_lengths(self, samples):
        return samples // 320


def test_nothing_is_heard_in_padding(untaught_base, monkeypatch):
    if AutoConfig.from_pretrained(untaught_base).is_encoder_decoder:
        return  # every clip of a Whisper is padded to the same length
    monkeypatch.setattr(AutoModelForCTC, "from_pretrained", lambda folder: Talkative())
    clips = draw(VOICE_A, 6, 5, range(3))
    assert [len(text) for text in transcribe(untaught_base, clips)] == [len(clip.samples) // 320 for clip in clips]
