"""Reads API keys: only the Secrets that resources name, in their own namespace, one by one, never listed or watched."""

from __future__ import annotations

import asyncio
import base64
import binascii

from finetune_operator.actions import Problem
from finetune_operator.api.shared import SecretKeyRef
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ForbiddenError, NotFoundError

_FRESH = 30.0
"""Seconds for which a key that was read is used without reading it again, where something is about to start."""


class ApiKeys:
    """API keys by namespace and Secret reference."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[tuple[str, str, str], tuple[float, str]] = {}

    async def read(self, namespace: str, reference: SecretKeyRef, *, running: bool = False) -> str | Problem:
        """The key, or why there is none.

        Args:
            namespace: Of the Secret, which is that of the resource.
            reference: Its name and key.
            running: Pods run that hold the key already: as long as the tracker takes it, it is not read again.

        Raises:
            ClusterError: The API server could not be asked.
        """
        now = asyncio.get_running_loop().time()
        identity = (namespace, reference.name, reference.key)
        known = self._known.get(identity)
        if known is not None and (now - known[0] < _FRESH or (running and known[0] > float("-inf"))):
            return known[1]
        where = f"Secret {reference.name} in namespace {namespace}"
        try:
            secret = await self._cluster.get("secrets", namespace, reference.name)
        except NotFoundError:
            return Problem("SecretMissing", f"{where} does not exist; it should hold the W&B API key.")
        except ForbiddenError as error:
            return Problem("SecretMissing", f"{where} may not be read by the operator: {error.message}")
        try:
            value = base64.b64decode((secret.get("data") or {}).get(reference.key, ""), validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            value = ""
        if not value:
            return Problem("SecretMissing", f"{where} has no key {reference.key}, or it is empty.")
        self._known[identity] = (now, value)
        return value

    def remembered(self, namespace: str, reference: SecretKeyRef) -> str | None:
        """The key as last read, for a clean stop after its Secret is gone."""
        known = self._known.get((namespace, reference.name, reference.key))
        return known[1] if known else None

    def stale(self, namespace: str, reference: SecretKeyRef) -> None:
        """The key was refused: read it afresh next time."""
        identity = (namespace, reference.name, reference.key)
        if identity in self._known:
            self._known[identity] = (float("-inf"), self._known[identity][1])
