"""From the measurements of all seeds to the figures of `search.json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.search.statistics import Middle, median, share

Measured = Mapping[str, Any]
"""What `comparison.compare` gives for one seed."""


@dataclass(frozen=True)
class Claim:
    """A figure of `search.json`.

    Attributes:
        of: The figure of one seed.
        target: Bound on the median, or on the share.
        above: Whether the target is a lower bound.
        about: What it says, in words.
        is_share: The figure of a seed is a yes or no, and that of all the share of seeds with a yes.
    """

    of: Callable[[Measured], float]
    target: float
    above: bool
    about: str
    is_share: bool = False

    def met_by(self, value: float) -> bool:
        """Whether a median, or a share, meets the target."""
        return value >= self.target if self.above else value <= self.target

    def over(self, seeds: Sequence[Measured]) -> Middle:
        """The figure of all seeds together."""
        figures = [self.of(seed) for seed in seeds]
        return share([bool(figure) for figure in figures]) if self.is_share else median(figures)


def best_vs_default(seed: Measured) -> float:
    """Share of the default configuration's test WER that the best run of the plain sweep does away with."""
    return 1 - float(seed["plain"]["test_wer"]) / float(seed["default"]["test_wer"])


def staged_ratio(seed: Measured) -> float:
    """Steps until the staged search reaches the plain one's validation WER, over the plain one's steps.

    A staged search that has used up its trials without reaching it is counted with what it has used, but not as less
    than the plain one.
    """
    ratio = float(seed["staged"]["steps"]) / float(seed["plain"]["steps"])
    return ratio if seed["staged_reached"] else max(1.0, ratio)


def hyperband_saved(seed: Measured) -> float:
    """Share of the plain sweep's steps that early termination saves, on the same draws."""
    return 1 - float(seed["hyperband"]["steps"]) / float(seed["plain"]["steps"])


def restored(seed: Measured) -> float:
    """Gain of a round over the model in service, as a share of what a full sweep gains; test WERs after the shift.

    The round's result is the configuration in service after it, trained on the new data: the challenger if it has
    replaced the incumbent, else the incumbent.
    """
    shifted = seed["shifted"]
    service = float(shifted["service_test_wer"])
    return (service - float(shifted["mini"]["test_wer"])) / (service - float(shifted["full"]["test_wer"]))


def continuous_ratio(seed: Measured) -> float:
    """Steps of the round over those of a full sweep, both with early termination."""
    return float(seed["shifted"]["mini"]["steps"]) / float(seed["shifted"]["full"]["steps"])


def steady_replaced(seed: Measured) -> float:
    """1 if a round has replaced the configuration in service though the speech has not shifted, else 0."""
    return float(seed["steady"]["replaced"])


CLAIMS: dict[str, Claim] = {
    "best_vs_default_wer_reduction": Claim(
        best_vs_default, 0.30, True, "Best of 20 random trials against default hyperparameters: test WER that goes away"
    ),
    "staged_steps_ratio": Claim(
        staged_ratio, 0.60, False, "Steps of a staged search to the validation WER of 20 random trials, of theirs"
    ),
    "hyperband_steps_saved": Claim(
        hyperband_saved, 0.35, True, "Steps that early termination saves of the same 20 random trials"
    ),
    "continuous_gain_restored": Claim(
        restored, 0.80, True, "After a shift: gain of a round of 5 trials, of a full sweep's gain"
    ),
    "continuous_steps_ratio": Claim(
        continuous_ratio, 0.25, False, "After a shift: steps of the round, of a full sweep's steps"
    ),
    "continuous_steady_replaced": Claim(
        steady_replaced, 0.0, False, "Without a shift: seeds on which the round replaced the configuration", True
    ),
}


def entries(seeds: Sequence[Measured]) -> list[dict[str, Any]]:
    """`search.json`: `{name, value, low, high, seeds}` of each claim, the value being the median or share of seeds."""
    found = []
    for name, claim in CLAIMS.items():
        middle = claim.over(seeds)
        found.append({"name": name, "value": middle.value, "low": middle.low, "high": middle.high, "seeds": len(seeds)})
    return found
