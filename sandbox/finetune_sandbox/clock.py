"""The clock of controllers and kubelet, which a test can set forward: deadlines and times to live then run out at once.

The offset is kept where any client can write it: ConfigMap `kube-system/sandbox-clock`, key `offsetSeconds`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from finetune_sandbox.objects import Key, Object, key_of

CLOCK: Key = ("kube-system", "sandbox-clock")
OFFSET = "offsetSeconds"


class Clock:
    """Seconds since the epoch, plus an offset. Feed it ConfigMaps with `observe`."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        """The present time."""
        return time.time() + self._offset

    def on_set(self, listener: Callable[[], None]) -> None:
        """Calls back when the clock was set."""
        self._listeners.append(listener)

    def observe(self, config_map: Object, _old: Object | None = None) -> None:
        """Takes over the offset if this is the clock's ConfigMap; ignores what is not a number."""
        if key_of(config_map) != CLOCK:
            return
        with contextlib.suppress(ValueError):
            offset = float((config_map.get("data") or {}).get(OFFSET, 0))
            if offset != self._offset:
                self._offset = offset
                for listener in self._listeners:
                    listener()
