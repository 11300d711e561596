"""The state that all requests share: objects, resources, and what follows from a change."""

from __future__ import annotations

from pathlib import Path

from .apply.manager import FieldManager
from .resources import Registry, Resource
from .store import Obj, Store
from .tokens import Tokens


class State:
    """Objects and resources of one server."""

    def __init__(self, data_dir: Path, tokens: Tokens) -> None:
        self.data_dir, self.tokens = data_dir, tokens
        self.store = Store()
        self.registry = Registry()
        self.fields = FieldManager()

    def stored(self, resource: Resource, obj: Obj) -> Obj:
        """Stores an object."""
        return self.store.put(resource.storage, obj)

    def removed(self, resource: Resource, obj: Obj) -> Obj:
        """Takes an object out of the store."""
        return self.store.remove(resource.storage, obj)
