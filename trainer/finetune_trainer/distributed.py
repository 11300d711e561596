"""Data parallelism over the processes that `launch` or torchrun starts: plain DistributedDataParallel.

DDP, because speech-to-text checkpoints of up to 2 billion parameters fit one accelerator with their optimiser, and
sharding (FSDP) would only add traffic. Flags and objects travel over gloo on the CPU, so that looking at them never
waits for the accelerator.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from .control import Control, Request, raise_for

T = TypeVar("T")
_PATIENCE = datetime.timedelta(hours=2)  # rank 0 may wait for a tracker's outage while the others wait for it


@dataclass(frozen=True, slots=True)
class Topology:
    """This process among its peers.

    Attributes:
        rank: Number of this process; 0 speaks to the tracker and writes files.
        size: Number of processes.
        device: Where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process is the one that reports."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of a list that all processes have."""
        return list(items[self.rank :: self.size])

    def check(self, control: Control) -> None:
        """Ends the trial in all processes when any of them was asked to.

        Raises:
            PreemptedError: The process is to end.
            StoppedError: The trial is to end.
        """
        request = control.request
        if self.size > 1:
            flag = torch.tensor(int(request))
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            request = Request(int(flag))
            if request is Request.PREEMPT:
                control.preempt()
        raise_for(request)

    def gather(self, value: T) -> list[T]:
        """The value of every process, in rank order, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: T | None) -> T:
        """The leader's value, on every process."""
        if self.size == 1:
            return value  # type: ignore[return-value]
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]


def join() -> Topology:
    """Joins the process group that the environment describes; alone without one."""
    size, rank, local = (int(os.environ.get(name, default)) for name, default in _ENVIRONMENT)
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local % torch.cuda.device_count())
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)
    return Topology(rank, size, device)


def leave() -> None:
    """Leaves the process group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


_ENVIRONMENT = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
