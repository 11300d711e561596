"""`python -m benchmarks [NAME ...]`: run benchmarks, print and write their figures."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import BENCH_DIR, Entry, Options, UnavailableError, write
from benchmarks.registry import BENCHMARKS, Benchmark


def line(entry: Entry, benchmark: Benchmark) -> str:
    """One figure for people: value, baseline, ratio, and whether it holds what it has to."""
    text = f"  {entry.name:<34} {entry.value:>10.4g} {entry.unit:<18}"
    if entry.ratio is not None:
        text += f" baseline {entry.baseline:>10.4g}  ratio {entry.ratio:>6.3f} +-{entry.spread / 2:.0%}"
    target = benchmark.targets.get(entry.name)
    return text if target is None else f"{text}  {'holds' if target.met_by(entry) else 'MISSES'} {target}"


def measure(name: str, options: Options, folder: Path) -> int:
    """Run one benchmark in this process; 0 also where this machine cannot run it."""
    benchmark = BENCHMARKS[name]
    print(f"{name}: {benchmark.about}", flush=True)
    started = time.perf_counter()
    try:
        entries = benchmark.run(options)
    except UnavailableError as error:
        print(f"  not measured here: {error}", flush=True)
        return 0
    took = time.perf_counter() - started
    write(name, entries, took, folder)
    for entry in entries:
        print(line(entry, benchmark), flush=True)
    print(f"  ({took:.0f} s)", flush=True)
    return 0


def main() -> int:
    """Run the benchmarks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; without any, all")
    parser.add_argument("--out", type=Path, default=BENCH_DIR, help="folder for the JSON (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="miniature sizes: proves that it runs, nothing more")
    parser.add_argument("--kubeconfig", type=Path, help="measure the control plane on this cluster, not the sandbox")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    names = args.names or list(BENCHMARKS)
    if len(names) == 1:
        return measure(names[0], Options(args.quick, args.kubeconfig), args.out)
    # A process each: threads, allocators and caches of one benchmark do not weigh on the next.
    options = [option for option in sys.argv[1:] if option not in args.names]
    codes = [subprocess.run([sys.executable, "-m", "benchmarks", name, *options]).returncode for name in names]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
