"""Ours: the trainer's own parts, in the order in which a trial uses them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from finetune_trainer.contract import ModelRef
from finetune_trainer.control import Control
from finetune_trainer.distributed import Topology
from finetune_trainer.evaluation import Score, score, transcribe
from finetune_trainer.features import Example, prepare
from finetune_trainer.frontend import can_precompute, precompute
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.manifest import read_manifest
from finetune_trainer.models import Base, load_base, merged
from finetune_trainer.normalizers import normalizer
from finetune_trainer.quality import QualityReport
from finetune_trainer.session import threads
from finetune_trainer.training import Training

from benchmarks.training.outcome import Outcome, Recipe


def device() -> torch.device:
    """Where everything runs."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


@dataclass
class Trial:
    """A trial without a tracker, on a model and a manifest.

    Attributes:
        base: Folder of the model.
        manifest: JSONL beside its audio files.
        input_seconds: Length of a Whisper's input, in place of the checkpoint's.
    """

    base: Path
    manifest: Path
    recipe: Recipe
    input_seconds: int | None = None

    def train(self) -> Outcome:
        """From the files on disk to the last step."""
        began = time.perf_counter()
        recipe, topology = self.recipe, Topology(0, 1, device())
        values = {"batch_size": recipe.batch_size, "epochs": recipe.epochs, "learning_rate": recipe.learning_rate}
        hyperparameters = Hyperparameters.parse({**values, "input_seconds": self.input_seconds})
        base = self._load()
        examples = self._prepared(base, "train")
        base = _with_frames(base, examples)
        model = base.build(hyperparameters, seed=recipe.seed).to(topology.device)
        Training(
            model=model,
            base=base,
            examples=examples,
            hyperparameters=hyperparameters,
            seed=recipe.seed,
            topology=topology,
            control=Control(),
        ).run()
        heard = sum(example.seconds for example in examples) * recipe.epochs
        if topology.device.type == "cuda":
            torch.cuda.synchronize()
        return Outcome(time.perf_counter() - began, heard, merged(model, base))

    def evaluate(self, split: str) -> tuple[float, float]:
        """Utterances per second from files on disk to the word error rate, and the rate."""
        began = time.perf_counter()
        base = self._load()
        examples = self._prepared(base, split)
        base = _with_frames(base, examples)
        result = self._score(base, base.build().to(device()), examples, with_loss=False)
        return len(examples) / (time.perf_counter() - began), result.wer

    def judge(self, model: Any) -> Score:
        """Validation loss and word error rate of a trained model, whoever trained it."""
        base = self._load()
        return self._score(base, model, self._prepared(base, "validation"), with_loss=True)

    def _load(self) -> Base:
        base = load_base(ModelRef(name=str(self.base)))
        return base if self.input_seconds is None else base.shortened(self.input_seconds)

    def _prepared(self, base: Base, split: str) -> list[Example]:
        rows = [row for row in read_manifest(str(self.manifest)).utterances if row.split == split]
        return prepare(rows, base, QualityReport(str(self.manifest)), device=device(), threads=threads())

    def _score(self, base: Base, model: Any, examples: list[Example], *, with_loss: bool) -> Score:
        transcripts = transcribe(
            model,
            base,
            examples,
            topology=Topology(0, 1, device()),
            control=Control(),
            batch_size=self.recipe.batch_size,
            with_loss=with_loss,
        )
        return score(transcripts, examples, normalizer("none"))


def _with_frames(base: Base, examples: list[Example]) -> Base:
    """The checkpoint as a trial takes it while its front end is frozen: with that computed already."""
    if not can_precompute(base):
        return base
    precompute(base, examples, device())
    return replace(base, precomputed=True)
