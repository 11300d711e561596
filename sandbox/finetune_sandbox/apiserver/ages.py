"""Times as kubectl prints them."""

from __future__ import annotations

from datetime import UTC, datetime

from . import clock


def age(stamp: str | None) -> str:
    """How long ago a time was, as kubectl prints it."""
    if not stamp:
        return "<unknown>"
    return duration((datetime.now(UTC) - clock.parse(stamp)).total_seconds())


def duration(seconds: float) -> str:
    """A length of time in the two units that matter."""
    total = int(seconds)
    if total < 0:
        return "0s" if total > -2 else "<invalid>"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"
