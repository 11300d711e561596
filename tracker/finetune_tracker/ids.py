"""Identifiers: global GraphQL ids, short random names, readable run names, timestamps."""

from __future__ import annotations

import base64
import binascii
import datetime
import random
import secrets

from finetune_tracker.errors import BadRequest

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ADJECTIVES = """
amber brave bright calm clear crisp dandy deep eager fair fine firm fresh gentle glad golden grand happy honest
kind lively lucky mellow noble pleasant polished proud quiet rapid rosy silver smooth snowy soft stellar sunny
swift vivid warm wise
"""
_NOUNS = """
aspen bird breeze brook cloud dawn dew dream feather field fire flower forest frost galaxy garden glade grass haze
hill lake leaf meadow moon morning oath plant pond rain river sea serenity shadow sky sound star stream sun sunset
surf tree valley violet voice water wave wildflower wind wood
"""


def global_id(kind: str, number: int) -> str:
    """The opaque id of an object; valid base64, because the SDK converts artifact ids to hex and back."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def parse_global_id(kind: str, text: object) -> int:
    """The number in a global id.

    Raises:
        BadRequest: Not an id of that kind.
    """
    try:
        found, _, number = base64.b64decode(str(text), validate=True).decode().partition(":")
        if found == kind and 0 <= int(number) < 2**63:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise BadRequest(f"{str(text)[:80]!r} is not the id of a {kind}")


def random_name(length: int = 8) -> str:
    """A random name as W&B gives to runs and sweeps."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def readable_name(suffix: str) -> str:
    """A display name such as `proud-river-12`."""
    return f"{random.choice(_ADJECTIVES.split())}-{random.choice(_NOUNS.split())}-{suffix}"


def timestamp(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with whole seconds, the format W&B answers with."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; without an offset it is UTC.

    Raises:
        BadRequest: The text is not a time.
    """
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError as e:
        raise BadRequest(f"{text!r} is not an ISO 8601 time") from e
    return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
