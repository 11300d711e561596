"""The search benchmark: its statistics and figures as tables, and the whole of it once in miniature."""

import json
import math
import subprocess
import sys

import pytest
from finetune_operator import stages
from finetune_operator.api.sweeprun import RefineSpec
from finetune_operator.stages import Stage

from benchmarks.search.comparison import DEFAULT, Cost, Protocol, exhausted, following, listed, reaches
from benchmarks.search.engine import best, search
from benchmarks.search.figures import CLAIMS, entries
from benchmarks.search.report import page
from benchmarks.search.statistics import median, share, sign_test
from benchmarks.search.trials import Trial, Workshop

pytestmark = [
    pytest.mark.filterwarnings("ignore:Valid config keys have changed in V2:UserWarning"),
    pytest.mark.filterwarnings("ignore:The optimal value found for dimension:UserWarning"),
]

SPACE = {
    "learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3},
    "epochs": {"values": [3, 5, 8]},
}


def stage(trials, method="random", **options):
    return Stage("stage", method, trials, SPACE, **options)


@pytest.mark.parametrize(
    ("count", "low", "high", "coverage"),
    [
        (1, 0, 0, 0.0),
        (5, 0, 4, 0.9375),
        (6, 0, 5, 0.96875),
        (8, 0, 7, 0.9921875),
        (9, 1, 7, 0.9609375),
        (20, 5, 14, 0.9586),
    ],
)
def test_the_interval_of_a_median(count, low, high, coverage):
    found = median(range(count))
    assert (found.value, found.low, found.high) == ((count - 1) / 2, low, high)
    assert found.coverage == pytest.approx(coverage, abs=1e-4)


def test_a_median_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        median([])


@pytest.mark.parametrize(
    ("flags", "low", "high"),
    [([False] * 6, 0, 0.459), ([True] * 6, 0.541, 1), ([True, False, False, False, False, False], 0.004, 0.641)],
)
def test_the_interval_of_a_share(flags, low, high):
    found = share(flags)
    assert (found.value, found.low, found.high) == pytest.approx((sum(flags) / 6, low, high), abs=1e-3)


@pytest.mark.parametrize(
    ("differences", "p"), [([], 1.0), ([0, 0], 1.0), ([1] * 6, 2 / 64), ([1, -1], 1.0), ([1, 1, 1, -1, 0], 0.625)]
)
def test_the_sign_test(differences, p):
    assert sign_test(differences) == pytest.approx(p)


def trial(values, *rates, state="finished"):
    history = tuple((10 * (place + 1), rate) for place, rate in enumerate(rates))
    return Trial(values, state, history, 10 * len(rates), 80 * len(rates), (1, 0), (2, 2))


def bowl(values, stop=None):
    """A training whose result is best at a learning rate of 1e-4 and gets better with each epoch."""
    floor = abs(math.log10(values["learning_rate"]) + 4)
    rates = [floor + 1 / epoch for epoch in range(1, values["epochs"] + 1)]
    for done in range(1, len(rates)):
        if stop and stop(rates[:done]):
            return trial(values, *rates[:done], state="killed")
    return trial(values, *rates)


def test_the_same_search_draws_the_same_and_another_does_not():
    one, same, other = (search(bowl, stage(4), draw=name) for name in ("1 plain", "1 plain", "2 plain"))
    assert one == same
    assert [t.values for t in one] != [t.values for t in other]


def test_early_termination_ends_trials_of_the_same_draws_and_saves_their_steps():
    early = {"type": "hyperband", "min_iter": 2, "eta": 3}
    whole = search(bowl, stage(9), draw="1")
    halted = search(bowl, stage(9), draw="1", early=early)
    assert [t.values for t in whole] == [t.values for t in halted]
    assert {t.state for t in halted} == {"finished", "killed"}
    assert sum(t.steps for t in halted) < sum(t.steps for t in whole)


def test_a_stage_is_narrowed_around_the_best_and_seeded_with_what_lies_inside():
    made = search(bowl, stage(12), draw="1")
    refine = stage(2, "bayes", refine=RefineSpec())
    narrowed, seeds = following(refine, SPACE, made)
    block = narrowed["learning_rate"]
    assert 1e-5 <= block["min"] < best(made).values["learning_rate"] < block["max"] <= 1e-3
    assert block["max"] / block["min"] == pytest.approx(10)
    assert best(made) in seeds
    refined = search(bowl, refine, space=narrowed, draw="1", prior=seeds)
    assert all(block["min"] <= t.values["learning_rate"] <= block["max"] for t in refined)


def test_a_search_ends_when_it_is_told_to():
    assert len(search(bowl, stage(9), draw="1", done=lambda made: len(made) == 3)) == 3


def test_a_trial_is_remembered_and_cut_where_it_would_have_been_stopped(tmp_path):
    workshop = Workshop(tmp_path / "model", tmp_path / "data" / "first" / "manifest.jsonl", 0, tmp_path / "memory")
    workshop.__dict__["_identity"] = ["here"]
    runs = []

    def run(values, stop, keep):
        runs.append(values)
        return bowl(values, stop)

    workshop._run = run
    values = {"learning_rate": 1e-5, "epochs": 5}
    stopped = workshop.train(values, lambda rates: len(rates) == 3)
    assert (stopped.state, stopped.steps, len(runs)) == ("killed", 30, 1)
    assert workshop.train(values, lambda rates: len(rates) == 2).steps == 20  # the beginning of what is remembered
    assert len(runs) == 1
    whole = workshop.train(values)  # further than that: trained again
    assert (whole.state, whole.steps, len(runs)) == ("finished", 50, 2)
    assert workshop.train(values) == whole
    again = workshop.train(values, lambda rates: len(rates) == 3)
    assert (again.state, again.history, again.steps, again.utterances) == ("killed", stopped.history, 30, 240)
    assert len(runs) == 2


def measured(seed, *, staged_reached=True, replaced=True, steady_replaced=False, mini=100, default=0.2):
    arm = {"incumbent_test_wer": 0.2, "incumbent_steps": 60}

    def cost(wer, steps):
        values = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 8, "dropout": 0.0, "gradient_accumulation": 1}
        values |= {"warmup_ratio": 0.1, "weight_decay": 0.01}
        known = {"wer": wer, "test_wer": wer, "steps": steps, "utterances": 8 * steps, "trials": 20, "stopped": 3}
        return known | {"hyperparameters": values}

    return {
        "seed": seed,
        "untrained_test_wer": 0.5,
        "default": cost(default, 30),
        "plain": cost(0.1, 1000),
        "hyperband": cost(0.1, 600),
        "staged": cost(0.1, 500),
        "staged_reached": staged_reached,
        "narrowed_holds_best": staged_reached,
        "shifted": arm
        | {"service_test_wer": 0.5, "mini": cost(0.2, mini), "full": cost(0.1, 500), "replaced": replaced},
        "steady": arm | {"service_test_wer": 0.1, "mini": cost(0.1, 100), "replaced": steady_replaced},
    }


@pytest.mark.parametrize(
    ("seed", "figures"),
    [
        (measured(0), [0.5, 0.5, 0.4, 0.75, 0.2, 0.0]),
        (measured(0, staged_reached=False), [0.5, 1.0, 0.4, 0.75, 0.2, 0.0]),  # never dropped, never less than all
    ],
    ids=["all well", "staged search falls short"],
)
def test_the_figures_of_a_seed(seed, figures):
    assert [claim.of(seed) for claim in CLAIMS.values()] == pytest.approx(figures)
    found = entries([seed] * 6)
    assert [entry["value"] for entry in found] == pytest.approx(figures)
    assert all(set(entry) == {"name", "value", "low", "high", "seeds"} for entry in found)


def test_the_page_tells_what_misses():
    text = page([measured(n, staged_reached=n > 3) for n in range(6)])
    assert "| `staged_steps_ratio` |" in text
    assert "| **no** |" in text
    assert "on 2 of 6 seeds" in text
    assert "on 4 of the 4 seeds where it falls short" in text
    assert "`best_vs_default_wer_reduction`: " not in text


def test_the_page_says_why_each_miss_is_one_and_nothing_where_all_is_met():
    bad = measured(0, staged_reached=False, steady_replaced=True, mini=400, default=0.1)
    missed = [name for name, claim in CLAIMS.items() if not claim.met_by(claim.over([bad] * 6).value)]
    text = page([bad] * 6)
    assert missed
    assert all(f"- `{name}`: " in text for name in missed)
    good = measured(0) | {"shifted": measured(0)["shifted"] | {"mini": measured(0)["plain"] | {"steps": 100}}}
    assert "Why what misses" not in page([good] * 6)


def test_all_ways_search_the_same_space_and_the_default_lies_in_it():
    protocol = Protocol()
    whole = stages.parameters(protocol.full())
    assert all(stage.parameters == whole for stage in stages.of(protocol.staged()))
    assert stages.parameters(protocol.round()) == whole
    assert sum(stage.trials for stage in stages.of(protocol.staged())) == protocol.trials
    assert listed(whole, {name: block["values"][0] for name, block in whole.items() if "values" in block})
    assert not listed(whole, dict.fromkeys(whole, 0.5))
    assert whole["learning_rate"]["min"] < DEFAULT["learning_rate"] < whole["learning_rate"]["max"]
    assert {name: DEFAULT[name] in whole[name]["values"] for name in ("batch_size", "epochs")} == {
        "batch_size": True,
        "epochs": True,
    }


def test_a_run_that_was_stopped_neither_reaches_a_goal_nor_ends_a_stage_nor_wins():
    stopped, whole = trial(DEFAULT, 0.1, state="killed"), trial(DEFAULT, 0.4, 0.2, 0.3)
    assert not reaches([stopped, whole], 0.15)
    assert reaches([stopped, whole], 0.2)
    assert best([stopped, whole]) is whole
    assert Cost.of([stopped, whole]).steps == 40
    late = stage(20, min_expected_gain=0.01)
    assert exhausted(late, [whole] * 8)
    assert not exhausted(late, [stopped] * 8)


def test_workers_end_with_the_process_that_started_them():
    job = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    main = f"from benchmarks.search.workers import at_once; list(at_once(exec, [({job!r},)] * 2, 2))"
    process = subprocess.Popen([sys.executable, "-c", main], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.terminate()
        process.communicate(timeout=20)  # returns when nobody holds the pipe any more
    assert len(set(workers)) == 2


@pytest.mark.slow
def test_the_whole_in_miniature(tmp_path):
    command = [sys.executable, "-m", "benchmarks.search", "--quick", "--seeds=1", "--workers=1", f"--out={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "search.json").read_text())
    assert [entry["name"] for entry in found] == list(CLAIMS)
    assert all(math.isfinite(entry["value"]) and entry["seeds"] == 1 for entry in found)
    seeds = json.loads((tmp_path / "search" / "seeds.json").read_text())
    assert 0 < seeds[0]["hyperband"]["steps"] <= seeds[0]["plain"]["steps"]
    assert seeds[0]["plain"]["trials"] == 3
    assert page(seeds).startswith("# What the search buys")
