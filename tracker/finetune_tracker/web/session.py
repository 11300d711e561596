"""A browser's session: the API key is typed once, and from then on a cookie that scripts cannot read stands for it."""

from __future__ import annotations

import re

from finetune_tracker.auth import Signer
from finetune_tracker.errors import TrackerError, Unauthorized

COOKIE = "finetune_session"
_VALUE = re.compile(r"([0-9a-f]{64})\.([0-9]+\.[0-9a-f]+)")


def issue(signer: Signer, key_hash: str) -> str:
    """The cookie's value: the key's hash, an expiry and a signature. A deleted key ends its sessions at once."""
    return f"{key_hash}.{signer.sign(_claim(key_hash))}"


def key_hash(signer: Signer, cookie: str | None) -> str:
    """The hash of the key that a cookie stands for.

    Raises:
        Unauthorized: No cookie, or one that is forged or over.
    """
    found = _VALUE.fullmatch(cookie or "")
    if found is None:
        raise Unauthorized("log in with an API key")
    try:
        signer.check(_claim(found.group(1)), found.group(2))
    except TrackerError as e:
        raise Unauthorized("the session is over; log in again") from e
    return found.group(1)


def _claim(hashed: str) -> str:
    return f"session:{hashed}"
