"""The values of CEL that JSON does not have, and what converts and compares them."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, total_ordering
from typing import Any

NOTHING = object()
"""Content of an optional that holds nothing."""


class CelError(Exception):
    """An expression cannot be evaluated."""


@dataclass(frozen=True)
class Optional:
    """A value that may be missing."""

    value: Any = NOTHING

    @property
    def present(self) -> bool:
        """There is a value."""
        return self.value is not NOTHING


@total_ordering
@dataclass(frozen=True)
class Quantity:
    """An amount of a resource."""

    amount: Decimal

    def __lt__(self, other: Quantity) -> bool:
        return self.amount < other.amount


def int_of(value: Any) -> int:
    """A whole number of 64 bits.

    Raises:
        CelError: It does not fit.
    """
    number = int(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise CelError("integer overflow")
    return number


def divide(left: int, right: int) -> int:
    """Whole-number division that cuts towards zero."""
    if right == 0:
        raise CelError("division by zero")
    return int_of(abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1))


def remainder(left: int, right: int) -> int:
    """What is left by such a division."""
    if right == 0:
        raise CelError("modulus by zero")
    return left - right * divide(left, right)


def parsed(parse: Callable[[Any], Any], what: str) -> Callable[[Any], Any]:
    """A conversion whose failure is a failure of the expression."""

    def call(value: Any) -> Any:
        try:
            return parse(value)
        except (ValueError, ArithmeticError) as error:
            raise CelError(f"{what} conversion error: {error}") from error

    return call


def valid(parse: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """A test whether a conversion would work."""

    def call(value: Any) -> bool:
        try:
            parse(value)
        except (ValueError, ArithmeticError, CelError):
            return False
        return True

    return call


def to_url(text: str) -> urllib.parse.SplitResult:
    """The parts of a URL."""
    found = urllib.parse.urlsplit(text)
    if not found.scheme and not text.startswith("/"):
        raise ValueError(f"{text!r}: invalid URI for request")
    return found


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def to_duration(text: str) -> timedelta:
    """A duration such as `1h30m`.

    Raises:
        ValueError: It is none.
    """
    parts = re.findall(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h|d|w)", text)
    if not parts and text.lstrip("+-") != "0":
        raise ValueError(f"invalid duration {text!r}")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return timedelta(seconds=-total if text.startswith("-") else total)


def to_timestamp(text: str) -> datetime:
    """A moment from RFC 3339, or a date."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@cache
def to_semver(text: str) -> tuple[Any, ...]:
    """A semantic version in a form that compares."""
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:-([\w.-]+))?(?:\+[\w.-]+)?", text)
    if not found:
        raise ValueError(f"invalid semantic version {text!r}")
    release = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in (found[4] or "").split(".") if part]
    return (int(found[1]), int(found[2]), int(found[3]), 0 if release else 1, release)


def to_text(value: Any) -> str:
    """A value as `string()` shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, bytes):
        return value.decode()
    return f"{value:g}" if isinstance(value, float) else str(value)


def index_of(items: Any, item: Any, last: bool = False) -> int:
    """The position of an item; -1 when there is none."""
    found = [at for at, value in enumerate(items) if value == item]
    return (found[-1] if last else found[0]) if found else -1
