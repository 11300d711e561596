"""Whole trials as processes: both families learn, adapters too, also on two processes; the candidate is judged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
import torch

from .material import write_manifest
from .processes import Trainer, Zygote, running

Start = Callable[..., AbstractContextManager[Trainer]]
LEARNT = {
    "seq2seq": {"learning_rate": 1e-2, "batch_size": 16, "epochs": 12},
    "ctc": {"learning_rate": 2e-2, "batch_size": 8, "epochs": 20, "freeze_feature_encoder": False},
}


def describe(model: Path, manifest: Path, family: str) -> dict[str, Any]:
    return {
        "mode": "train",
        "tracking": {"enabled": False},
        "model": {"name": str(model)},
        "dataset": {"uri": str(manifest)},
        "regressionSuites": [{"name": "same", "uri": str(manifest), "maxDegradation": 0.0}],
        "hyperparameters": LEARNT[family],
    }


@pytest.fixture(scope="module", params=["seq2seq", "ctc"])
def taught(
    request: pytest.FixtureRequest, zygote: Zygote, bases: dict[str, Path], tones: Path, tmp_path_factory: Any
) -> tuple[str, Path, dict[str, Any]]:
    """A model that has learnt the tones: its family, its folder, the result of its training."""
    family: str = request.param
    folder = tmp_path_factory.mktemp("taught")
    wanted = describe(bases[family], tones, family) | {"outputDir": str(folder / "out")}
    with running(zygote, "train", wanted, folder) as process:
        assert process.wait() == 0, process.log
    return family, folder / "out" / "model" / "model", process.result


def test_a_model_learns_and_can_be_used(
    trainer: Start, taught: tuple[str, Path, dict[str, Any]], tones: Path, tmp_path: Path
) -> None:
    family, model, result = taught
    assert result["metrics"]["wer"] < 0.35
    assert result["metrics"]["baselineWer"] > 0.9
    assert {gate["name"]: gate["passed"] for gate in result["gates"]} == {
        "minImprovement": True,
        "significance": True,
        "minRegressionPassRate": True,
    }
    assert result["suites"][0]["utterances"] == 96
    assert result["regression"] == {"passed": int(result["suites"][0]["passed"]), "total": 1}
    with trainer("evaluate", describe(model, tones, family), tmp_path) as process:
        assert process.wait() == 0, process.log
    assert process.result["metrics"]["wer"] == pytest.approx(result["metrics"]["wer"], abs=0.05)


def heard_by_transformers(family: str, folder: Path, clips: list[np.ndarray]) -> list[str]:
    """Transcripts by the library's own means, one clip at a time, with nothing of the trainer."""
    from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = (AutoModelForCTC if family == "ctc" else AutoModelForSpeechSeq2Seq).from_pretrained(folder).eval()
    texts = []
    for clip in clips:
        inputs = processor(clip, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            ids = model(**inputs).logits.argmax(-1) if family == "ctc" else model.generate(**inputs)
        texts += processor.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


def test_the_word_error_rate_is_that_of_an_independent_computation(
    taught: tuple[str, Path, dict[str, Any]], bases: dict[str, Path], tones: Path
) -> None:
    family, model, result = taught
    rows = [json.loads(line) for line in tones.read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "test"]
    clips = [soundfile.read(tones.parent / row["audio"], dtype="float32")[0] for row in rows]
    texts = [row["text"] for row in rows]
    heard = heard_by_transformers(family, model, clips)
    assert result["metrics"]["wer"] == pytest.approx(jiwer.wer(texts, heard))
    assert result["metrics"]["cer"] == pytest.approx(jiwer.cer(texts, heard))
    assert result["metrics"]["wer"] > 0 or heard == texts
    before = heard_by_transformers(family, bases[family], clips)
    plain = [" ".join(re.findall(r"[^\W_]+", text.lower())) for text in before]  # as the basic normaliser has it
    assert result["metrics"]["baselineWer"] == pytest.approx(jiwer.wer(texts, plain), abs=0.05)


def test_adapters_learn_another_voice(trainer: Start, taught: tuple[str, Path, dict[str, Any]], tmp_path: Path) -> None:
    family, model, _ = taught
    shifted = write_manifest(tmp_path / "data", 96, seed=5, shift=1.35)
    values = LEARNT[family] | {"lora_rank": 8, "epochs": 10}
    wanted = describe(model, shifted, family) | {"hyperparameters": values, "outputDir": str(tmp_path / "out")}
    with trainer("train", wanted, tmp_path) as process:
        assert process.wait() == 0, process.log
    (everything,) = process.result["suites"]
    assert everything["wer"] < everything["baselineWer"] - 0.1, process.log
    saved = tmp_path / "out" / "model" / "model"
    assert (saved / "model.safetensors").exists()
    assert not list(saved.glob("adapter_*")), "a served model carries its adapters in its weights"


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(bases: dict[str, Path], tones: Path, tmp_path: Path) -> None:
    wanted = describe(bases["seq2seq"], tones, "seq2seq")
    path = tmp_path / "trial.json"
    path.write_text(json.dumps(wanted))
    termination = tmp_path / "termination"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "finetune_trainer", "train", "--config", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "FINETUNE_TERMINATION_LOG": str(termination), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    together = json.loads(termination.read_text())
    assert together["metrics"]["wer"] < 0.35
    assert together["metrics"]["baselineWer"] > 0.9


def test_a_candidate_is_judged_against_the_model_in_service(
    zygote: Zygote, bases: dict[str, Path], tones: Path, tmp_path: Path
) -> None:
    path = tmp_path / "trial.json"
    path.write_text(json.dumps(describe(bases["seq2seq"], tones, "seq2seq")))
    log = tmp_path / "log"
    arguments = ["evaluate", "--config", str(path), "--candidate", str(bases["seq2seq"])]
    pid = zygote.start(arguments, {**os.environ, "FINETUNE_TERMINATION_LOG": str(tmp_path / "termination")}, log)
    assert zygote.code(pid, 60) == 0, log.read_text()
    result = json.loads((tmp_path / "termination").read_text())
    assert result["metrics"]["wer"] == result["metrics"]["baselineWer"]
    assert not result["gates"][0]["passed"]
