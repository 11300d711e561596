import json
import subprocess
import sys

import pytest

from benchmarks.harness import Comparison, Entry, Target, alternate, measured, read, write
from benchmarks.registry import BENCHMARKS


def test_baseline_and_ours_are_measured_in_turn():
    order = []
    figures = iter([2.0, 1.0, 4.0, 1.0, 2.0, 2.0])

    def take(who):
        order.append(who)
        return next(figures)

    comparison = alternate(lambda: take("baseline"), lambda: take("ours"), pairs=3)
    assert order == ["baseline", "ours"] * 3
    assert comparison.entry("x", "s") == Entry("x", 1.0, "s", baseline=2.0, ratio=0.5, samples=3, spread=1.5)


def test_the_ratio_is_of_pairs_not_of_medians():
    # The machine slowed by ten in the second pair: both did, and the ratio does not notice.
    assert Comparison(baseline=[1.0, 10.0, 1.0], ours=[2.0, 20.0, 2.0]).entry("x", "s").ratio == 2.0


def test_a_figure_without_a_baseline():
    assert measured("x", "MB", [3.0, 4.0, 5.0]) == Entry("x", 4.0, "MB", samples=3, spread=0.5)
    assert measured("x", "writes", [0.0]).spread == 0.0


@pytest.mark.parametrize(
    ("target", "entry", "met"),
    [
        (Target(at_most=1.5), Entry("x", 9, "s", 6, 1.5), True),
        (Target(at_most=1.5), Entry("x", 9, "s", 5, 1.8), False),
        (Target(at_least=2), Entry("x", 9, "1/s", 5, 1.8), False),
        (Target(at_most=10, of="value"), Entry("x", 9, "s"), True),
        (Target(at_most=10), Entry("x", 9, "s"), False),
    ],
)
def test_targets(target, entry, met):
    assert target.met_by(entry) is met


def test_targets_in_words():
    assert str(Target(at_least=1.5)) == "ratio >= 1.5"
    assert str(Target(at_most=10, of="value")) == "value <= 10"


def test_what_is_written_can_be_read(tmp_path):
    entries = [Entry("x", 1.0, "s", 2.0, 0.5, 3, 0.1), Entry("y", 1.0, "s")]
    path = write("both", entries, 1.0, tmp_path)
    assert path == tmp_path / "both.json"
    assert read(path) == entries
    assert set(json.loads(path.read_text())[0]) == {"name", "value", "unit", "baseline", "ratio", "samples", "spread"}
    about = json.loads((tmp_path / "machine" / "both.json").read_text())
    assert about["cores"]
    assert about["torch"]


def test_every_target_is_of_a_benchmark_that_can_be_found():
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.about, name
        assert benchmark.module.startswith("benchmarks."), name


def bench(*arguments):
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], capture_output=True, text=True)


def test_a_name_that_does_not_exist_is_refused():
    done = bench("wer_1k")
    assert done.returncode == 2
    assert "no benchmark named wer_1k" in done.stderr
