"""Signals as exceptions, so that every `finally` runs, and at no moment in between."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_held = 0
_pending: int | None = None


def exit_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise SystemExit with the shell's code for them."""
    for number in _SIGNALS:
        signal.signal(number, _leave)


@contextmanager
def signals_held() -> Iterator[None]:
    """Put off the exit until the end of the block, for what must not be left half done."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
    if not _held and _pending is not None:
        sys.exit(128 + _pending)


def _leave(number: int, frame: FrameType | None) -> None:
    global _pending
    if _held:
        _pending = number
        return
    sys.exit(128 + number)
