"""Objects kept as JSON text: a fifth of what dictionaries take, decoded when they are looked at.

What was decoded is shared by all who look at it within a while and must not be changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from functools import lru_cache
from typing import Any

from finetune_sandbox.objects import Key, Object


def encode(value: Any) -> bytes:
    """Compact JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode()


@lru_cache(maxsize=256)
def decode(data: bytes) -> Object:
    """An object from its JSON; the latest ones are remembered, so what is in use is decoded once."""
    found: Object = json.loads(data)
    return found


class PackedObjects(MutableMapping[Key, Object]):
    """Objects by namespace and name."""

    def __init__(self) -> None:
        self._data: dict[Key, bytes] = {}

    def __getitem__(self, key: Key) -> Object:
        return decode(self._data[key])

    def __setitem__(self, key: Key, obj: Object) -> None:
        self._data[key] = encode(obj)

    def __delitem__(self, key: Key) -> None:
        del self._data[key]

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[Key]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)
