"""What every benchmark shares: entries, comparison in alternation, files under build/bench.

A benchmark is a module with `run(options) -> list[Entry]`, named in `benchmarks.registry`. It measures ours and the
baseline in one run and in turn (baseline, ours, baseline, ours, ...), so that a machine that is busy, warm or throttled
slows both; what is reported is the median of the pairs' ratios.
"""

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

BENCH_DIR = Path("build/bench")
PACKAGES = ("torch", "transformers", "wandb", "jiwer", "kopf", "aiohttp", "numpy")
"""Whose versions stand beside the figures."""


class UnavailableError(Exception):
    """This machine lacks what the benchmark needs, such as a GPU; the message says what."""


@dataclass(frozen=True)
class Options:
    """How to run a benchmark.

    Attributes:
        quick: Miniature size, seconds instead of minutes: proves that it runs, the figures mean nothing.
        kubeconfig: A cluster to measure on; without it, the sandbox.
    """

    quick: bool = False
    kubeconfig: Path | None = None


@dataclass(frozen=True)
class Entry:
    """One measured figure, as it is written.

    Attributes:
        name: What was measured.
        value: Ours, in `unit`; the median over the samples.
        unit: Of value and baseline.
        baseline: The same of the baseline, in the same run; None where there is nothing to compare with.
        ratio: Median over the pairs of ours divided by the baseline; None without a baseline.
        samples: Number of pairs (or of measurements, without a baseline).
        spread: Largest minus smallest ratio (or value) of the samples, as a fraction of the median.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    samples: int = 1
    spread: float = 0.0


@dataclass(frozen=True)
class Target:
    """What a figure has to hold: a bound on its ratio, or on its value if `of` says so."""

    at_most: float | None = None
    at_least: float | None = None
    of: str = "ratio"

    def __str__(self) -> str:
        """The bound in words, such as `ratio <= 1.5`."""
        bounds = [f">= {self.at_least:g}" if self.at_least is not None else ""]
        bounds.append(f"<= {self.at_most:g}" if self.at_most is not None else "")
        return f"{self.of} {' and '.join(bound for bound in bounds if bound)}"

    def met_by(self, entry: Entry) -> bool:
        """Whether an entry holds it; an entry that lacks the figure does not."""
        figure = entry.value if self.of == "value" else entry.ratio
        if figure is None:
            return False
        return (self.at_most is None or figure <= self.at_most) and (self.at_least is None or figure >= self.at_least)


def spread(figures: Sequence[float]) -> float:
    """Largest minus smallest, as a fraction of the median."""
    middle = statistics.median(figures)
    return (max(figures) - min(figures)) / abs(middle) if middle else 0.0


def measured(name: str, unit: str, figures: Sequence[float]) -> Entry:
    """The entry of a figure that is compared with nothing."""
    return Entry(name, statistics.median(figures), unit, samples=len(figures), spread=spread(figures))


@dataclass
class Comparison:
    """Figures of the baseline and of ours, pair by pair."""

    baseline: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the baseline, per pair."""
        return [ours / baseline for ours, baseline in zip(self.ours, self.baseline, strict=True)]

    def entry(self, name: str, unit: str) -> Entry:
        """The entry of the comparison."""
        ratios = self.ratios
        return Entry(
            name,
            statistics.median(self.ours),
            unit,
            baseline=statistics.median(self.baseline),
            ratio=statistics.median(ratios),
            samples=len(ratios),
            spread=spread(ratios),
        )


def alternate(baseline: Callable[[], float], ours: Callable[[], float], pairs: int) -> Comparison:
    """Measure both in turn.

    Args:
        baseline: Does the work once and returns its figure (seconds, utterances per second, ...).
        ours: The same of ours, in the same unit.
        pairs: How often to measure each.
    """
    comparison = Comparison()
    for _ in range(pairs):
        comparison.baseline.append(baseline())
        comparison.ours.append(ours())
    return comparison


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def machine() -> dict[str, str]:
    """The machine, the versions and the time: what a reader needs beside a figure."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    about = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**20:.0f} GiB",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        with _ignore_missing():
            about[package] = metadata.version(package)
    return about


@contextmanager
def _ignore_missing() -> Iterator[None]:
    try:
        yield
    except metadata.PackageNotFoundError:
        return


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def write(benchmark: str, entries: Sequence[Entry], took: float, folder: Path = BENCH_DIR) -> Path:
    """Write a benchmark's entries to `<benchmark>.json`, and to `machine/<benchmark>.json` where they were measured."""
    about = folder / "machine" / f"{benchmark}.json"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text(json.dumps({**machine(), "seconds": round(took, 1)}, indent=2) + "\n", encoding="utf-8")
    path = folder / f"{benchmark}.json"
    path.write_text(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[Entry]:
    """The entries of a file that `write` wrote."""
    return [Entry(**item) for item in json.loads(path.read_text(encoding="utf-8"))]
