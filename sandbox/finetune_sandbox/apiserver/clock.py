"""The server's clock and the identifiers it hands out."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime, timedelta

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names: without vowels and easily confused characters, as in Kubernetes."""


def now() -> str:
    """The time in RFC 3339 with seconds."""
    return stamp(datetime.now(UTC))


def after(seconds: float) -> str:
    """The time some seconds from now."""
    return stamp(datetime.now(UTC) + timedelta(seconds=seconds))


def stamp(moment: datetime) -> str:
    """A moment as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> datetime:
    """The moment of an RFC 3339 text."""
    return datetime.fromisoformat(text)


def new_uid() -> str:
    """A random UUID."""
    return str(uuid.uuid4())


def suffix(length: int = 5) -> str:
    """The random end of a generated name."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
