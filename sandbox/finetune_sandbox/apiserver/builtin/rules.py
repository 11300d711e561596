"""What rules of built-in kinds are made of: a rule is a function of an object and its path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, required, unsupported, wrong

from . import meta

Obj = dict[str, Any]
Errors = Iterator[FieldError]
Rule = Callable[[Obj, str], Iterable[FieldError]]
Rules = dict[str, tuple[Rule, ...]]

NOT_NEGATIVE = "must be greater than or equal to 0"
_PORT = "must be between 1 and 65535, inclusive"


def needs(*keys: str, detail: str = "") -> Rule:
    """The fields must be there and not be empty."""
    return lambda obj, at: [required(join(at, key), detail) for key in keys if not obj.get(key)]


def one_of(key: str, *allowed: str) -> Rule:
    """The field, where it is set, holds one of these values."""
    return lambda obj, at: (
        [unsupported(join(at, key), obj[key], allowed)] if obj.get(key, allowed[0]) not in allowed else []
    )


def not_negative(*keys: str) -> Rule:
    """The numbers are not below zero."""
    return lambda obj, at: [wrong(join(at, key), NOT_NEGATIVE, obj[key]) for key in keys if (obj.get(key) or 0) < 0]


def port(*keys: str) -> Rule:
    """The numbers are ports; names of ports are left to others."""

    def check(obj: Obj, at: str) -> Errors:
        for key in keys:
            if isinstance(number := obj.get(key, 0), int) and not 0 < number < 65536:
                yield wrong(join(at, key), _PORT, number)

    return check


def join(at: str, key: str) -> str:
    """The path of a field."""
    return f"{at}.{key}" if at else key


def names(items: Iterable[tuple[Obj, str]]) -> Errors:
    """Names must be there, be DNS labels and differ."""
    seen: set[str] = set()
    for item, at in items:
        name = item.get("name")
        if not name:
            yield required(f"{at}.name")
        elif bad := meta.dns_label(name):
            yield from (wrong(f"{at}.name", text, name) for text in bad)
        elif name in seen:
            yield FieldError("Duplicate", f"{at}.name", "", name)
        seen.add(name or "")


def listed(obj: Obj, at: str, *keys: str) -> list[tuple[Obj, str]]:
    """The items of lists, each with its path."""
    return [(item, f"{join(at, key)}[{index}]") for key in keys for index, item in enumerate(obj.get(key) or ())]


PROTOCOL = one_of("protocol", "SCTP", "TCP", "UDP")
