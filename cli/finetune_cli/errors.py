"""Errors that people see: what is wrong, how to put it right, and an exit code for scripts."""

from __future__ import annotations

import enum
from typing import IO, Any

import click


class ExitCode(enum.IntEnum):
    """Exit codes of `finetune`; `MEANINGS` says when each is used."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    FORBIDDEN = 4
    UNREACHABLE = 5
    REFUSED = 6
    TRACKER = 75
    TIMEOUT = 124


MEANINGS = {
    ExitCode.OK: "Done. `watch` and `submit --watch`: the resource is complete. `doctor`: no fault found.",
    ExitCode.FAILED: "The resource has failed, `doctor` has found a fault, or the command failed unexpectedly.",
    ExitCode.USAGE: "The command line or a file is wrong; the message names the field or option, and the fix.",
    ExitCode.NOT_FOUND: "The resource, run or result does not exist.",
    ExitCode.FORBIDDEN: "The cluster refused the request: no login, or no right.",
    ExitCode.UNREACHABLE: "The cluster does not answer, or its custom resource definitions are not installed.",
    ExitCode.REFUSED: "Not possible in this state, such as approving what awaits no approval; or a gate was missed.",
    ExitCode.TRACKER: "The tracker does not answer or refused the API key.",
    ExitCode.TIMEOUT: "The time given by --timeout is over; the resource goes on.",
}
"""Exit code -> when it is used."""


class CliError(click.ClickException):
    """An error with a fix and an exit code.

    Args:
        message: What is wrong, in a sentence.
        code: Exit code.
        fix: What to do about it.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED, fix: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click documents it as an instance attribute
        self.fix = fix

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the message and the fix to standard error."""
        click.echo(f"error: {self.message}", file=file, err=file is None)
        if self.fix:
            click.echo(f"  fix: {self.fix}", file=file, err=file is None)
