"""Checkpoints of a trial: written atomically, verified on reading, and never used for another configuration."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

log = logging.getLogger(__name__)
_NAME = re.compile(r"(step|best)-(\d+)\.pt")


class CheckpointStore:
    """The checkpoints of one run, in a folder of its own.

    A file is written under another name, flushed to the disk and renamed, so that a kill at any moment leaves the
    previous one. The previous one stays until its successor is complete.

    Args:
        root: `checkpoints.path` of the configuration.
        run_id: The run that they belong to.
        fingerprint: Hash of all that decides the course of training; a checkpoint with another one is not resumed.
    """

    def __init__(self, root: str | os.PathLike[str], run_id: str, fingerprint: str) -> None:
        self.folder = Path(root) / run_id
        self.fingerprint = fingerprint

    def save(self, step: int, state: dict[str, Any], best: int | None = None) -> Path:
        """Writes the state after `step` optimiser steps and removes older ones.

        Args:
            step: Optimiser steps that lie behind the state.
            state: What `load` is to return.
            best: Step of the model, given to `keep` before, that belongs to the state.
        """
        target = self._write(f"step-{step}.pt", {"fingerprint": self.fingerprint, "best": best, "state": state})
        current = {target, self.folder / f"best-{best}.pt"}
        for path in {*self._found("step").values(), *self._found("best").values()} - current:
            path.unlink(missing_ok=True)
        return target

    def keep(self, step: int, weights: dict[str, torch.Tensor]) -> None:
        """Writes the weights of the best model so far; the one before stays until a checkpoint names this one."""
        self._write(f"best-{step}.pt", weights)

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """The newest readable checkpoint of this configuration: step and state.

        The state's `best` is the step and the weights of the best model, or None.
        """
        for step, path in sorted(self._found("step").items(), reverse=True):
            try:
                document = torch.load(path, map_location="cpu", weights_only=True)
                if document["fingerprint"] != self.fingerprint:
                    log.warning("The checkpoint %s belongs to another configuration and is not used.", path)
                    continue
                best = document["best"]
                if best is not None:
                    path = self.folder / f"best-{best}.pt"
                    best = {"step": best, "weights": torch.load(path, map_location="cpu", weights_only=True)}
            except Exception as error:  # whatever a torn file makes of the unpickler
                log.warning("The checkpoint %s cannot be read (%s); an older one or none is used.", path, error)
                continue
            return step, document["state"] | {"best": best}
        return None

    def clear(self) -> None:
        """Removes all: the trial is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, document: dict[str, Any]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / name
        partial = self.folder / f".{name}.{os.getpid()}"
        with partial.open("wb") as file:
            torch.save(document, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        return target

    def _found(self, kind: str) -> dict[int, Path]:
        """Files of a kind (`step` or `best`) by step."""
        if not self.folder.is_dir():
            return {}
        named = ((_NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return {int(match[2]): path for match, path in named if match and match[1] == kind}


def random_state() -> dict[str, Any]:
    """State of the random generators that dropout (torch) and SpecAugment (numpy, in transformers) draw from."""
    name, keys, position, gauss, cached = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "numpy": {
            "name": str(name),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "gauss": int(gauss),
            "cached": float(cached),
        },
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts the generators back to where `random_state` found them."""
    torch.set_rng_state(state["torch"])
    numpy = state["numpy"]
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state((numpy["name"], keys, numpy["position"], numpy["gauss"], numpy["cached"]))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
