"""Signals as exceptions, so that every `finally` runs."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


def exit_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise SystemExit with the shell's code for them."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, leave)
