"""`python -m benchmarks.search`: measure, and write `search.json` and, with every seed's numbers, `search/seeds.json`.

Finished trials are remembered below `build/`: what was interrupted goes on where it was.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import BENCH_DIR
from benchmarks.search.comparison import Protocol, compare
from benchmarks.search.figures import CLAIMS, entries
from benchmarks.search.speech import Sizes
from benchmarks.search.statistics import LEAST_SEEDS
from benchmarks.search.workers import at_once

QUICK = Protocol(sizes=Sizes(train=16, validation=8, test=8), trials=3, explore=2, refine=1, mini=2)


Job = tuple[int, Protocol, Path, Path]


def _in_turn(jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        yield compare(*job)


def main() -> int:
    """Measure all seeds; 0 whether the targets are met or not, since a miss is a result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--seeds", type=int, default=LEAST_SEEDS, help="0 to N - 1, all of them (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=BENCH_DIR, help="folder for the JSON (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("build/cache"), help="base models and speech")
    parser.add_argument("--quick", action="store_true", help="miniature size: proves that it runs, nothing more")
    arguments = parser.parse_args()
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TQDM_DISABLE": "1",
    }
    folder: Path = arguments.out / "search"
    folder.mkdir(parents=True, exist_ok=True)
    protocol = QUICK if arguments.quick else Protocol()
    jobs = [(seed, protocol, arguments.cache.resolve(), folder.resolve() / "trials") for seed in range(arguments.seeds)]
    seeds = []
    for measured in _in_turn(jobs) if arguments.workers == 1 else at_once(compare, jobs, arguments.workers):
        seeds.append(measured)
        print(f"seed {measured['seed']} is measured", flush=True)
    (folder / "seeds.json").write_text(json.dumps(seeds, indent=1) + "\n")
    found = entries(seeds)
    (arguments.out / "search.json").write_text(json.dumps(found, indent=2) + "\n")
    for entry in found:
        claim = CLAIMS[entry["name"]]
        verdict = "holds" if claim.met_by(entry["value"]) else "MISSES"
        bound = f"{'>=' if claim.above else '<='} {claim.target:g}"
        print(
            f"  {entry['name']:<32} {entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]  {verdict} {bound}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
