"""Every trigger of the operator: watch events mark resources dirty, nothing else happens here.

The children's watches are the operator's own (`watch`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from typing import Any, cast

import kopf

from finetune_operator.api import GROUP, VERSION
from finetune_operator.runtime import Runtime
from finetune_operator.settings import Settings

EXIT_SECONDS = 5.0
"""Time to end in. Connections hang for longer when the CRDs or the operator's own rights go first, as in
`kubectl delete -k`; nothing is lost by leaving, since all state is in the resources. kopf's own limit sends SIGKILL,
which the first process of a container cannot send to itself."""


def login(settings: kopf.OperatorSettings, kubeconfig: str | None) -> kopf.ConnectionInfo:
    """The connection: a kubeconfig that was named, else the service account, else the usual kubeconfig."""
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig
    in_cluster = None if kubeconfig else kopf.login_with_service_account(settings=settings)
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if in_cluster and host:  # as every Kubernetes client does; kopf alone relies on DNS and port 443
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        in_cluster = dataclasses.replace(in_cluster, server=server)
    connection = in_cluster or kopf.login_with_kubeconfig(settings=settings)
    if connection is None:
        raise kopf.LoginError("no service account and no kubeconfig; name one with --kubeconfig")
    return connection


def register(registry: kopf.OperatorRegistry, config: Settings) -> None:
    """Registers all handlers."""
    started: list[Runtime] = []

    @kopf.on.login(registry=registry, id="login")
    def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
        return login(settings, config.kubeconfig)

    @kopf.on.startup(registry=registry, id="startup")
    async def _startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings, bool(config.namespaces))
        runtime = Runtime(config, lambda: login(settings, config.kubeconfig))
        started.append(runtime)
        await runtime.start()

    @kopf.on.cleanup(registry=registry, id="cleanup")
    async def _cleanup(**_: Any) -> None:
        asyncio.get_running_loop().call_later(EXIT_SECONDS, os._exit, 1)
        for runtime in started:
            await runtime.stop()

    @kopf.on.probe(registry=registry, id="reconciling")
    async def _probe(**_: Any) -> str:  # not in a thread: the queue tells its lag by the loop's clock
        if not started[0].alive():
            raise RuntimeError("reconciling is stuck")
        return "ok"

    @kopf.on.event(GROUP, VERSION, "sweepruns", registry=registry, id="sweepruns")
    async def _sweepruns(type: str | None, body: kopf.Body, **_: Any) -> None:
        started[0].resource_event("SweepRun", type, dict(body))

    @kopf.on.event(GROUP, VERSION, "finetunejobs", registry=registry, id="finetunejobs")
    async def _finetunejobs(type: str | None, body: kopf.Body, **_: Any) -> None:
        started[0].resource_event("FinetuneJob", type, dict(body))


class _NoDifferences(kopf.DiffBaseStorage):
    """Spares kopf a deep copy of every object at every event, for differences that nothing here asks for."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """Nothing of an object is compared."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Nothing was stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is stored."""


def configure(settings: kopf.OperatorSettings, namespaced: bool) -> None:
    """Kopf's own settings: no annotations, no events."""
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDifferences()
    settings.scanning.disabled = namespaced
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
