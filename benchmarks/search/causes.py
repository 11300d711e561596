"""Why a figure misses its target, in a sentence or two for the page, from what was measured."""

from collections.abc import Callable, Sequence

from finetune_operator import stages

from benchmarks.search.comparison import DEFAULT, Protocol
from benchmarks.search.figures import Measured
from benchmarks.search.statistics import median


def _default(seeds: Sequence[Measured]) -> str:
    winners = [seed["plain"]["hyperparameters"] for seed in seeds]
    longer = sum(winner["epochs"] > DEFAULT["epochs"] for winner in winners)
    faster = sum(winner["learning_rate"] > DEFAULT["learning_rate"] for winner in winners)
    space = stages.parameters(Protocol().full())
    rates, bounds = [winner["learning_rate"] for winner in winners], space["learning_rate"]
    ends = [
        f"{name.replace('_', ' ')} {value:g} on {found}"
        for name in ("epochs", "batch_size", "dropout")
        for value in (min(space[name]["values"]), max(space[name]["values"]))
        if (found := sum(winner[name] == value for winner in winners))
    ]
    before = median([seed["untrained_test_wer"] for seed in seeds]).value
    default, best = (median([seed[arm]["test_wer"] for seed in seeds]).value for arm in ("default", "plain"))
    optimism = median([seed["plain"]["test_wer"] - seed["plain"]["wer"] for seed in seeds]).value
    return (
        "the defaults, scaled to the model's width like the space, leave little: they take the test WER from "
        f"{before:.1%} to {default:.1%}, the best run to {best:.1%} (medians). It trains for more epochs than the "
        f"default on {longer} of {len(seeds)} seeds and at a higher rate on {faster} (from {min(rates):.2g} to "
        f"{max(rates):.2g}, in a space from {bounds['min']:.2g} to {bounds['max']:.2g}); at an end of their lists are "
        f"its {', '.join(ends) or 'values on no seed'}. Its test WER is {100 * optimism:+.1f} points from the "
        "validation WER that it was chosen by."
    )


def _staged(seeds: Sequence[Measured]) -> str:
    short = [seed for seed in seeds if not seed["staged_reached"]]
    well = [seed for seed in seeds if seed["staged_reached"]]
    lost, lost_well = (sum(not seed["narrowed_holds_best"] for seed in part) for part in (short, well))
    return (
        f"it falls short on {len(short)} of {len(seeds)} seeds. Its second stage has lost a listed value (batch size, "
        f"epochs, dropout, accumulation) of the plain sweep's best run on {lost} of the {len(short)} seeds where it "
        f"falls short, and on {lost_well} of the {len(well)} others. W&B's Bayesian engine takes trials that early "
        "termination ended for the worst of all, whatever they had reached, and so keeps away from what starts slowly. "
        f"The goal, the lowest of {Protocol().trials} validation WERs, is also luck that as good a search may not have."
    )


def _round(seeds: Sequence[Measured]) -> str:
    alone = [seed["shifted"]["incumbent_steps"] / seed["shifted"]["full"]["steps"] for seed in seeds]
    return (
        "a round's first trial, the configuration in service on the new window, runs to its end, and that alone takes "
        f"{min(alone):.0%} to {max(alone):.0%} of the full sweep's steps: what has won a search trains for long."
    )


def _steady(seeds: Sequence[Measured]) -> str:
    changes = ", ".join(
        f"seed {seed['seed']} from {steady['incumbent_test_wer']:.1%} to {steady['mini']['test_wer']:.1%}"
        for seed in seeds
        if (steady := seed["steady"])["replaced"]
    )
    return (
        "the verdict lets a gain by chance pass once in twenty rounds, and a real one can be found without a shift, "
        f"too, because the best of {Protocol().trials} is not the best there is. Test WERs: {changes}."
    )


def _restored(seeds: Sequence[Measured]) -> str:
    kept = sum(not seed["shifted"]["replaced"] for seed in seeds)
    return (
        f"the configuration in service stays on {kept} of {len(seeds)} seeds, and trained on the new window it is not "
        "as good as the best that a full sweep finds."
    )


def _hyperband(seeds: Sequence[Measured]) -> str:
    stopped = sum(seed["hyperband"]["stopped"] for seed in seeds) / sum(seed["hyperband"]["trials"] for seed in seeds)
    return f"it ends {stopped:.0%} of the trials, none before its third epoch."


CAUSES: dict[str, Callable[[Sequence[Measured]], str]] = {
    "best_vs_default_wer_reduction": _default,
    "staged_steps_ratio": _staged,
    "hyperband_steps_saved": _hyperband,
    "continuous_gain_restored": _restored,
    "continuous_steps_ratio": _round,
    "continuous_steady_replaced": _steady,
}
"""What to say of each figure that misses."""
