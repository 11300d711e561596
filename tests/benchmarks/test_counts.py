"""Counts that do not depend on the machine's speed: requests of the operator, modules that it imports."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from benchmarks.control.bench import SWEEPS, TRAININGS, Bench, bench
from benchmarks.control.counts import FLOOR, POLL_SECONDS, steady, writes
from benchmarks.control.processes import WITHOUT_CLIENT
from benchmarks.harness import Options

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place() -> AsyncIterator[Bench]:
    async with bench(Options()) as found:
        yield found


@pytest.mark.asyncio(loop_scope="module")
async def test_writes_of_a_finetune_jobs_life(place: Bench):
    made = await writes(place, TRAININGS, 2)
    assert made.total() <= 2 * (FLOOR[TRAININGS] + 2), made


@pytest.mark.asyncio(loop_scope="module")
async def test_writes_of_a_sweep_runs_life(place: Bench):
    made = await writes(place, SWEEPS, 1, "--poll-seconds", "60")  # no life is so long that it tells of progress
    assert made.total() <= FLOOR[SWEEPS] + 2, made


@pytest.mark.asyncio(loop_scope="module")
async def test_at_rest_nothing_is_read_and_the_tracker_is_asked_once_for_all_sweeps(place: Bench):
    reads, asked = await steady(place, 6, 15.0)
    assert not reads
    looks = 60 / (POLL_SECONDS * 0.8)
    assert 0 < asked <= looks * 1.5


def test_modules_that_the_operator_imports():
    """A module too many is memory in every installation: a few hundred are kopf's, aiohttp's and pydantic's."""
    code = "import finetune_operator.handlers, sys; print(len(sys.modules)); print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(WITHOUT_CLIENT)}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    count, names = answer.stdout.split("\n")[:2]
    assert int(count) < 650
    heavy = {"torch", "transformers", "wandb", "numpy", "pandas", "scipy", "starlette", "finetune_sandbox"}
    assert not heavy & {name.partition(".")[0] for name in names.split()}
