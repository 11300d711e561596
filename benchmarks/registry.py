"""Every benchmark by name: the module that runs it, and what its entries have to hold."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.harness import Entry, Options, Target


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        module: Holds `run(options) -> list[Entry]`; imported when it runs, so that the list of them costs nothing.
        about: What it measures, against what.
        targets: By name of the entry.
    """

    module: str
    about: str
    targets: Mapping[str, Target] = field(default_factory=dict)

    def run(self, options: Options) -> list[Entry]:
        """Measure, in this process."""
        entries: list[Entry] = importlib.import_module(self.module).run(options)
        return entries


BENCHMARKS: dict[str, Benchmark] = {
    "wer_100k": Benchmark(
        "benchmarks.training.wer",
        "WER, CER, per-type WER and a paired bootstrap (1,000 resamples) on 100,000 utterances; "
        "WER alone beside a plain jiwer loop",
        {"wer_100k_seconds": Target(at_most=10, of="value"), "wer_100k_wer_alone": Target(at_most=1.2)},
    ),
}
