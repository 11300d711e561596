"""The test's own process as a W&B client of one tracker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from finetune_tracker.testing import TrackerProcess


@contextlib.contextmanager
def wandb_client(server: TrackerProcess, folder: Path) -> Iterator[None]:
    """Points the SDK at a tracker, and leaves nothing of it behind.

    The SDK keeps address, key and its service's process per process, read from the environment at its first use. What
    an earlier test made it keep is dropped at the start, and what this one does at the end: files run in any order.
    """
    import wandb

    before = dict(os.environ)
    wandb.teardown()
    mine = {k: v for k, v in server.client_env(folder).items() if k.startswith(("WANDB", "HOME"))}
    _set_environment({k: v for k, v in before.items() if not k.startswith("WANDB")} | mine)
    try:
        yield
    finally:
        wandb.teardown()
        _set_environment(before)


def _set_environment(wanted: dict[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)
