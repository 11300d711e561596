"""Failures as types: each carries its class in the trial contract and the exit code that follows from it."""

from __future__ import annotations

from typing import ClassVar

from .contract import ExitCode, FailureClass


class TrialError(Exception):
    """A trial that ends without a result.

    The message is one sentence for the person who has to act: what is wrong, where, and how to fix it.
    """

    failure_class: ClassVar[FailureClass] = FailureClass.ERROR
    exit_code: ClassVar[ExitCode] = ExitCode.ERROR


class BadConfigError(TrialError):
    """The configuration can never work as it is."""

    failure_class = FailureClass.BAD_CONFIG
    exit_code = ExitCode.BAD_INPUT


class BadDataError(TrialError):
    """The dataset can never work as it is."""

    failure_class = FailureClass.BAD_DATA
    exit_code = ExitCode.BAD_INPUT


class OutOfMemoryError(TrialError):
    """Host or device memory is too small for the trial."""

    failure_class = FailureClass.OUT_OF_MEMORY
    exit_code = ExitCode.OUT_OF_MEMORY


class DivergedError(TrialError):
    """The loss became infinite or not a number."""

    failure_class = FailureClass.DIVERGED


class TrackerUnavailableError(TrialError):
    """The tracker did not answer for longer than its retries last."""

    failure_class = FailureClass.TRACKER_UNAVAILABLE
    exit_code = ExitCode.UNAVAILABLE


class TrackerUnauthorizedError(TrialError):
    """The tracker refused the API key."""

    failure_class = FailureClass.TRACKER_UNAUTHORIZED
    exit_code = ExitCode.BAD_INPUT


class PreemptedError(TrialError):
    """The pod was asked to end; the checkpoint lets the trial continue elsewhere."""

    failure_class = FailureClass.PREEMPTED
    exit_code = ExitCode.PREEMPTED


class StoppedError(TrialError):
    """The tracker asked for the trial's end, as early termination does."""


_MEMORY_MARKS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "cannot allocate memory",
)


_PEER_MARKS = ("connection closed by peer", "connection reset by peer", "remote process exited", "socket timeout")
"""What gloo and NCCL say when a process on the other side is gone."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error means exhausted host or device memory.

    Torch raises `torch.OutOfMemoryError` on accelerators, but a plain `RuntimeError` from its CPU allocator and from
    libraries such as cuBLAS, so that only the text tells.
    """
    if isinstance(error, MemoryError | OutOfMemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(mark in text for mark in _MEMORY_MARKS)


def as_trial_error(error: Exception) -> TrialError:
    """Names any exception in the contract's terms."""
    if isinstance(error, TrialError):
        return error
    sentence = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    if is_out_of_memory(error):
        return OutOfMemoryError(
            f"Out of memory ({sentence[:300]}); use a smaller batch_size with gradient_accumulation, or a larger node."
        )
    if any(mark in sentence.lower() for mark in _PEER_MARKS):
        return TrialError(f"Another process of this trial has ended; it says why ({sentence[:200]}).")
    return TrialError(sentence)
