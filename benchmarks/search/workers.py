"""Work in several processes, none of which outlives the one that started it."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def at_once(function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """The function's results for the arguments of each job, in the order of the jobs."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=_end_with_parent) as pool:
        yield from pool.map(function, *zip(*jobs, strict=True))


def _end_with_parent() -> None:
    """Have this worker end with the process that started it, however that ends: nobody waits for the result then."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)  # in the middle of a trial: what is remembered is written whole or not at all

    threading.Thread(target=watch, daemon=True).start()
