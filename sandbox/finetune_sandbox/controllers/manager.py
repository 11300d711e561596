"""Runs all controllers of the sandbox against one API server."""

from __future__ import annotations

import asyncio

from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.claims import ClaimController
from finetune_sandbox.controllers.deployment import DeploymentController
from finetune_sandbox.controllers.disruption import TaintEviction
from finetune_sandbox.controllers.endpoints import EndpointsController
from finetune_sandbox.controllers.garbage import GarbageCollector
from finetune_sandbox.controllers.job import JobController, JobExpiry
from finetune_sandbox.controllers.namespaces import NamespaceDefaults, NamespaceDeletion
from finetune_sandbox.controllers.replicaset import ReplicaSetController
from finetune_sandbox.controllers.scheduler import Scheduler
from finetune_sandbox.controllers.statefulset import StatefulSetController

CONTROLLERS: tuple[type[Controller], ...] = (
    NamespaceDefaults,
    NamespaceDeletion,
    GarbageCollector,
    JobController,
    JobExpiry,
    DeploymentController,
    ReplicaSetController,
    StatefulSetController,
    ClaimController,
    EndpointsController,
)
WITH_NODES: tuple[type[Controller], ...] = (Scheduler, TaintEviction)


async def run_controllers(context: Context, nodes: bool) -> None:
    """Runs until cancelled; without nodes there is nothing to schedule."""
    controllers = [kind(context) for kind in (*CONTROLLERS, *(WITH_NODES if nodes else ()))]
    async with asyncio.TaskGroup() as group:
        for controller in controllers:
            group.create_task(controller.run(), name=controller.name)
