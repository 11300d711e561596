"""`python -m benchmarks.report`: docs/benchmarks.md from the figures in build/bench."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import BENCH_DIR, Entry, read
from benchmarks.registry import BENCHMARKS, Benchmark

PAGE = Path("docs/benchmarks.md")
_INTRODUCTION = """# Benchmarks

Ours and the baseline are measured in one run, in turn, on one machine: a busy or throttled machine slows both. A ratio
is ours divided by the baseline, the median of the pairs; its spread is the largest less the smallest, as a share of it.
`make bench` measures all of it (`make bench BENCH=NAME` one, `--kubeconfig FILE` on a cluster of yours instead of the
sandbox), `make bench-docs` writes this page from the figures in `build/bench`. Targets that are missed are in the table
like those that hold.
"""


def row(entry: Entry, benchmark: Benchmark) -> str:
    """One line of a table."""
    target = benchmark.targets.get(entry.name)
    verdict = "" if target is None else f"{'holds' if target.met_by(entry) else '**missed**'}: {target}"
    baseline = "" if entry.baseline is None else f"{entry.baseline:.4g}"
    ratio = "" if entry.ratio is None else f"{entry.ratio:.3g}"
    spread = f"{entry.spread:.0%}" if entry.samples > 1 else ""
    cells = (f"`{entry.name}`", f"{entry.value:.4g}", entry.unit, baseline, ratio, str(entry.samples), spread, verdict)
    return f"| {' | '.join(cells)} |"


def section(name: str, benchmark: Benchmark, entries: Sequence[Entry], about: dict[str, str]) -> str:
    """One benchmark: what it measures, its figures, where and when."""
    head = "| | ours | unit | baseline | ratio | samples | spread | target |\n|---|---|---|---|---|---|---|---|"
    machine = ", ".join(
        [f"{about['cores']} cores of {about['cpu']}", about["memory"]]
        + [f"{key} {about[key]}" for key in about if key not in ("date", "cpu", "cores", "memory", "seconds")]
    )
    missed = {e.name for e in entries if (t := benchmark.targets.get(e.name)) is not None and not t.met_by(e)}
    causes = [f"Why `{name}` misses: {cause}.\n" for name, cause in benchmark.causes.items() if name in missed]
    when = f"{about['date']}, {about['seconds']} s, {machine}."
    return "\n".join(
        [f"## {name}\n", f"{benchmark.about}.\n", head, *(row(e, benchmark) for e in entries), "", *causes, when, ""]
    )


def page(folder: Path) -> str:
    """The whole page, from the figures in a folder; benchmarks without figures are named as such."""
    parts, missing = [_INTRODUCTION], []
    for name, benchmark in BENCHMARKS.items():
        path = folder / f"{name}.json"
        if path.exists():
            about = json.loads((folder / "machine" / f"{name}.json").read_text(encoding="utf-8"))
            parts.append(section(name, benchmark, read(path), about))
        else:
            missing.append(f"- `{name}`: {benchmark.about}.")
    if missing:
        parts.append("## Not measured here\n\n" + "\n".join(missing) + "\n")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--from", dest="folder", type=Path, default=BENCH_DIR, help="figures (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page (default: %(default)s)")
    arguments = parser.parse_args(argv)
    arguments.out.write_text(page(arguments.folder), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
