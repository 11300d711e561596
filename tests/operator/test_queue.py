"""The work queue."""

from __future__ import annotations

import asyncio

from finetune_operator.queue import WorkQueue


async def take(queue: WorkQueue[str], seconds: float = 1.0) -> str | None:
    try:
        return await asyncio.wait_for(queue.get(), seconds)
    except TimeoutError:
        return None


async def test_a_key_waits_once():
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(5):
        queue.add("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert await take(queue, 0.05) is None


async def test_a_key_is_never_worked_on_twice_at_a_time_but_is_not_forgotten():
    queue: WorkQueue[str] = WorkQueue(spacing=0.0)
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    assert await take(queue, 0.05) is None
    queue.done("a")
    assert await take(queue) == "a"


async def test_the_earlier_of_two_wishes_counts():
    queue: WorkQueue[str] = WorkQueue(spacing=0.0)
    queue.add("a", 60)
    queue.add("a", 0.01)
    queue.add("a", 30)
    assert await take(queue) == "a"
    queue.done("a")
    assert await take(queue, 0.05) is None


async def test_failures_back_off_and_success_forgets_them():
    queue: WorkQueue[str] = WorkQueue(base=0.05, limit=0.4, spacing=0.0)
    loop, gaps = asyncio.get_running_loop(), []
    queue.add("a")
    for _ in range(4):
        began = loop.time()
        assert await take(queue) == "a"
        gaps.append(loop.time() - began)
        queue.done("a", failed=True)
    assert gaps[1] >= 0.04
    assert gaps[3] >= 3 * gaps[1] * 0.8
    assert await take(queue) == "a"
    queue.done("a")
    queue.add("a")
    assert await take(queue, 0.05) == "a"


async def test_looks_at_one_key_are_spaced():
    queue: WorkQueue[str] = WorkQueue(spacing=0.2)
    queue.add("a")
    assert await take(queue) == "a"
    queue.done("a")
    queue.add("a")
    assert await take(queue, 0.05) is None
    assert await take(queue) == "a"


async def test_lag_tells_of_work_that_is_stuck():
    queue: WorkQueue[str] = WorkQueue()
    assert queue.lag() == 0
    queue.add("a")
    await take(queue)
    await asyncio.sleep(0.05)
    assert queue.lag() >= 0.04
    queue.done("a")
    assert queue.lag() == 0
