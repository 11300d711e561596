"""Fills a tracker as the SDK does: a sweep of trials with histories, tables, media, models, lineage and promotions.

Run in a process of its own, as the SDK keeps its credentials per process: `python tests/web/seed.py`, with the tracker
in WANDB_BASE_URL and WANDB_API_KEY.
"""

from __future__ import annotations

import math
import random
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import wandb

PROJECT = "stt"
TRIALS = 2
KINDS = ("homophone", "name", "number", "accent")


def main() -> None:
    source = random.Random(7)
    spec = {
        "method": "random",
        "name": "errors",
        "metric": {"name": "eval/wer", "goal": "minimize"},
        "parameters": {
            "learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3},
            "batch_size": {"values": [8, 16, 32]},
            "scheduler": {"values": ["linear", "cosine"]},
        },
    }
    sweep = wandb.sweep(spec, project=PROJECT)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(TRIALS):
            trial(source, sweep, number, Path(folder))


def trial(source: random.Random, sweep: str, number: int, folder: Path) -> None:
    rate = 10 ** source.uniform(-6, -3)
    config = {
        "learning_rate": rate,
        "batch_size": source.choice([8, 16, 32]),
        "scheduler": source.choice(["linear", "cosine"]),
    }
    run = wandb.init(
        project=PROJECT,
        config=config,
        name=f"trial-{number}",
        tags=["sweeprun"],
        settings=wandb.Settings(sweep_id=sweep),
    )
    run.define_metric("train/step")
    dataset = wandb.Artifact("corrections", type="dataset", metadata={"uri": "s3://corrections/manifest.jsonl"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text('{"audio": "clip-0.wav", "text": "turn left", "hypothesis": "turn lift"}\n')
    dataset.add_file(str(manifest))
    run.use_artifact(dataset)
    final = 0.12 + 0.05 * abs(math.log10(rate) + 4.5) + 0.01 * source.random()
    for step in range(40):
        loss = 2.5 * math.exp(-step / 12) + 0.05 * source.random()
        run.log({"train/loss": loss, "train/learning_rate": rate * (1 - step / 40), "train/step": step * 5})
        if step % 10 == 9:
            run.log({"eval/wer": final + 0.2 * math.exp(-step / 8), "train/step": step * 5})
    print(f"trial {number} done\n<b>not HTML</b>")
    run.log(reports(source, folder))
    gains = {kind: 0.2 * source.random() for kind in KINDS}
    run.summary.update(
        {
            "eval/wer": final,
            "baseline/wer": 0.34,
            "test/wer": final + 0.01,
            "test/baseline_wer": 0.35,
            "test/p_value": 0.002,
            "gates/passed": True,
            **{f"test/wer_by_type/{kind}": 0.3 - gain for kind, gain in gains.items()},
            **{f"test/baseline_wer_by_type/{kind}": 0.3 for kind in KINDS},
        }
    )
    model = folder / f"model-{number}.bin"
    model.write_bytes(bytes([number]) * 4096)
    artifact = wandb.Artifact("errors", type="model", metadata={"wer": final, "base": "openai/whisper-small"})
    artifact.add_file(str(model), "model.bin")
    logged = run.log_artifact(artifact).wait()
    logged.link("model-registry/stt", aliases=["production"])
    run.finish()


def reports(source: random.Random, folder: Path) -> dict[str, Any]:
    rows = [
        [
            f"clip-{i}.wav",
            KINDS[i % 4],
            "turn left",
            "turn lift",
            "turn left",
            round(source.random(), 3),
            round(source.random() / 2, 3),
        ]
        for i in range(30)
    ]
    columns = ["audio", "error_type", "reference", "baseline", "candidate", "baseline_wer", "wer"]
    rows[0][2] = "<script>window.hacked = 1</script>"
    rows[0][6] = 1.0
    counts = wandb.Table(columns=["error type", "utterances"], data=[[kind, 3 + i] for i, kind in enumerate(KINDS)])
    points = wandb.Table(columns=["baseline_wer", "wer"], data=[[row[5], row[6]] for row in rows])
    sound = folder / "tone.wav"
    with wave.open(str(sound), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes((np.sin(np.arange(4000) / 5) * 9000).astype("<i2").tobytes())
    image = (np.add.outer(np.arange(48), np.arange(96)) % 48 * 5).astype("uint8")
    return {
        "test/utterances": wandb.Table(columns=columns, data=rows),
        "data/error_types": wandb.plot.bar(counts, "error type", "utterances", title="Error types"),
        "test/scatter": wandb.plot.scatter(points, "baseline_wer", "wer", title="WER per utterance"),
        "test/wer_distribution": wandb.Histogram([row[6] for row in rows]),
        "sample/spectrogram": wandb.Image(image, caption="a spectrogram"),
        "sample/audio": wandb.Audio(str(sound), caption="a tone"),
        "sample/page": wandb.Html("<h3>A page</h3><script>parent.hacked = 2</script>", inject=False),
    }


if __name__ == "__main__":
    main()
