"""Failures in the contract's terms."""

from __future__ import annotations

import pytest
import torch
from finetune_trainer.contract import ExitCode, FailureClass
from finetune_trainer.control import Control, Request, raise_for
from finetune_trainer.errors import BadDataError, PreemptedError, StoppedError, as_trial_error


@pytest.mark.parametrize(
    ("error", "failure_class", "exit_code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), FailureClass.OUT_OF_MEMORY, 3),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), FailureClass.OUT_OF_MEMORY, 3),
        (MemoryError(), FailureClass.OUT_OF_MEMORY, 3),
        (RuntimeError("shape mismatch"), FailureClass.ERROR, 1),
        (BadDataError("no rows"), FailureClass.BAD_DATA, 2),
        (PreemptedError("bye"), FailureClass.PREEMPTED, 143),
    ],
)
def test_every_error_has_a_class_and_an_exit_code(
    error: Exception, failure_class: FailureClass, exit_code: int
) -> None:
    failure = as_trial_error(error)
    assert failure.failure_class is failure_class
    assert failure.exit_code == ExitCode(exit_code)
    assert "\n" not in str(failure)


def test_memory_that_really_runs_out_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert as_trial_error(caught.value).failure_class is FailureClass.OUT_OF_MEMORY


def test_a_preemption_outlives_the_trial_and_a_stop_does_not() -> None:
    control = Control()
    control.stop()
    assert control.request is Request.STOP
    with pytest.raises(StoppedError):
        raise_for(control.request)
    control.clear()
    raise_for(control.request)
    control.preempt()
    control.clear()
    with pytest.raises(PreemptedError):
        raise_for(control.request)
