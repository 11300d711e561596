"""Requests that the operator makes, counted by proxies between it, the API server and the tracker.

The floor of a life is what must be written for what the API promises, whatever the design:

- A FinetuneJob: the first status, which says Reconciling, or tools take the resource for done
  (1); the Job (1); the last status (1); one Event for each of the two transitions (2). For pods that end at once there
  is no `Running` to be told of.
- A SweepRun: the first status and Event (2); a finalizer, since deletion must cancel the sweep, and its removal (2);
  the Job (1); the status and Event with the sweep's id and that agents start (2), and that they run (2); the last
  status and Event (2). Trial counts in between are progress and not in the floor.

Ours makes two further writes: the ConfigMap `<name>-best`, and the time to live of the finished Job, which cannot be
set before its result is recorded.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from finetune_sandbox.client import Access, Resource

from benchmarks.control.bench import SWEEPS, TRAININGS, Bench, bench
from benchmarks.control.processes import Measured, operator
from benchmarks.control.proxy import Proxy
from benchmarks.harness import Entry, Options, measured

WRITES = ("POST", "PUT", "PATCH", "DELETE")
FLOOR = {TRAININGS: 5, SWEEPS: 11}
POLL_SECONDS = 5.0
_QUIET = 6.0
"""Seconds without a request after which a life is over; what is looked at again is looked at after five."""


@dataclass
class Counted:
    """An operator behind proxies."""

    api: Proxy
    tracker: Proxy
    process: Measured

    async def quiet(self, seconds: float = _QUIET) -> None:
        """Waits until no write has been made for some time."""
        loop = asyncio.get_running_loop()
        last, since = self.api.total(*WRITES), loop.time()
        while loop.time() - since < seconds:
            await asyncio.sleep(0.1)
            if (now := self.api.total(*WRITES)) != last:
                last, since = now, loop.time()


@contextlib.asynccontextmanager
async def counted(place: Bench, namespace: str, *arguments: str) -> AsyncIterator[Counted]:
    """Runs the operator behind proxies."""
    api, tracker = (
        Proxy(Access.from_kubeconfig(place.kubeconfig)),
        Proxy(Access(place.tracker.base_url, None, None, None)),
    )
    async with api.listening(), tracker.listening():
        kubeconfig = api.kubeconfig(place.folder / "proxy.kubeconfig")
        with operator(place.folder / "counted.log", kubeconfig, namespace, tracker.url, *arguments) as process:
            yield Counted(api, tracker, process)


async def writes(place: Bench, resource: Resource, lives: int, *arguments: str) -> Counter[str]:
    """Writes of so many lives one after the other, by what is written."""
    sizes = {} if resource == TRAININGS else {"trials": 10, "parallelism": 4}
    work = "0" if resource == TRAININGS else "0.5"
    async with place.namespace() as namespace, counted(place, namespace, *arguments) as run:
        done = await place.follow(resource, namespace)
        await place.create(resource, namespace, "warm", work, **sizes)
        await done.until(lambda: "warm" in done.done_at, 120)
        await run.quiet()
        before = run.api.counts.copy()
        for number in range(lives):
            await place.create(resource, namespace, f"x{number}", work, **sizes)
            await done.until(lambda: len(done.done_at) > number + 1, 120)  # noqa: B023 - is over within the turn
        await run.quiet()
        await done.stop()
        return Counter({what: n for what, n in (run.api.counts - before).items() if what.split()[0] in WRITES})


async def steady(place: Bench, running: int, seconds: float) -> tuple[Counter[str], float]:
    """Reads (not watches), and requests to the tracker a minute, while resources run and nothing happens."""
    arguments = ("--poll-seconds", str(POLL_SECONDS))
    async with place.namespace() as namespace, counted(place, namespace, *arguments) as run:
        jobs, sweeps = await place.follow(TRAININGS, namespace), await place.follow(SWEEPS, namespace)
        for number in range(running):
            await place.create(TRAININGS, namespace, f"t{number}", "hold")
            await place.create(SWEEPS, namespace, f"s{number}", "hold", trials=1)
        await jobs.until(lambda: all(_running(body) for body in jobs.objects.values()), 120)
        await sweeps.until(lambda: all(_running(body) for body in sweeps.objects.values()), 120)
        await run.quiet(2.0)
        before, asked = run.api.counts.copy(), run.tracker.counts.total()
        await asyncio.sleep(seconds)
        await jobs.stop()
        await sweeps.stop()
        reads = Counter({what: n for what, n in (run.api.counts - before).items() if what.startswith("GET ")})
        return reads, (run.tracker.counts.total() - asked) * 60 / seconds


async def requests_per_minute(place: Bench, sweeps: int, seconds: float) -> float:
    """Requests to the tracker while so many sweeps of one project run, all agents within a trial."""
    async with place.namespace() as namespace, counted(place, namespace, "--poll-seconds", str(POLL_SECONDS)) as run:
        seen = await place.follow(SWEEPS, namespace)
        for number in range(sweeps):
            await place.create(SWEEPS, namespace, f"s{number}", "hold", trials=1)
        await seen.until(lambda: sum(map(_running, seen.objects.values())) >= sweeps, 240)
        await run.quiet(2.0)
        before = run.tracker.counts.total()
        await asyncio.sleep(seconds)
        await seen.stop()
        return (run.tracker.counts.total() - before) * 60 / seconds


def _running(body: dict[str, Any]) -> bool:
    conditions = body.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["reason"] == "Running" for c in conditions)


async def measure(options: Options) -> list[Entry]:
    """All counts."""
    lives, running, window, sizes = (2, 2, 5.0, (1, 3)) if options.quick else (10, 10, 75.0, (1, 10, 100))
    entries = []
    async with bench(options) as place:
        for name, resource in (("api_writes_finetunejob", TRAININGS), ("api_writes_sweeprun", SWEEPS)):
            number = lives if resource == TRAININGS else max(1, lives // 3)
            made = await writes(place, resource, number)
            value = made.total() / number
            entries.append(Entry(name, value, "writes", FLOOR[resource], value / FLOOR[resource], number))
        reads, _ = await steady(place, running, window)
        entries.append(measured("api_reads_steady", f"reads in {window:g} s", [reads.total()]))
        for sweeps in sizes:
            rate = await requests_per_minute(place, sweeps, min(window, 30.0))
            alone = sweeps * 60 / POLL_SECONDS
            entries.append(Entry(f"tracker_requests_{sweeps}", rate, "requests/min", alone, rate / alone))
    return entries


def run(options: Options) -> list[Entry]:
    """The entries."""
    return asyncio.run(measure(options))
