"""Carries out the actions of a plan. Each is idempotent; what they bring goes to the plan that follows."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, assert_never

from finetune_operator import facts, names
from finetune_operator.actions import (
    Action,
    Apply,
    CancelSweeps,
    CreateSweep,
    DeleteJob,
    PatchJob,
    Problem,
    Promote,
    ReadRun,
    Results,
    SetFinalizer,
    SetSweepState,
    StopRun,
    TrackerAction,
)
from finetune_operator.api import FinetuneJob, SweepRun
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError, ConflictError, NameTakenError, NotFoundError, TrackerError
from finetune_operator.hub import ProjectPoller
from finetune_operator.observe import Observer
from finetune_operator.store import Key, Store
from finetune_operator.wandb import app_url

logger = logging.getLogger(__name__)

_NEVER = frozenset({400, 413, 422})
"""Answers to what is malformed, too large or invalid: it would be that again."""
_PLURALS = {"Job": "jobs", "ConfigMap": "configmaps", "Service": "services"}


class Executor:
    """Does what plans ask for."""

    def __init__(self, store: Store, cluster: Cluster, observer: Observer) -> None:
        self._store = store
        self._cluster = cluster
        self._observer = observer

    async def run(
        self,
        key: Key,
        body: dict[str, Any],
        resource: SweepRun | FinetuneJob,
        actions: tuple[Action, ...],
        results: Results,
    ) -> Results:
        """Carries out actions in order; the first that the tracker refuses ends them, as a problem in the results.

        The answer adds to `results`, what earlier actions of this reconcile have brought.

        Raises:
            ClusterError: The API server refused; the whole reconcile is tried again.
        """
        for action in actions:
            logger.info("%s", describe(action), extra={"resource": f"{key.kind}/{key.namespace}/{key.name}"})
            match action:
                case SetFinalizer():
                    await self._set_finalizer(key, body, action.present)
                case Apply():
                    try:
                        await self._apply(key, body, action.manifest)
                    except (NameTakenError, ClusterError) as error:
                        problem = _refused(action, error)
                        if problem is None:
                            raise
                        if action.optional:
                            logger.warning("%s", problem.message)
                            continue
                        return replace(results, problem=problem)
                case PatchJob():
                    await self._patch_job(key, action)
                case DeleteJob():
                    await self._cluster.delete("jobs", key.namespace, action.name)
                case CreateSweep() | SetSweepState() | CancelSweeps() | StopRun() | Promote() | ReadRun():
                    project = await self._observer.poller(key, resource)
                    if isinstance(project, Problem):
                        return replace(results, problem=project)
                    try:
                        results = await self._track(project, action, results)
                    except TrackerError as error:
                        return replace(results, problem=project.failed(error))
                case _:
                    assert_never(action)
        return results

    async def _track(
        self,
        project: ProjectPoller,
        action: TrackerAction,
        results: Results,
    ) -> Results:
        client, entity, name = project.client, project.address.entity, project.address.project
        if entity is None:
            entity = await client.default_entity()
        match action:
            case CreateSweep():
                found = list(await client.find_sweeps(entity, name, action.token))
                if not found and action.only_find:
                    return results
                sweep = found[0] if found else await client.create_sweep(entity, name, action)
                for extra in found[1:]:  # two creations once overlapped; one sweep stays
                    await client.set_sweep_state(entity, name, extra, "CANCELED")
                url = f"{app_url(project.address.base_url)}/{entity}/{name}/sweeps/{sweep}"
                return replace(results, sweep_id=sweep, sweep_url=url, sweep_token=action.token)
            case SetSweepState():
                await client.set_sweep_state(entity, name, action.sweep_id, action.state)
                project.poke()
            case CancelSweeps():
                for sweep, state in (await client.find_sweeps(entity, name, action.mark)).items():
                    if state.upper() not in facts.SWEEP_OVER:
                        await client.set_sweep_state(entity, name, sweep, "CANCELED")
            case StopRun():
                await client.stop_run(entity, name, action.run_id)
            case Promote():
                promoted = await client.promote(entity, name, action.registry, action.artifact, action.version)
                return replace(results, promoted=promoted)
            case ReadRun():
                run = await client.read_run(entity, name, action.run_id)
                return replace(results, runs={**results.runs, action.run_id: run})
        return results

    async def _set_finalizer(self, key: Key, body: dict[str, Any], present: bool) -> None:
        metadata = body["metadata"]
        finalizers = [name for name in metadata.get("finalizers", ()) if name != names.FINALIZER]
        if present:
            finalizers.append(names.FINALIZER)
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}}
        try:
            self._store.update(key, await self._cluster.patch(key.plural, key.namespace, key.name, patch))
        except NotFoundError:
            self._store.remove(key, metadata["uid"])

    async def _apply(self, key: Key, body: dict[str, Any], manifest: dict[str, Any]) -> None:
        plural, name = _PLURALS[manifest["kind"]], manifest["metadata"]["name"]
        try:
            made = await self._cluster.create(plural, manifest)
        except ConflictError as error:
            if error.reason != "AlreadyExists":
                raise
            made = await self._cluster.get(plural, key.namespace, name)
            owners = [owner.get("uid") for owner in made["metadata"].get("ownerReferences", ())]
            if body["metadata"]["uid"] not in owners:
                raise NameTakenError(f"{manifest['kind']} {name} exists and belongs to something else.") from None
            if plural == "configmaps" and not made.get("immutable") and made.get("data") != manifest["data"]:
                gone = dict.fromkeys(made.get("data") or {})  # a merge patch keeps what it does not name
                made = await self._cluster.patch(plural, key.namespace, name, {"data": {**gone, **manifest["data"]}})
        if plural == "jobs":
            self._store.jobs.update(made)

    async def _patch_job(self, key: Key, action: PatchJob) -> None:
        try:
            patched = await self._cluster.patch("jobs", key.namespace, action.name, {"spec": action.spec})
        except NotFoundError:
            return
        self._store.jobs.update(patched)


def _refused(action: Apply, error: NameTakenError | ClusterError) -> Problem | None:
    """Why there can be no such child; None where trying again may help."""
    if isinstance(error, NameTakenError):
        return Problem("NameTaken", str(error))
    if error.code not in _NEVER:
        return None
    return Problem(
        "PodCreationFailed", f"{action.manifest['kind']} {action.manifest['metadata']['name']}: {error.message}"
    )


def describe(action: Action) -> str:
    """One line for the log."""
    match action:
        case Apply():
            return f"apply {action.manifest['kind']} {action.manifest['metadata']['name']}"
        case CreateSweep():
            return f"create sweep {action.token}"
        case _:
            return str(action)
