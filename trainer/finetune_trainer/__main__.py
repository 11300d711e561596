"""Command line: `python -m finetune_trainer train|agent|evaluate --config FILE`.

Nothing heavy is imported before the configuration has been checked.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import launch
from .contract import (
    CONFIG_ENV,
    CONFIG_PATH,
    TERMINATION_LOG,
    TERMINATION_LOG_ENV,
    ExitCode,
    FailureClass,
    TrialConfig,
    TrialResult,
)
from .control import Control
from .errors import BadConfigError, TrialError, as_trial_error
from .preflight import check, read_config

log = logging.getLogger("finetune_trainer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="finetune_trainer", description="Fine-tunes speech-to-text models on error cases."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("train", "train once with the configuration's hyperparameters"),
        ("agent", "serve the trials of a W&B sweep until it ends"),
        ("evaluate", "score a model on the configuration's data"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--config",
            default=os.environ.get(CONFIG_ENV, CONFIG_PATH),
            help=f"the trial's JSON document (default: ${CONFIG_ENV}, else {CONFIG_PATH})",
        )
        if name == "evaluate":
            command.add_argument("--candidate", help="model to judge against the configuration's model")
    options = parser.parse_args(arguments)
    try:
        several = launch.Launch.of(os.environ)
    except BadConfigError as error:
        _report(failed(error))
        return int(error.exit_code)
    if several is not None:
        given = sys.argv[1:] if arguments is None else arguments
        return launch.run(several, [sys.executable, "-m", "finetune_trainer", *given], _termination_log())
    leads = os.environ.get("RANK", "0") == "0"
    level = os.environ.get("FINETUNE_LOG_LEVEL", "INFO" if leads else "WARNING")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    control = Control()
    control.handle_signals()
    try:
        config = read_config(options.config)
        result, code = _run(options, config, control)
    except Exception as error:
        failure = as_trial_error(error)
        if failure is not error:
            log.exception("The trial ended with an unexpected error.", exc_info=error)
        result, code = failed(failure), failure.exit_code
    if leads or result.state != "finished":  # the leader does not know what befell another process
        _report(result, leads)
    return int(code)


def failed(error: TrialError) -> TrialResult:
    """The result of a trial that has none."""
    preempted = error.failure_class is FailureClass.PREEMPTED
    return TrialResult(
        state="preempted" if preempted else "failed", failure_class=error.failure_class, message=str(error)[:1024]
    )


def _run(options: argparse.Namespace, config: TrialConfig, control: Control) -> tuple[TrialResult, ExitCode]:
    if options.command != "evaluate" and config.mode != options.command:
        raise BadConfigError(
            f"config.mode is {config.mode!r}, but the command is {options.command!r}; make them equal."
        )
    manifests = check(config)
    if options.command == "agent" and os.environ.get("RANK", "0") == "0":
        from .sweep_protocol import SweepClient

        SweepClient(config.tracking).check_key()
    from . import commands

    if options.command == "train":
        return commands.train(config, control, manifests)
    if options.command == "agent":
        return commands.serve(config, control, manifests)
    return commands.evaluate(config, control, manifests, options.candidate)


def _report(result: TrialResult, leads: bool = True) -> None:
    """Writes the termination message, unless the leader did before; prints the outcome."""
    text = result.to_termination_message()
    if result.state == "finished":
        print(text, flush=True)
    else:
        print(f"{result.failure_class}: {result.message}", file=sys.stderr, flush=True)
    path = _termination_log()
    if path is not None and (leads or not path.exists() or not path.stat().st_size):
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            log.warning("The termination message cannot be written to %s: %s.", path, error)


def _termination_log() -> Path | None:
    """Where the kubelet looks for a container's last words; None outside of a pod."""
    path = Path(os.environ.get(TERMINATION_LOG_ENV) or TERMINATION_LOG)
    return path if TERMINATION_LOG_ENV in os.environ or (path.exists() and os.access(path, os.W_OK)) else None


def _leave(code: int) -> None:
    """Ends the process; at once where the SDK's exit hooks would go on waiting for a tracker that is not there."""
    if code in (ExitCode.UNAVAILABLE, ExitCode.PREEMPTED):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(main())
