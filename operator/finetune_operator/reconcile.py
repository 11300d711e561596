"""One reconcile: observe, plan, act, write the status. No decision is made here."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from finetune_operator import conditions as c
from finetune_operator import lifecycle, plan_finetune, plan_sweep
from finetune_operator.actions import Results
from finetune_operator.api import FinetuneJob, FinetuneJobStatus, SweepRun, SweepRunStatus
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ForbiddenError, NotFoundError
from finetune_operator.execute import Executor
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Observer, identity
from finetune_operator.recorder import Recorder
from finetune_operator.store import Key, Store

logger = logging.getLogger(__name__)

_NUMBERS = {"trials", "activeAgents", "bestRun", "conditions", "stages"}
_PASSES = 6
"""Plans in a row within one reconcile: each follows on what the one before has brought."""


def parse(kind: str, body: dict[str, Any]) -> SweepRun | FinetuneJob:
    """A custom resource as its model.

    Raises:
        ValidationError: The spec is not valid (older CRDs, or rules that a schema cannot express).
    """
    document = {"spec": body.get("spec") or {}, "status": body.get("status") or {}}
    return SweepRun.model_validate(document) if kind == "SweepRun" else FinetuneJob.model_validate(document)


class Reconciler:
    """Brings one resource a step nearer to its spec.

    Args:
        spacing: Least seconds between a status write and one that changes numbers alone.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        observer: Observer,
        executor: Executor,
        recorder: Recorder,
        metrics: Metrics,
        spacing: float,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._observer = observer
        self._executor = executor
        self._recorder = recorder
        self._metrics = metrics
        self._spacing = spacing
        self._written: dict[Key, float] = {}

    def forget(self, key: Key) -> None:
        """A resource is gone."""
        self._written.pop(key, None)

    async def reconcile(self, key: Key) -> float | None:
        """Reconciles a resource; returns the seconds after which to look again, None for not before something happens.

        Raises:
            EdgeError: The API server or the tracker failed; try again later.
        """
        started = time.monotonic()
        try:
            return await self._reconcile(key)
        except ForbiddenError as error:
            await self._forbidden(key, error)
            raise
        finally:
            self._metrics.reconcile_seconds.labels(key.kind).observe(time.monotonic() - started)

    async def _reconcile(self, key: Key) -> float | None:
        results = Results()
        for _ in range(_PASSES):
            body = self._store.get(key)
            if body is None:
                return None
            try:
                resource = parse(key.kind, body)
            except ValidationError as error:
                await self._reject(key, body, error)
                return None
            observed = replace(await self._observer.observe(key, body, resource), results=results)
            plan = plan_sweep.plan(observed) if isinstance(resource, SweepRun) else plan_finetune.plan(observed)
            known, results = results, replace(results, problem=None)
            if plan.actions:
                results = await self._executor.run(key, body, resource, plan.actions, results)
                if results.problem is not None:
                    continue  # what was planned has not come about: say that instead
                if results != known:
                    continue  # what it brought makes the status that is worth writing
            if plan.status is not None and (wait := await self._write(key, body, resource.status, plan.status)):
                return wait
            if not plan.actions and (plan.requeue is None or plan.requeue.total_seconds() > 0):
                return plan.requeue.total_seconds() if plan.requeue else None
            if plan.actions and results == known:
                return plan.requeue.total_seconds() if plan.requeue else None
        return 1.0

    async def _reject(self, key: Key, body: dict[str, Any], error: ValidationError) -> None:
        """A spec that the model refuses: said once, in status, with the field's name."""
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg'].removeprefix('Value error, ')}"
        now = datetime.now(UTC).replace(microsecond=0)
        generation = identity(key, body).generation
        status = _status(key.kind, body)
        stalled = lifecycle.stalled(status, "InvalidSpec", message, generation, now)
        await self._write(key, body, status, stalled)

    async def _forbidden(self, key: Key, error: ForbiddenError) -> None:
        """A right that the operator lacks: said in status, since its log is not what users look at."""
        body = self._store.get(key)
        if body is None or lifecycle.finished(status := _status(key.kind, body)):
            return
        now = datetime.now(UTC).replace(microsecond=0)
        generation = identity(key, body).generation
        message = f"The operator may not do what this needs: {error.message}"
        waiting = lifecycle.progressing(status, "Forbidden", message, generation, now, resumed=False)
        # what the new generation asks for is still to be done
        waiting = waiting.model_copy(update={"observed_generation": status.observed_generation})
        await self._write(key, body, status, waiting)

    async def _write(
        self,
        key: Key,
        body: dict[str, Any],
        old: SweepRunStatus | FinetuneJobStatus,
        new: SweepRunStatus | FinetuneJobStatus,
    ) -> float:
        """Writes what has changed; returns the seconds that this has to wait for, 0 when it is done."""
        before = body.get("status") or {}
        patch = c.merge_patch(before, new.to_wire())
        if not patch:
            return 0.0
        pause = self._written.get(key, float("-inf")) + self._spacing - time.monotonic()
        if pause > 0 and only_numbers(before, patch):
            return pause
        current = self._store.get(key) or body
        version = current["metadata"]["resourceVersion"]
        document = {"metadata": {"resourceVersion": version}, "status": patch}
        try:
            written = await self._cluster.patch(key.plural, key.namespace, key.name, document, "status")
        except NotFoundError:
            self._store.remove(key, body["metadata"]["uid"])
            return 0.0
        self._store.update(key, written)
        self._written[key] = time.monotonic()
        self._recorder.record(key, body, old, new)
        return 0.0


def only_numbers(status: dict[str, Any], patch: dict[str, Any]) -> bool:
    """Whether a status patch tells of progress alone: counts and sentences, no condition, no reason, no cost."""
    if not patch.keys() <= _NUMBERS:
        return False

    def facts(document: dict[str, Any]) -> list[Any]:
        conditions = [{**condition, "message": ""} for condition in document.get("conditions") or ()]
        return [conditions, [(stage.get("state"), stage.get("sweep")) for stage in document.get("stages") or ()]]

    return facts({**status, **patch}) == facts(status)


def _status(kind: str, body: dict[str, Any]) -> SweepRunStatus | FinetuneJobStatus:
    model = SweepRunStatus if kind == "SweepRun" else FinetuneJobStatus
    try:
        return model.model_validate(body.get("status") or {})
    except ValidationError:
        return model()
