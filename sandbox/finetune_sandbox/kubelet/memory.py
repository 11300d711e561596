"""Memory limits by looking: the resident memory of a container's processes, a few times a second."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_INTERVAL = 0.2


def resident(pid: int) -> int:
    """Bytes of memory that a process and all below it use on their own: resident pages that are not shared files."""
    total, left = 0, [pid]
    while left:
        process = Path("/proc", str(left.pop()))
        with contextlib.suppress(OSError, ValueError, IndexError):
            _, pages, shared, *_ = (process / "statm").read_text().split()
            total += (int(pages) - int(shared)) * _PAGE
            for thread in (process / "task").iterdir():
                left += [int(child) for child in (thread / "children").read_text().split()]
    return total


async def enforce(pid: int, limit: int, exceed: Callable[[], None]) -> None:
    """Calls `exceed` once when the container of that first process uses more than its limit, in bytes."""
    while (used := resident(pid)) <= limit:  # noqa: ASYNC110 - nothing tells when memory grows
        await asyncio.sleep(_INTERVAL if used > limit / 2 else 3 * _INTERVAL)
    exceed()
