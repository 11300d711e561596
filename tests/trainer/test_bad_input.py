"""Wrong input of every kind: exit 2 with one sentence that names file and row, or a count in the quality report."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from finetune_trainer.__main__ import main
from finetune_trainer.audio import decode
from finetune_trainer.manifest import Utterance, read_manifest
from finetune_trainer.quality import QualityReport, check_rows

from .material import RATE, tone, write_manifest


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture
def outcome(
    tmp_path: Path, bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs `train` in this process; returns exit code and message, and checks that there is no traceback."""

    def run(document: Any = None, **fields: Any) -> tuple[int, str]:
        termination = tmp_path / "termination"
        monkeypatch.setenv("FINETUNE_TERMINATION_LOG", str(termination))
        base = {
            "mode": "train",
            "tracking": {"enabled": False},
            "model": {"name": str(bases["ctc"])},
            "dataset": {"uri": str(tmp_path / "data")},
            "hyperparameters": {"max_steps": 1},
        }
        path = tmp_path / "trial.json"
        path.write_text(document if isinstance(document, str) else json.dumps(base | fields))
        code = main(["train", "--config", str(path)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        result = json.loads(termination.read_text())
        if code:
            assert result["state"] == "failed"
            assert result["message"].count("\n") == 0
        return code, result.get("message", "")

    return run


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"hyperparameters": {"learning_rat": 1}},
            "hyperparameters.learning_rat is not a known field; known names are",
        ),
        ({"hyperparameters": {"batch_size": 0}}, "hyperparameters.batch_size: should be greater than or equal to 1"),
        ({"hyperparameters": {"learning_rate": float("nan")}}, "hyperparameters.learning_rate"),
        ({"dataset": {"uri": "x", "normalizer": "mine"}}, "dataset.normalizer 'mine' is unknown; choose one of"),
        ({"dataset": {"uri": "/nonexistent.jsonl"}}, "The manifest /nonexistent.jsonl does not exist"),
        ({"dataset": {"uri": "x", "split": {"train": 0.9}}}, "must sum to 1"),
        ({"model": {"name": "/nonexistent"}}, "model.name '/nonexistent' does not exist"),
        ({"model": {}}, "config.model.name is required"),
        ({"mode": "agent"}, "config.mode is 'agent', but the command is 'train'"),
        ({"sed": 1}, "config.sed is not a known field"),
    ],
)
def test_a_wrong_configuration(outcome: Callable[..., tuple[int, str]], fields: dict[str, Any], sentence: str) -> None:
    code, message = outcome(**fields)
    assert code == 2
    assert sentence in message


def test_a_configuration_that_is_no_json(outcome: Callable[..., tuple[int, str]]) -> None:
    code, message = outcome("{'mode': 1}")
    assert code == 2
    assert "is not JSON: Expecting property name" in message
    assert "line 1" in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no rows"),
        (b'{"audio": "a.wav", "text": "go"}\n{"audio": ', "line 2: not JSON"),
        (b'{"audio": "a.wav", "text": "go"}\n\xff\xfe\n', "line 2: byte 1 is not UTF-8; save the manifest as UTF-8"),
        (b"[1, 2]\n", "line 1: an object was expected, not list"),
        (b'{"audio": "a.wav", "transcript": "go"}\n', "has no column 'text'; it has: audio, transcript (row 1)"),
        (b'{"audio": "a.wav", "text": 7}\n', "row 1: text must be text, not int"),
        (b'{"audio": "a.wav", "text": "go", "split": "holdout"}\n', "row 1: split 'holdout' is not one of"),
        (b'{"audio": "a.wav", "text": "go"}\n', "0 usable error cases, 1 are required; 0 of 1 rows"),
    ],
)
def test_a_wrong_manifest(
    outcome: Callable[..., tuple[int, str]], tmp_path: Path, content: bytes, sentence: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "manifest.jsonl").write_bytes(content)
    code, message = outcome()
    assert code == 2, message
    assert sentence in message
    assert str(folder) in message


def test_too_few_rows(outcome: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    write_manifest(tmp_path / "data", 10)
    code, message = outcome(dataset={"uri": str(tmp_path / "data"), "minErrorCases": 100})
    assert code == 2
    assert "10 usable error cases, 100 are required" in message


def test_odd_recordings_are_counted_and_named(
    bases: dict[str, Path], tmp_path: Path, outcome: Callable[..., tuple[int, str]], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    path = write_manifest(folder, 24)
    audio = folder / "audio"
    (audio / "1.wav").unlink()
    (audio / "2.wav").write_bytes(b"")
    (audio / "3.wav").write_text("no audio at all")
    nan = np.full(RATE, np.nan, np.float32)
    soundfile.write(audio / "5.wav", nan, RATE, subtype="FLOAT")
    soundfile.write(audio / "10.wav", np.zeros(10, np.float32), RATE)
    soundfile.write(audio / "11.wav", np.zeros(600 * RATE, np.float32), RATE)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[6]["text"] = "  "
    lines[8] = lines[7]
    lines[9]["hypothesis"] = lines[9]["text"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with caplog.at_level(logging.INFO):
        code, message = outcome(hyperparameters={"max_steps": 1, "batch_size": 8})
    assert code == 0, message
    assert "16 of 24 rows" in caplog.text
    counted = "1 duplicate, 1 empty_text, 1 missing_audio, 1 not_finite, 1 too_long, 1 too_short, 2 unreadable_audio"
    assert counted in caplog.text


def utterance(path: Path) -> Utterance:
    return Utterance(row=1, audio=str(path), text="low")


def test_any_rate_channels_and_format_are_heard(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    stereo = np.stack([tone("low", generator, 1.0)[::2]] * 2, axis=1)
    path = tmp_path / "clip.mp3"
    soundfile.write(path, stereo, RATE // 2, format="MP3")
    clip = decode(utterance(path), RATE, None)
    assert clip.problem is None
    assert clip.samples.dtype == np.float32
    assert len(clip.samples) == pytest.approx(RATE, rel=0.1)
    spectrum = np.abs(np.fft.rfft(clip.samples))
    pitch = np.argmax(spectrum) * RATE / len(clip.samples)
    assert pitch == pytest.approx(300, rel=0.1)


def test_a_ten_minute_clip_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(600 * RATE, np.float32), RATE)
    began = time.process_time()
    clip = decode(utterance(path), RATE, 30.0)
    assert clip.problem == ("too_long", "600.0 s is over the limit of 30.0 s")
    assert time.process_time() - began < 0.05


def test_a_clipped_recording_is_used_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.sign(np.sin(np.arange(RATE) / 10)).astype(np.float32), RATE)
    clip = decode(utterance(path), RATE, None)
    assert clip.clipped
    assert clip.problem is None


def test_parquet_with_embedded_audio(tmp_path: Path) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    soundfile.write(buffer, tone("mid", np.random.default_rng(0)), RATE, format="WAV")
    rows = [{"audio": {"bytes": buffer.getvalue(), "path": "a.wav"}, "text": "mid", "hypothesis": "low", "other": 1}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "cases.parquet")
    manifest = read_manifest(str(tmp_path))
    clip = decode(manifest.utterances[0], RATE, None)
    assert clip.problem is None
    assert clip.seconds == pytest.approx(0.4)
    pq.write_table(pa.table({"audio": ["a"], "transcript": ["b"]}), tmp_path / "cases.parquet")
    with pytest.raises(Exception, match="no column 'text'; it has: audio, transcript"):
        read_manifest(str(tmp_path))


def test_a_manifest_in_an_object_store() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/cases.jsonl", b'{"audio": "clips/a.wav", "text": "low"}\n')
    with memory.open("/bucket/clips/a.wav", "wb") as file:
        soundfile.write(file, tone("low", np.random.default_rng(0)), RATE, format="WAV")
    manifest = read_manifest("memory://bucket/cases.jsonl")
    assert manifest.path is None
    assert decode(manifest.utterances[0], RATE, None).problem is None


def test_identical_rows_are_told_by_row_number() -> None:
    report = QualityReport("m")
    row = {"audio": "a", "text": "t"}
    kept = check_rows([Utterance(row=1, **row), Utterance(row=2, **row)], report)
    assert [utterance.row for utterance in kept] == [1]
    assert report.issues[0].detail == "same audio and text as row 1"


def test_a_wrong_configuration_costs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "trial.json"
    path.write_text("{}")
    script = "import sys; from finetune_trainer.__main__ import main; code = main(['train', '--config', sys.argv[1]]); "
    script += "assert 'torch' not in sys.modules and 'wandb' not in sys.modules; sys.exit(code)"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("BadConfig: config.mode is required; config.model is required")
    assert time.monotonic() - began < 5
