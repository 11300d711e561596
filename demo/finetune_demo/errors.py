"""What can go wrong, said to a person."""

from __future__ import annotations

from pathlib import Path


class DemoError(Exception):
    """The demo cannot go on.

    Attributes:
        hint: What to do about it.
        log: File whose end tells more.
    """

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.log = log


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a text file; empty when there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
