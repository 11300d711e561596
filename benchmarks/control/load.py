"""burst_1000, then what an operator costs that has a thousand finished resources and a hundred running ones.

The burst: a thousand FinetuneJobs at once until all are Complete, against the minimal loop with the same writes. Idle:
processor time and memory of an operator that has just started on what the burst has left, against a kopf operator that
does nothing, at the same time.
"""

import asyncio
from typing import Any

from finetune_sandbox.client import Resource

from benchmarks.control import minimal, noop
from benchmarks.control.bench import JOBS, SWEEPS, TRAININGS, Bench, Follower, bench, job_template
from benchmarks.control.processes import operator, running
from benchmarks.harness import Comparison, Entry, Options, measured

_CREATORS = 16
KUEUE = 43
"""Workloads a second that Kueue's own performance test admits."""


async def create(place: Bench, resource: Resource, namespace: str, names: list[str], work: str) -> None:
    """Creates resources, several at a time."""
    left = iter(names)

    async def some() -> None:
        for name in left:
            await place.create(resource, namespace, name, work)

    await asyncio.gather(*(some() for _ in range(_CREATORS)))


async def burst(place: Bench, namespace: str, count: int, prefix: str = "b") -> float:
    """Seconds from the first request to the last Complete."""
    done = await place.follow(TRAININGS, namespace)
    loop = asyncio.get_running_loop()
    before, began = len(done.done_at), loop.time()
    await create(place, TRAININGS, namespace, [f"{prefix}{number:04}" for number in range(count)], "0")
    await done.until(lambda: len(done.done_at) >= before + count)
    await done.stop()
    return loop.time() - began


async def template(place: Bench) -> str:
    """A Job as the operator makes it."""
    async with place.namespace() as namespace:
        jobs = await place.follow(JOBS, namespace)
        with operator(place.folder / "template.log", place.kubeconfig, namespace, place.tracker.base_url):
            await place.create(TRAININGS, namespace, "one")
            await jobs.until(lambda: jobs.seen_at, 30)
        await jobs.stop()
        return job_template(next(iter(jobs.objects.values())))


async def baseline(options: Options, count: int) -> float:
    """The minimal loop's burst, on a cluster of its own: what it leaves would slow ours."""
    async with bench(options) as place, place.namespace() as namespace:
        file = place.folder / "job.json"
        file.write_text(await template(place))
        arguments = ["--kubeconfig", str(place.kubeconfig), "--namespace", namespace, "--template", str(file)]
        with running(place.folder / "minimal.log", minimal.__name__, *arguments, "--life") as loop:
            await loop.says("ready")
            return await burst(place, namespace, count)


async def idle(place: Bench, namespace: str, active: int, settle: float, window: float) -> list[Entry]:
    """An operator and a no-op on what is there and `active` running resources of both kinds."""
    tracker = place.tracker.base_url
    jobs, sweeps = await place.follow(TRAININGS, namespace), await place.follow(SWEEPS, namespace)
    with operator(place.folder / "idle.log", place.kubeconfig, namespace, tracker) as ours:
        await create(place, TRAININGS, namespace, [f"t{number}" for number in range(active // 2)], "hold")
        await create(place, SWEEPS, namespace, [f"s{number}" for number in range(active - active // 2)], "hold")
        await all_running(jobs, active // 2)
        await all_running(sweeps, active - active // 2)
    with (
        operator(place.folder / "idle.log", place.kubeconfig, namespace, tracker) as ours,
        running(place.folder / "noop.log", noop.__name__, str(place.kubeconfig), namespace) as nothing,
    ):
        await asyncio.sleep(settle)
        before, also = ours.cpu_seconds, nothing.cpu_seconds
        await asyncio.sleep(window)
        share, least = (ours.cpu_seconds - before) / window, (nothing.cpu_seconds - also) / window
        more = ours.rss_mb - nothing.rss_mb
        entries = [
            Entry("idle_cpu", share * 100, "% of a core", least * 100, share / least if least else None),
            Entry("idle_rss_over_noop_mb", more, "MB", nothing.rss_mb, ours.rss_mb / nothing.rss_mb),
        ]
    await jobs.stop()
    await sweeps.stop()
    return entries


async def all_running(seen: Follower, count: int) -> None:
    """Waits until so many resources say Running."""

    def runs(body: dict[str, Any]) -> bool:
        conditions = body.get("status", {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["reason"] == "Running" for c in conditions)

    await seen.until(lambda: sum(map(runs, seen.objects.values())) >= count, 240)


async def measure(options: Options) -> list[Entry]:
    """The baseline's burst, ours, then the rest."""
    count, active, settle, window = (20, 4, 5.0, 5.0) if options.quick else (1000, 100, 20.0, 60.0)
    compared = Comparison([await baseline(options, count)])
    async with bench(options) as place, place.namespace() as namespace:
        with operator(place.folder / "operator.log", place.kubeconfig, namespace, place.tracker.base_url):
            await burst(place, namespace, 1, "warm")
            compared.ours.append(await burst(place, namespace, count))
        rate = measured(f"burst_rate_beside_kueue_{KUEUE}", "jobs/s", [count / compared.ours[0]])
        return [compared.entry("burst_1000", "s"), rate, *await idle(place, namespace, active, settle, window)]


def run(options: Options) -> list[Entry]:
    """The entries."""
    return asyncio.run(measure(options))
