"""apply_to_job: from `kubectl apply` of a FinetuneJob to its Job in the API, ours and the minimal loop's in turn."""

import asyncio
import statistics

from benchmarks.control import minimal
from benchmarks.control.bench import JOBS, TRAININGS, Bench, Follower, bench, job_template
from benchmarks.control.processes import operator, running
from benchmarks.harness import Entry, Options, spread


async def one(place: Bench, namespace: str, jobs: Follower, done: Follower, name: str) -> float:
    """Seconds from the request that creates a resource to the watch event that shows its Job; waits for its end."""
    loop = asyncio.get_running_loop()
    job = f"{name}-t1-1"
    began = loop.time()
    await place.create(TRAININGS, namespace, name)
    await jobs.until(lambda: job in jobs.seen_at, 30)
    await done.until(lambda: (name if done is not jobs else job) in done.done_at, 60)
    return jobs.seen_at[job] - began


async def measure(options: Options) -> list[Entry]:
    """Samples of both, in turn, on one cluster."""
    count, groups = (10, 1) if options.quick else (200, 4)
    async with bench(options) as place, place.namespace() as mine, place.namespace() as theirs:
        ours_jobs, ours_done = await place.follow(JOBS, mine), await place.follow(TRAININGS, mine)
        their_jobs = await place.follow(JOBS, theirs)
        template = place.folder / "job.json"
        with operator(place.folder / "operator.log", place.kubeconfig, mine, place.tracker.base_url):
            await one(place, mine, ours_jobs, ours_done, "warm")
            template.write_text(job_template(ours_jobs.objects["warm-t1-1"]))
            arguments = ["--kubeconfig", str(place.kubeconfig), "--namespace", theirs, "--template", str(template)]
            with running(place.folder / "minimal.log", minimal.__name__, *arguments) as loop:
                await loop.says("ready")
                await one(place, theirs, their_jobs, their_jobs, "warm")
                pairs = []
                for number in range(count):
                    baseline = await one(place, theirs, their_jobs, their_jobs, f"x{number}")
                    pairs.append((baseline, await one(place, mine, ours_jobs, ours_done, f"x{number}")))
    return [entry(pairs, 0.5, "apply_to_job_p50", groups), entry(pairs, 0.99, "apply_to_job_p99", groups)]


def entry(pairs: list[tuple[float, float]], share: float, name: str, groups: int) -> Entry:
    """A quantile of both; the spread is that of the ratios of so many groups of samples."""
    baseline, ours = (quantile([pair[side] for pair in pairs], share) for side in (0, 1))
    size = len(pairs) // groups
    ratios = []
    for start in range(0, size * groups, size):
        group = pairs[start : start + size]
        ratios.append(quantile([pair[1] for pair in group], share) / quantile([pair[0] for pair in group], share))
    return Entry(name, ours * 1e3, "ms", baseline * 1e3, ours / baseline, len(pairs), spread(ratios))


def quantile(figures: list[float], share: float) -> float:
    """The value that this share of the figures does not exceed."""
    return statistics.quantiles(figures, n=100, method="inclusive")[round(share * 100) - 1]


def run(options: Options) -> list[Entry]:
    """The entries."""
    return asyncio.run(measure(options))
