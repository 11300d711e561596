"""Continuous adaptation: when a round is due as the data grows, and whether its result replaces what is in service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finetune_operator.search.significance import Utterances, paired_p_value

Goal = Literal["minimize", "maximize"]


def due(cases: int | None, since: int | None, new_cases: int) -> bool:
    """Whether a round is due.

    Args:
        cases: Error cases of the dataset now; None while unknown.
        since: Error cases when the last round began.
        new_cases: New ones that start a round.
    """
    return cases is not None and since is not None and cases - since >= new_cases


@dataclass(frozen=True, slots=True)
class Verdict:
    """The challenger against the configuration in service, both trained and scored on the grown data.

    Attributes:
        replaces: Whether the challenger goes into service.
        relative_improvement: Gain of the metric, positive for the better.
        p_value: One-sided, paired over the test utterances; None when it could not be computed.
        reason: Why, in a sentence.
    """

    replaces: bool
    relative_improvement: float | None
    p_value: float | None
    reason: str


def judge(
    incumbent: float | None,
    challenger: float | None,
    before: Utterances,
    after: Utterances,
    *,
    min_improvement: float,
    significance: float,
    goal: Goal = "minimize",
) -> Verdict:
    """Whether a challenger replaces the configuration in service: better by enough, and not by chance.

    Args:
        incumbent: Metric of the configuration in service, trained anew on the grown data.
        challenger: Metric of the round's best other configuration.
        before: Test utterances of the incumbent's run.
        after: Test utterances of the challenger's run.
        min_improvement: Least relative gain.
        significance: Largest p-value.
        goal: Direction of the metric.
    """
    if incumbent is None:
        return Verdict(False, None, None, "The configuration in service did not finish on the grown data.")
    if challenger is None:
        return Verdict(False, None, None, "No other configuration finished.")
    change = incumbent - challenger if goal == "minimize" else challenger - incumbent
    gain = change / abs(incumbent) if incumbent else 0.0
    p_value = paired_p_value(before, after)
    if gain <= 0 or gain < min_improvement:
        return Verdict(False, gain, p_value, f"Gain {gain:.2%}, less than the {min_improvement:.2%} asked for.")
    if p_value is None:
        return Verdict(False, gain, None, "The runs report no errors of single utterances to compare.")
    if p_value > significance:
        return Verdict(False, gain, p_value, f"Gain {gain:.2%} may be chance (p = {p_value:.3g}).")
    return Verdict(True, gain, p_value, f"Gain {gain:.2%} (p = {p_value:.3g}).")
