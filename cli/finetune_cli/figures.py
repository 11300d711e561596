"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

ABSENT = "-"


def percent(value: float | None, digits: int = 1) -> str:
    """0.1234 -> 12.3%."""
    return ABSENT if value is None else f"{value * 100:.{digits}f}%"


def signed_percent(value: float | None) -> str:
    """0.1234 -> +12.3%."""
    return ABSENT if value is None else f"{value * 100:+.1f}%"


def number(value: Any) -> str:
    """A number with four significant digits; anything else as it is."""
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def duration(span: timedelta | None) -> str:
    """1 day and 2 hours -> 1d2h; at most two units."""
    if span is None:
        return ABSENT
    seconds = max(0, int(span.total_seconds()))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def eta(start: datetime | None, now: datetime, done: int, total: int) -> timedelta | None:
    """Time left if what is to do takes as long, one by one, as what is done; None before the first is."""
    if start is None or done <= 0 or total <= 0:
        return None
    return (now - start) / done * max(0, total - done)


def settings(values: dict[str, Any] | None) -> str:
    """`batch_size=16 learning_rate=3.2e-05`."""
    return " ".join(f"{key}={number(value)}" for key, value in sorted((values or {}).items())) or ABSENT
