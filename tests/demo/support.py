"""Finds processes by a mark in their environment, which children inherit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

MARK = "FINETUNE_DEMO_TEST"


def new_mark() -> dict[str, str]:
    return {MARK: uuid.uuid4().hex}


def marked(mark: dict[str, str]) -> list[str]:
    """Command lines of living processes that carry the mark."""
    wanted = f"{MARK}={mark[MARK]}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
