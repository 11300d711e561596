"""Trials: a training and an evaluation by the trainer, remembered on disk.

Order, schedule and random numbers of a training are functions of configuration and seed, so the same trial asked for
twice, by two ways of searching or after an interruption, is computed once. Whoever asks is charged its steps each time.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import finetune_trainer
import numpy as np
import torch
from finetune_trainer.contract import DatasetRef, ModelRef, TrialConfig
from finetune_trainer.control import Control
from finetune_trainer.distributed import Topology
from finetune_trainer.errors import DivergedError, StoppedError
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.metrics import ErrorCounts
from finetune_trainer.models import load_base
from finetune_trainer.session import Session
from finetune_trainer.tracking import NullTracker, Number
from finetune_trainer.training import Plan
from finetune_trainer.trial import run_trial

METRIC = "eval/wer"
Stop = Callable[[Sequence[float]], bool]
"""Whether a trial should end, given its validation error rates so far."""
_DECISIVE = (
    "batching",
    "evaluation",
    "features",
    "hyperparameters",
    "metrics",
    "models",
    "schedule",
    "training",
    "trial",
)
"""Modules of the trainer that a trial's course depends on: when one changes, what is remembered no longer holds."""


@dataclass(frozen=True)
class Trial:
    """What a training gave.

    Attributes:
        state: As W&B says it: `finished`, `killed` by early termination, or `failed` because it diverged.
        history: Optimiser step and validation WER, after each epoch.
        steps: Optimiser steps that it took.
        utterances: Utterances that it saw, over all steps.
        errors, words: Per utterance of the test set; empty unless the trial finished.
    """

    values: Mapping[str, Any]
    state: str
    history: tuple[tuple[int, float], ...]
    steps: int
    utterances: int
    errors: tuple[int, ...] = ()
    words: tuple[int, ...] = ()

    @property
    def wer(self) -> float:
        """Validation WER of the best epoch, whose model is the trial's: what trials are ranked by."""
        return min(rate for _, rate in self.history)

    @property
    def test(self) -> ErrorCounts:
        """Word errors on the test set."""
        return ErrorCounts(np.asarray(self.errors), np.asarray(self.words))


class Workshop:
    """Runs the trials on one version of a dataset.

    Args:
        model: Folder of the model that trials start from.
        manifest: The dataset.
        seed: Of the trainings.
        memory: Folder of remembered trials.
    """

    def __init__(self, model: Path, manifest: Path, seed: int, memory: Path) -> None:
        self._model, self._manifest, self._seed, self._memory = model, manifest, seed, memory

    def train(self, values: Mapping[str, Any], stop: Stop | None = None, keep: Path | None = None) -> Trial:
        """Run a trial, or recall it.

        Args:
            values: Hyperparameters.
            stop: Asked after each epoch but the last.
            keep: Save the model below this folder; then nothing is recalled.
        """
        name = hashlib.sha256(json.dumps([*self._identity, dict(values)], sort_keys=True).encode()).hexdigest()[:24]
        path = self._memory / f"{name}.json"
        if keep is None and path.is_file():
            trial = _cut(_read(path), stop)
            if trial is not None:
                return trial
        trial = self._run(values, stop, keep)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(asdict(trial)))
        scratch.replace(path)
        return trial

    def untrained(self) -> ErrorCounts:
        """Word errors of the model that trials start from, on the test set."""
        return self._session.baseline("test").words

    def score(self, model: Path) -> ErrorCounts:
        """Word errors of another model on the test set."""
        session = self._session
        session.control.clear()  # of the stop that ended the last trial
        base = load_base(ModelRef(name=str(model)))
        return session.evaluate(base.build(), "test", base=base).words

    @cached_property
    def _identity(self) -> list[str]:
        sources = [Path(finetune_trainer.__file__).with_name(f"{name}.py") for name in _DECISIVE]
        code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        data = hashlib.sha256(self._manifest.read_bytes()).hexdigest()
        return [code, data, str(self._manifest.parent.parent.name), self._model.name, str(self._seed)]

    @cached_property
    def _session(self) -> Session:
        torch.set_num_threads(1)
        logging.getLogger("finetune_trainer").setLevel(logging.ERROR)
        return Session.open(self._config(None), Topology(0, 1, torch.device("cpu")), Control())

    def _config(self, keep: Path | None) -> TrialConfig:
        return TrialConfig(
            mode="train",
            model=ModelRef(name=str(self._model)),
            dataset=DatasetRef(uri=str(self._manifest)),
            seed=self._seed,
            output_dir=str(keep) if keep else None,
        )

    def _run(self, values: Mapping[str, Any], stop: Stop | None, keep: Path | None) -> Trial:
        session = self._session
        session.config = self._config(keep)
        session.control.clear()
        hyperparameters = Hyperparameters.parse(values)
        examples = len(session.sets["train"])
        plan = Plan.of(examples, hyperparameters)
        recorder = _Recorder(session.control, stop, plan.total_steps)
        state, steps = "finished", plan.total_steps
        try:
            run_trial(session, values, recorder)
        except StoppedError:
            state, steps = "killed", recorder.step
        except DivergedError:
            state, steps = "failed", recorder.step
        utterances = round(examples * steps / plan.steps_per_epoch)
        return Trial(dict(values), state, tuple(recorder.history), steps, utterances, recorder.errors, recorder.words)


class _Recorder(NullTracker):
    """A tracker that keeps what the search needs, and passes on the wish to stop."""

    def __init__(self, control: Control, stop: Stop | None, total_steps: int) -> None:
        super().__init__("trial")
        self._control, self._stop, self._total = control, stop, total_steps
        self.history: list[tuple[int, float]] = []
        self.step = 0
        self.errors: tuple[int, ...] = ()
        self.words: tuple[int, ...] = ()

    def log(self, values: Mapping[str, Number], *, step: int | None = None) -> None:
        self.step = step or self.step
        if METRIC in values:
            self.history.append((self.step, float(values[METRIC])))
            rates = [rate for _, rate in self.history]
            if self._stop is not None and self.step < self._total and self._stop(rates):
                self._control.stop()

    def log_comparison(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.words = tuple(len(row["reference"].split()) for row in rows)
        self.errors = tuple(round(row["wer"] * max(words, 1)) for row, words in zip(rows, self.words, strict=True))


def _read(path: Path) -> Trial:
    content = json.loads(path.read_text())
    content["history"] = tuple((step, rate) for step, rate in content["history"])
    return Trial(**content | {key: tuple(content[key]) for key in ("errors", "words")})


def _cut(trial: Trial, stop: Stop | None) -> Trial | None:
    """The remembered trial as it goes with this `stop`; None when it was ended before this one would end it."""
    rates = [rate for _, rate in trial.history]
    asked = len(rates) - (trial.state == "finished")  # nobody is asked at the end
    for done in range(1, asked + 1):
        if stop is not None and stop(rates[:done]):
            steps = trial.history[done - 1][0]
            seen = round(trial.utterances * steps / trial.steps)
            return Trial(trial.values, "killed", trial.history[:done], steps, seen)
    return None if trial.state == "killed" else trial
