"""Quantities: amounts such as `500m`, `2Gi` or `1e3`."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache

_BINARY = {suffix: Decimal(1024) ** power for power, suffix in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))}
_DECIMAL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)}
_DECIMAL |= {suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)}
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?)|[eE]([+-]?\d+))")


@cache
def parse(value: str | int | float) -> Decimal:
    """The amount of a quantity.

    Raises:
        ValueError: It is no quantity.
    """
    found = _FORM.fullmatch(str(value))
    if not found:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number = Decimal(found[1])
    if found[3]:
        return number.scaleb(int(found[3]))
    return number * (_BINARY.get(found[2]) or _DECIMAL[found[2]])


@cache
def render(amount: Decimal, like: str = "") -> str:
    """An amount as a quantity, with a suffix of the kind that an example has."""
    if amount == 0:
        return "0"
    binary = like.endswith("i")
    if binary and amount == amount.to_integral_value():
        for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
            if amount % _BINARY[suffix] == 0:
                return f"{(amount / _BINARY[suffix]).to_integral_value():f}" + suffix
        return f"{amount.to_integral_value():f}"
    for suffix in ("E", "P", "T", "G", "M", "k", "", "m", "u", "n"):
        scaled = amount / _DECIMAL[suffix]
        if scaled == scaled.to_integral_value():
            return f"{scaled.to_integral_value():f}" + suffix
    return f"{amount:f}"
