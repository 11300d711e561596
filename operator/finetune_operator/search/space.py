"""Search spaces in W&B's sweep syntax: narrowed around the best runs, and which settings lie inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Parameters = Mapping[str, Mapping[str, Any]]
"""`{hyperparameter: its W&B sweep block}`."""
_ABSENT_BY_CHANCE = 0.2
"""A listed value goes when chance would keep it out of the best runs no more often than this. That is lenient as tests
go, but not to narrow costs something, too; of 8 runs with 3 best ones, a value goes that 3 runs tried (18 in 100)."""


def _same(number: float) -> float:
    return number


@dataclass(frozen=True, slots=True)
class _Range:
    """A distribution between two bounds.

    Attributes:
        scale: From a hyperparameter's value to the axis on which the distribution is even.
        bound: From a bound, as W&B writes it, to that axis.
        write: From that axis to a bound as W&B writes it.
        integer: Whether the values are whole numbers.
    """

    scale: Callable[[float], float] = _same
    bound: Callable[[float], float] = _same
    write: Callable[[float], float] = _same
    integer: bool = False


_EXPONENTS = _Range(scale=math.log)
_LOGARITHMIC = _Range(scale=math.log, bound=math.log, write=math.exp)
_INVERSE_EXPONENTS = _Range(scale=lambda number: -math.log(number))
_RANGES = {
    "uniform": _Range(),
    "q_uniform": _Range(),
    "int_uniform": _Range(integer=True),
    "log_uniform": _EXPONENTS,
    "q_log_uniform": _EXPONENTS,
    "log_uniform_values": _LOGARITHMIC,
    "q_log_uniform_values": _LOGARITHMIC,
    "inv_log_uniform": _INVERSE_EXPONENTS,
    "inv_log_uniform_values": _LOGARITHMIC,
}
"""Distributions with `min` and `max`. W&B's `log_uniform` family without `_values` has exponents of e as its bounds;
`inv_log_uniform_values` differs from `log_uniform_values` in direction alone."""
_BELLS: dict[str, Callable[[float], float]] = {
    "normal": _same,
    "q_normal": _same,
    "log_normal": math.log,
    "q_log_normal": math.log,
}
"""Distributions with `mu` and `sigma`, and the scale on which they are normal."""


def distribution(block: Mapping[str, Any]) -> str:
    """The distribution of a parameter block, inferred as W&B does when it is not named."""
    if named := block.get("distribution"):
        return str(named)
    if "value" in block:
        return "constant"
    if "values" in block:
        return "categorical_w_probabilities" if "probabilities" in block else "categorical"
    whole = all(isinstance(block.get(key), int) for key in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def refine(
    parameters: Parameters,
    best_runs: Sequence[Mapping[str, Any]],
    factor: float = 2,
    others: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The search space narrowed around the best runs; W&B's sweep syntax in and out.

    A range becomes its `factor`-th part on the axis on which it is drawn evenly (logarithmic for logarithmic ranges):
    centred on the mean of the best runs, moved so that the very best stays inside, and cut at the original bounds. A
    bell keeps its family, moves to the mean, and has its sigma divided. Of listed values those stay that occur among
    the best runs, and those that lack there only because few runs tried them (`_lost`), with their probabilities
    rescaled. Constants, beta distributions and parameters that no best run has
    stay as they are.

    Args:
        parameters: The space that was searched.
        best_runs: Hyperparameters of the best runs, the very best first; none leaves the space alone.
        factor: By how much a range shrinks; above 1.
        others: Hyperparameters of the other runs that ended by themselves, in any order.
    """

    def values(runs: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
        return [run[key] for run in runs if key in run]

    return {
        key: _refine(block, values(best_runs, key), factor, values(others, key)) for key, block in parameters.items()
    }


def _refine(block: Mapping[str, Any], best: Sequence[Any], factor: float, others: Sequence[Any]) -> dict[str, Any]:
    kind, result = distribution(block), dict(block)
    if not best:
        return result
    if kind.startswith("categorical"):
        return _keep(result, best, others)
    numbers = [float(value) for value in best if _number(value)]
    if not numbers:
        return result
    if kind in _RANGES:
        return result | _narrow(_RANGES[kind], block, numbers, factor)
    if kind in _BELLS and (_BELLS[kind] is _same or min(numbers) > 0):
        places = [_BELLS[kind](number) for number in numbers]
        sigma = block.get("sigma", 1.0) / factor
        return result | {"mu": sum(places) / len(places), "sigma": sigma}
    return result


def _narrow(axis: _Range, block: Mapping[str, Any], best: Sequence[float], factor: float) -> dict[str, Any]:
    low, high = axis.bound(block.get("min", 0)), axis.bound(block.get("max", 1))
    if axis.scale is not _same and min(best) <= 0:
        return {}
    places = [min(max(axis.scale(value), low), high) for value in best]
    half = (high - low) / factor / 2
    middle = sum(places) / len(places)
    middle = min(max(middle, places[0] - half), places[0] + half)
    bottom, top = max(low, middle - half), min(high, middle + half)
    if axis.integer:
        return {"min": math.floor(bottom + 1e-9), "max": math.ceil(top - 1e-9)}
    # A bound that has not moved keeps the user's own digits, whatever exp(log(x)) would make of them.
    return {
        "min": block.get("min", 0) if bottom <= low else axis.write(bottom),
        "max": block.get("max", 1) if top >= high else axis.write(top),
    }


def _keep(block: dict[str, Any], best: Sequence[Any], others: Sequence[Any]) -> dict[str, Any]:
    if not any(value in best for value in block["values"]):
        return block
    kept = [index for index, value in enumerate(block["values"]) if not _lost(value, best, others)]
    narrowed = block | {"values": [block["values"][index] for index in kept]}
    if "probabilities" in block:
        total = sum(block["probabilities"][index] for index in kept)
        if total <= 0:
            return block
        narrowed["probabilities"] = [block["probabilities"][index] / total for index in kept]
    return narrowed


def _lost(value: Any, best: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether a listed value is absent from the best runs for a reason other than chance.

    If it made no difference, the best would be a draw without replacement from all runs, and would hold none of the
    runs that tried the value with a hypergeometric probability (Fisher's exact test, one-sided). A value that nobody
    tried has lost nothing.
    """
    runs = len(best) + len(others)
    without = runs - others.count(value)
    return value not in best and math.comb(without, len(best)) <= _ABSENT_BY_CHANCE * math.comb(runs, len(best))


def inside(parameters: Parameters, config: Mapping[str, Any]) -> bool:
    """Whether a run's hyperparameters lie in a search space.

    A search engine that is seeded with a run outside its space takes it for one on the border, which is wrong twice.
    """
    return all(key in config and _inside(block, config[key]) for key, block in parameters.items())


def _inside(block: Mapping[str, Any], value: Any) -> bool:
    kind = distribution(block)
    if kind == "constant":
        return bool(block["value"] == value)
    if kind.startswith("categorical"):
        return value in block["values"]
    if kind not in _RANGES:
        return _number(value)
    axis = _RANGES[kind]
    if not _number(value) or (axis.scale is not _same and value <= 0):
        return False
    low, high = axis.bound(block.get("min", 0)), axis.bound(block.get("max", 1))
    if grid := block.get("q"):  # rounding to the grid may lead half a step over a bound
        places = [axis.scale(near) for near in (value - grid / 2, value + grid / 2) if near > 0 or axis.scale is _same]
        return bool(places) and min(places) <= high and max(places) >= low
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    return low - slack <= axis.scale(value) <= high + slack


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
