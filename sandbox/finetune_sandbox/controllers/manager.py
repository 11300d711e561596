"""Runs all controllers of the sandbox against one API server."""

from __future__ import annotations

import asyncio

from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.disruption import TaintEviction
from finetune_sandbox.controllers.garbage import GarbageCollector
from finetune_sandbox.controllers.job import JobController, JobExpiry
from finetune_sandbox.controllers.namespaces import NamespaceDefaults, NamespaceDeletion
from finetune_sandbox.controllers.scheduler import Scheduler

CONTROLLERS: tuple[type[Controller], ...] = (
    NamespaceDefaults,
    NamespaceDeletion,
    GarbageCollector,
    JobController,
    JobExpiry,
)
WITH_NODES: tuple[type[Controller], ...] = (Scheduler, TaintEviction)


async def run_controllers(context: Context, nodes: bool) -> None:
    """Runs until cancelled; without nodes there is nothing to schedule."""
    controllers = [kind(context) for kind in (*CONTROLLERS, *(WITH_NODES if nodes else ()))]
    async with asyncio.TaskGroup() as group:
        for controller in controllers:
            group.create_task(controller.run(), name=controller.name)
