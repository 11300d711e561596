"""One best configuration per group of error cases: chosen on the validation set, judged on the test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_operator.search.significance import Utterances, holm, paired_p_value


@dataclass(frozen=True, slots=True)
class Verdict:
    """A specialist against the general configuration, on the test utterances of its group.

    Attributes:
        wer: Its word error rate; None when it is not known.
        general_wer: That of the general configuration.
        relative_improvement: (general - specialist) / general.
        p_value: One-sided, paired, adjusted for the number of groups.
        significant: Whether it is better, and not by chance.
    """

    wer: float | None
    general_wer: float | None
    relative_improvement: float | None
    p_value: float | None
    significant: bool


def choose(general: str, rates: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The run of the least word error rate in each group; the general one wins a tie.

    Args:
        general: Run of the general configuration.
        rates: Of each run its validation word error rate by group.
    """
    groups = sorted({group for found in rates.values() for group in found})
    return {
        group: min(
            (run for run in rates if group in rates[run]), key=lambda run: (rates[run][group], run != general, run)
        )
        for group in groups
    }


def judge(
    general: Mapping[str, Utterances], specialists: Mapping[str, Mapping[str, Utterances]], significance: float
) -> dict[str, Verdict]:
    """Holds each specialist against the general configuration.

    Args:
        general: Test utterances of the general run by group.
        specialists: For each group the test utterances, by group, of the run that was chosen for it.
        significance: Largest adjusted p-value that counts.
    """
    nothing = Utterances()
    pairs = {group: (general.get(group, nothing), found.get(group, nothing)) for group, found in specialists.items()}
    raw = {group: paired_p_value(*pair) for group, pair in pairs.items()}
    known = [group for group, p_value in raw.items() if p_value is not None]
    adjusted = dict(zip(known, holm([raw[group] or 0.0 for group in known]), strict=True))
    verdicts = {}
    for group, (before, after) in pairs.items():
        gain = None
        if before.rate is not None and after.rate is not None and before.words == after.words:
            gain = (before.rate - after.rate) / before.rate if before.rate else 0.0
        p_value = adjusted.get(group)
        better = gain is not None and gain > 0 and p_value is not None and p_value <= significance
        verdicts[group] = Verdict(after.rate, before.rate, gain, p_value, better)
    return verdicts
