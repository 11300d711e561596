"""Keeps `managedFields`."""

from __future__ import annotations

from typing import Any

from ..options import Options
from ..resources import Resource

Obj = dict[str, Any]


class FieldManager:
    """Keeps track of who set which field."""

    def created(self, resource: Resource, obj: Obj, options: Options) -> Obj:
        """A new object with its managed fields."""
        return obj

    def updated(self, resource: Resource, old: Obj, new: Obj, options: Options, sub: str) -> Obj:
        """A changed object with its managed fields."""
        return new
