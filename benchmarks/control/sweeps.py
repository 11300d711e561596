"""sweeps_100: what the control plane adds to a trial when 100 sweeps of ten trials, four agents each, run at once.

Trials last half a second. Added is, of each sweep, the time from its creation to Complete less that of its trials one
after the other on four agents (three of ten), divided by those three: what a trial waits for an agent, an agent for its
trial, and the resource for its end.

The baseline is W&B Launch's agent as published (wandb/sdk/launch/agent/agent.py: `AGENT_POLLING_INTERVAL = 10`): it
looks at its queue, starts what it finds up to its limit as a Job each, and looks again after ten seconds. Its own agent
needs queue endpoints of W&B's server, so the loop is played here, with the same Jobs on the same cluster. It waits ten
seconds whatever the load, so fewer sweeps show it.
"""

import asyncio
import json
import math
import statistics
from typing import Any

from benchmarks.control.bench import JOBS, SWEEPS, Bench, bench
from benchmarks.control.load import template
from benchmarks.control.processes import operator
from benchmarks.harness import Entry, Options, spread

TRIALS, AGENTS, SECONDS = 10, 4, 0.5
ROUNDS = math.ceil(TRIALS / AGENTS)
POLLING_INTERVAL = 10.0


async def ours(place: Bench, count: int) -> list[float]:
    """Added seconds per trial, of each sweep."""
    loop = asyncio.get_running_loop()
    async with place.namespace() as namespace:
        done = await place.follow(SWEEPS, namespace)
        with operator(place.folder / "operator.log", place.kubeconfig, namespace, place.tracker.base_url):
            await place.create(SWEEPS, namespace, "warm", "0.1", trials=1)
            await done.until(lambda: done.done_at, 120)
            began = {}
            for number in range(count):
                name = f"s{number}"
                began[name] = loop.time()
                await place.create(SWEEPS, namespace, name, str(SECONDS), trials=TRIALS, parallelism=AGENTS)
            await done.until(lambda: len(done.done_at) > count, 600)
        await done.stop()
        for name in began:
            trials = done.objects[name]["status"]["trials"]
            assert (trials["total"], trials["succeeded"]) == (TRIALS, TRIALS), f"{name}: {trials}"
        return [(done.done_at[name] - began[name] - ROUNDS * SECONDS) / ROUNDS for name in began]


async def launch(place: Bench, count: int, job: dict[str, Any]) -> list[float]:
    """The same with a queue that is looked at each ten seconds, of sweeps that start at random moments of that."""
    loop = asyncio.get_running_loop()
    async with place.namespace() as namespace:
        jobs = await place.follow(JOBS, namespace)

        async def sweep(name: str, delay: float) -> float:
            await asyncio.sleep(delay)
            began = loop.time()
            queue = [f"{name}-{number}" for number in range(TRIALS)]
            await asyncio.sleep(POLLING_INTERVAL - delay)  # the agent's next look
            started: set[str] = set()
            while queue:
                running = len(started - jobs.done_at.keys())
                for _ in range(min(AGENTS - running, len(queue))):
                    item = queue.pop(0)
                    await place.client.create(JOBS, {"metadata": {"name": item}, "spec": job}, namespace)
                    started.add(item)
                if queue:
                    await asyncio.sleep(POLLING_INTERVAL)
            await jobs.until(lambda: started <= jobs.done_at.keys(), 60)
            return (loop.time() - began - ROUNDS * SECONDS) / ROUNDS

        delays = [POLLING_INTERVAL * (number + 0.5) / count for number in range(count)]
        added = await asyncio.gather(*(sweep(f"l{number}", delay) for number, delay in enumerate(delays)))
        await jobs.stop()
        return added


async def measure(options: Options) -> list[Entry]:
    """The baseline, then ours."""
    count, few = (2, 2) if options.quick else (100, 10)
    async with bench(options) as place:
        job = json.loads(await template(place))["spec"]
        annotations = job["template"]["metadata"]["annotations"]
        annotations["finetune.dev/trial"] = json.dumps({"mode": "train", "dataset": {"uri": f"bench:{SECONDS}"}})
        baseline = statistics.mean(await launch(place, few, job))
        added = await ours(place, count)
    mean = statistics.mean(added)
    return [Entry("sweeps_100", mean, "s/trial", baseline, mean / baseline, count, spread(added))]


def run(options: Options) -> list[Entry]:
    """The entries."""
    return asyncio.run(measure(options))
