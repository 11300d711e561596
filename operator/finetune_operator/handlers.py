"""Every trigger of the operator: watch events mark resources dirty, nothing else happens here."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import kopf

from finetune_operator import names
from finetune_operator.api import GROUP, VERSION
from finetune_operator.runtime import Runtime
from finetune_operator.settings import Settings


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

    @kopf.on.event("batch", "v1", "jobs", registry=registry, id="jobs")
    async def _jobs(type: str | None, body: kopf.Body, **_: Any) -> None:
        started[0].child_event("jobs", type, dict(body))

    @kopf.on.event("", "v1", "pods", registry=registry, id="pods")
    async def _pods(type: str | None, body: kopf.Body, **_: Any) -> None:
        started[0].child_event("pods", type, dict(body))


def configure(settings: kopf.OperatorSettings, namespaced: bool) -> None:
    """Kopf's own settings: no annotations, no events, children filtered by the API server."""
    settings.posting.enabled = False
    settings.scanning.disabled = namespaced
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.watching.label_selectors["batch", "v1", "jobs"] = names.CHILD_SELECTOR
    settings.watching.label_selectors["", "v1", "pods"] = names.CHILD_SELECTOR
