"""Folders that are either complete or absent, whatever kills the process that makes them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

_MARK = ".making-"


def fingerprint(recipe: Any) -> str:
    """Short hash of a JSON-able recipe: a changed recipe is another cache entry."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()[:12]


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is made if it is not there, by one process at a time: others wait, then find it made.

    Args:
        target: The folder.
        make: Fills the scratch folder that it is given.

    Returns:
        `target`.
    """
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_dir():
                with whole_folder(target) as scratch:
                    make(scratch)
    return target


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a scratch folder beside `target` that becomes `target` on success and vanishes on any exception.

    A process that was killed outright leaves its scratch folder behind; the next one here removes it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_leftovers(target.parent)
    scratch = target.parent / f"{_MARK}{os.getpid()}-{target.name}"
    scratch.mkdir()
    try:
        yield scratch
        for path in [scratch, *scratch.rglob("*")]:  # pods read it as another user; safetensors writes 0600
            path.chmod(0o755 if path.is_dir() else 0o644)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sweep_leftovers(folder: Path) -> None:
    """Remove scratch folders of processes that no longer live."""
    for scratch in folder.glob(f"{_MARK}*"):
        owner = scratch.name.removeprefix(_MARK).partition("-")[0]
        if not _alive(int(owner)):
            shutil.rmtree(scratch, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
