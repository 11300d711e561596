"""Errors that become HTTP statuses the W&B SDK understands.

The SDK retries 408, 409, 429 and 5xx for minutes to days and gives up at once on the other 4xx, so the status decides
whether a client waits or fails: `Unavailable` is the only one that asks it to come back.
The classes are named like the statuses.
"""

from __future__ import annotations


class TrackerError(Exception):
    """A request that cannot be served; `status` is its HTTP status."""

    status = 400


class BadRequest(TrackerError):  # noqa: N818
    """The request itself is wrong and would be wrong again."""


class Unauthorized(TrackerError):  # noqa: N818
    """No API key, or one this server does not know."""

    status = 401


class Forbidden(TrackerError):  # noqa: N818
    """The key is known, but what it asks for belongs to others."""

    status = 403


class NotFound(TrackerError):  # noqa: N818
    """What the request names does not exist."""

    status = 404


class TooLarge(TrackerError):  # noqa: N818
    """The body exceeds a limit of `Settings`."""

    status = 413


class Unavailable(TrackerError):  # noqa: N818
    """Temporarily not possible (shutting down, disk full, database busy): the SDK retries."""

    status = 503
