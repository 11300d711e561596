"""Gathers what a plan is made from: indexes first, the API server and the tracker only where they cannot tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from finetune_operator import conditions as c
from finetune_operator import lifecycle, names
from finetune_operator.actions import Problem
from finetune_operator.api import FinetuneJob, FinetuneJobStatus, SweepRun, SweepRunStatus
from finetune_operator.cluster import Cluster
from finetune_operator.creation import CreationFailures
from finetune_operator.dataset import Datasets, annotated
from finetune_operator.facts import DatasetFacts, JobFacts, PodFacts, parse_time
from finetune_operator.hub import ProjectPoller, TrackerHub
from finetune_operator.observed import Observed, Source, TrackerView
from finetune_operator.secrets import ApiKeys
from finetune_operator.store import Key, Store
from finetune_operator.trial import Defaults, Identity, address
from finetune_operator.watch import Reflector

logger = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def identity(key: Key, body: Mapping[str, Any]) -> Identity:
    """Who a custom resource is."""
    metadata = body["metadata"]
    return Identity(key.kind, key.namespace, key.name, metadata["uid"], metadata.get("generation", 1))


class Observer:
    """Builds `Observed` for a resource."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        hub: TrackerHub,
        keys: ApiKeys,
        defaults: Defaults,
        reflectors: Sequence[Reflector],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._hub = hub
        self._keys = keys
        self._defaults = defaults
        self._reflectors = reflectors
        self._datasets = Datasets()
        self._leads_since: datetime | None = None
        self._creation = CreationFailures(cluster)

    def take_over(self) -> None:
        """From now on what is observed is worked on; further calls say nothing new."""
        self._leads_since = self._leads_since or _now()

    def forget(self, uid: str) -> None:
        """A resource is gone."""
        self._creation.forget(uid)

    def _require_children(self, namespace: str) -> None:
        for reflector in self._reflectors:
            if reflector.covers(namespace) and reflector.refusal is not None:
                raise reflector.refusal

    async def observe(self, key: Key, body: Mapping[str, Any], resource: SweepRun | FinetuneJob) -> Observed[Any]:
        """The resource and the state of the world around it.

        Raises:
            ForbiddenError: Its children may not be seen.
            ClusterError: The API server could not be asked.
        """
        who = identity(key, body)
        metadata = body["metadata"]
        now = _now()
        finished = lifecycle.finished(resource.status)
        deleted_at = parse_time(metadata.get("deletionTimestamp"))
        if deleted_at is None:
            self._require_children(who.namespace)
        jobs, pods = self._store.jobs.of(who.uid), self._store.pods.of(who.uid)
        if any(job.finished and not job.deleting and not _has_pods(job, pods) for job in jobs) and not finished:
            await self._read_pods(who)
            pods = self._store.pods.of(who.uid)
        running = any(pod.phase == "Running" for pod in pods)
        credentials, tracker = await self._tracker(key, who, resource, jobs, finished, deleted_at is not None, running)
        return Observed(
            identity=who,
            resource=resource,
            defaults=self._defaults,
            tracker=tracker,
            now=now,
            leads_since=self._leads_since or now,
            deleted_for=now - deleted_at if deleted_at else None,
            finalizer=names.FINALIZER in metadata.get("finalizers", ()),
            annotations=dict(metadata.get("annotations") or {}),
            jobs=jobs,
            pods=pods,
            departed=self._departed(who, resource.status),
            credentials=credentials,
            creation_error=await self._creation_error(who, jobs, pods, now) if not finished else None,
            source=self._source(key, resource),
            dataset=await self._dataset(key, resource, metadata.get("annotations") or {}),
        )

    async def _dataset(
        self, key: Key, resource: SweepRun | FinetuneJob, annotations: Mapping[str, str]
    ) -> DatasetFacts | None:
        """The dataset, where its growth matters or somebody has told its size."""
        if not isinstance(resource, SweepRun):
            return None
        told = annotated(annotations)
        if told is not None or resource.spec.continuous is None:
            return told
        uri = resource.spec.trainer.dataset.uri
        project = await self.poller(key, resource) if uri.startswith("wandb-artifact://") else Problem("", "")
        return await self._datasets.look(uri, project)

    async def poller(self, key: Key, resource: SweepRun | FinetuneJob) -> ProjectPoller | Problem:
        """The tracker client of a resource, or why there is none."""
        reference = resource.spec.wandb.api_key_secret_ref
        api_key = await self._keys.read(key.namespace, reference)
        if isinstance(api_key, Problem):
            return api_key
        return self._hub.project(key, address(resource.spec, self._defaults), api_key)

    async def _read_pods(self, who: Identity) -> None:
        """The Jobs' watch may be ahead of the pods': what a finished Job's pods have left is worth a read."""
        for body in await self._cluster.list("pods", who.namespace, labelSelector=f"{names.UID_LABEL}={who.uid}"):
            self._store.pods.update(body)

    async def _tracker(
        self,
        key: Key,
        who: Identity,
        resource: SweepRun | FinetuneJob,
        jobs: tuple[JobFacts, ...],
        finished: bool,
        deleted: bool,
        running: bool,
    ) -> tuple[Problem | None, TrackerView]:
        where = address(resource.spec, self._defaults)
        reference = resource.spec.wandb.api_key_secret_ref
        sweep_id = resource.status.sweep.id if isinstance(resource, SweepRun) and resource.status.sweep else None
        restarting = lifecycle.fingerprint(resource.spec) != resource.status.spec_hash
        if finished and not deleted and not restarting:
            self._hub.forget(key)
            return None, TrackerView(where)
        api_key = await self._keys.read(key.namespace, reference, running=running)
        if isinstance(api_key, Problem):
            remembered = self._keys.remembered(key.namespace, reference) if deleted else None
            if remembered is None:
                known = self._hub.known(key)
                view = await known.view(sweep_id, key) if known else TrackerView(where)
                return api_key, view
            api_key = remembered
        project = self._hub.project(key, where, api_key)
        project.unwatch(key, keep=sweep_id)
        view = await project.view(sweep_id, key)
        if view.problem and view.problem.reason == "TrackerUnauthorized":
            self._keys.stale(key.namespace, reference)
        if any(job.finished_at and view.sweep and view.sweep.read_at <= job.finished_at for job in jobs):
            project.poke()
        return None, view

    def _departed(self, who: Identity, status: SweepRunStatus | FinetuneJobStatus) -> tuple[PodFacts, ...]:
        counted = status.usage.updated_at if status.usage else None
        if counted is not None:
            self._store.departed.drop(who.uid, until=counted)
        return self._store.departed.of(who.uid)

    async def _creation_error(
        self, who: Identity, jobs: tuple[JobFacts, ...], pods: tuple[PodFacts, ...], now: datetime
    ) -> str | None:
        silent = next((job for job in jobs if job.wants_pods and not _has_active(job, pods)), None)
        if silent is None:
            self._creation.forget(who.uid)
            return None
        return await self._creation.of(who.uid, who.namespace, silent.name, now)

    def _source(self, key: Key, resource: SweepRun | FinetuneJob) -> Source | None:
        if not isinstance(resource, FinetuneJob) or resource.spec.hyperparameters_from is None:
            return None
        name = resource.spec.hyperparameters_from.sweep_run_ref.name
        body = self._store.get(Key("SweepRun", key.namespace, name))
        if body is None:
            return None
        status = SweepRunStatus.model_validate(body.get("status") or {})
        current = status.observed_generation == body["metadata"].get("generation", 1)
        ready = c.find(status.conditions, c.READY)
        return Source(
            name=name,
            complete=current and c.is_true(status.conditions, c.COMPLETE),
            failed=current and c.is_true(status.conditions, c.FAILED),
            state=ready.reason if ready else "Pending",
            hyperparameters=status.best_run.hyperparameters if status.best_run else None,
        )


def _has_active(job: JobFacts, pods: tuple[PodFacts, ...]) -> bool:
    return any(pod.job == job.name and pod.active for pod in pods)


def _has_pods(job: JobFacts, pods: tuple[PodFacts, ...]) -> bool:
    return any(pod.job == job.name for pod in pods)
