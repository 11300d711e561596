"""Faults on command, for tests: errors, delays and dropped connections for requests that match a rule."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

from .errors import ApiError, invalid, wrong

_KEYS = {"method", "path", "status", "disconnect", "delay", "count", "probability", "retryAfter", "message"}


class DisconnectError(Exception):
    """The connection is to be dropped without an answer."""


class Faults:
    """The rules in force, set by `PUT /debug/faults`.

    A rule is an object with `method` and `path` (regular expressions; default: all),
    and what happens: `delay` (seconds),
    then `disconnect` (true) or `status` (an HTTP code,
    with `retryAfter` seconds and `message`). `count` limits how often,
    `probability` makes it happen by chance.
    """

    def __init__(self) -> None:
        self.rules: list[dict[str, Any]] = []

    def set(self, rules: Any) -> list[dict[str, Any]]:
        """Replaces all rules.

        Raises:
            ApiError: 422 for a rule with a field that is not known or a bad expression.
        """
        if not isinstance(rules, list):
            raise invalid("", "Faults", "faults", [wrong("", "must be a list of rules", rules)])
        for index, rule in enumerate(rules):
            unknown = sorted(set(rule) - _KEYS)
            if unknown:
                text = f"unknown field; known are {', '.join(sorted(_KEYS))}"
                raise invalid("", "Faults", "faults", [wrong(f"[{index}].{unknown[0]}", text, rule[unknown[0]])])
            try:
                re.compile(rule.get("path", "")), re.compile(rule.get("method", ""))
            except re.error as error:
                raise invalid(
                    "", "Faults", "faults", [wrong(f"[{index}].path", str(error), rule.get("path"))]
                ) from error
        self.rules = [dict(rule) for rule in rules]
        return self.rules

    async def strike(self, method: str, path: str) -> None:
        """Does what the first matching rule says.

        Raises:
            DisconnectError: The connection is to be dropped.
            ApiError: The answer to give.
        """
        for rule in self.rules:
            if not re.fullmatch(rule.get("method", ".*"), method) or not re.search(rule.get("path", ""), path):
                continue
            if rule.get("count") == 0 or random.random() >= rule.get("probability", 1.0):
                continue
            if "count" in rule:
                rule["count"] -= 1
            if rule.get("delay"):
                await asyncio.sleep(rule["delay"])
            if rule.get("disconnect"):
                raise DisconnectError
            if status := rule.get("status"):
                raise _failure(status, rule)
            return


def _failure(status: int, rule: dict[str, Any]) -> ApiError:
    reasons = {
        429: "TooManyRequests",
        409: "Conflict",
        410: "Expired",
        401: "Unauthorized",
        403: "Forbidden",
        404: "NotFound",
        503: "ServiceUnavailable",
        504: "Timeout",
    }
    details = (
        {"retryAfterSeconds": rule["retryAfter"]}
        if "retryAfter" in rule
        else {"retryAfterSeconds": 1}
        if status == 429
        else None
    )
    return ApiError(status, reasons.get(status, "InternalError"), rule.get("message", "a fault was injected"), details)
