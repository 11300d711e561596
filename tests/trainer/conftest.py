"""Models and manifests, made once per test session."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from finetune_trainer.contract import TrialConfig

from .material import make_ctc, make_whisper, write_manifest
from .processes import Trainer, Zygote, running


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of an untrained model per family."""
    root = tmp_path_factory.mktemp("bases")
    return {"seq2seq": make_whisper(root / "whisper"), "ctc": make_ctc(root / "ctc")}


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 96 one-word utterances."""
    return write_manifest(tmp_path_factory.mktemp("tones"), 96)


@pytest.fixture
def config(bases: dict[str, Path], tones: Path) -> Callable[..., TrialConfig]:
    """Builds a trial without a tracker; keyword arguments replace fields."""

    def build(family: str = "seq2seq", **fields: Any) -> TrialConfig:
        document: dict[str, Any] = {
            "mode": "train",
            "tracking": {"enabled": False},
            "model": {"name": str(bases[family])},
            "dataset": {"uri": str(tones)},
            "hyperparameters": {"learning_rate": 3e-3, "batch_size": 16, "max_steps": 20},
        }
        return TrialConfig.model_validate(document | fields)

    return build


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Starts trainer processes quickly."""
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def trainer(zygote: Zygote) -> Callable[..., AbstractContextManager[Trainer]]:
    """Runs a command of the trainer as a process of its own: `with trainer("train", document, folder) as process`."""
    return functools.partial(running, zygote)
