"""The objects that every cluster starts with."""

from __future__ import annotations

from typing import Any

from . import write
from .options import Options
from .state import State

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def fill(state: State) -> None:
    """Creates the first objects."""
    for name in NAMESPACES:
        _create(state, "", "v1", "namespaces", None, {"metadata": {"name": name}})
    state.store.forget_history()


def _create(state: State, group: str, version: str, plural: str, namespace: str | None, body: dict[str, Any]) -> None:
    resource = state.registry.get(group, version, plural)
    assert resource is not None
    write.create(state, resource, namespace, body, Options(field_validation="Ignore", manager="kube-apiserver"))
