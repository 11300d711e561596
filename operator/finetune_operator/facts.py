"""What the operator needs to know of Jobs, pods, runs and sweeps, trimmed from the objects that carry it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from finetune_trainer.contract import FailureClass, TrialResult
from pydantic import ValidationError

from finetune_operator import names

_MESSAGE_LIMIT = 512

UNAVAILABLE_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
SWEEP_OVER = frozenset({"FINISHED", "CANCELED", "CANCELLED", "STOPPED", "CRASHED", "FAILED"})
"""States in which a sweep hands out no more trials, for good."""
BAD_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def parse_time(text: str | None) -> datetime | None:
    """RFC 3339 -> aware datetime; None stays None."""
    if not text:
        return None
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One child Job."""

    name: str
    uid: str
    round: int
    stage: int
    attempt: int
    parallelism: int
    suspended: bool
    active: int
    succeeded: int
    failed: int
    complete: bool
    failure_reason: str | None
    failure_message: str
    created_at: datetime | None
    finished_at: datetime | None
    deleting: bool
    ttl: int | None
    inputs: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the Job controller has given it its last condition."""
        return self.complete or self.failure_reason is not None

    @property
    def wants_pods(self) -> bool:
        """Whether there should be pods of it."""
        return not (self.finished or self.suspended or self.deleting) and self.parallelism > 0

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> JobFacts:
        """Trims a batch/v1 Job."""
        metadata, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
        labels = metadata.get("labels", {})
        ends = {c["type"]: c for c in status.get("conditions", ()) if c.get("status") == "True"}
        failed, complete = ends.get("Failed"), ends.get("Complete")
        end = failed or complete
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            round=_int(labels.get(names.ROUND_LABEL)),
            stage=_int(labels.get(names.STAGE_LABEL)),
            attempt=_int(labels.get(names.ATTEMPT_LABEL)),
            parallelism=spec.get("parallelism", 1),
            suspended=bool(spec.get("suspend")),
            active=status.get("active", 0) or 0,
            succeeded=status.get("succeeded", 0) or 0,
            failed=status.get("failed", 0) or 0,
            complete=complete is not None,
            failure_reason=failed.get("reason", "Failed") if failed else None,
            failure_message=(failed or {}).get("message", "")[:_MESSAGE_LIMIT],
            created_at=parse_time(metadata.get("creationTimestamp")),
            finished_at=parse_time(end.get("lastTransitionTime")) if end else None,
            deleting="deletionTimestamp" in metadata,
            ttl=spec.get("ttlSecondsAfterFinished"),
            inputs=metadata.get("annotations", {}).get(names.INPUTS_ANNOTATION),
        )


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One trainer pod."""

    name: str
    job: str
    round: int
    index: int
    phase: str
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    exit_reason: str | None
    waiting_reason: str | None
    waiting_message: str
    unschedulable: str | None
    gated: bool
    disrupted: bool
    deleting: bool
    created_at: datetime | None
    result: TrialResult | None

    @property
    def active(self) -> bool:
        """Whether it runs or may still start."""
        return self.phase in ("Pending", "Running", "Unknown")

    @property
    def failure(self) -> FailureClass | None:
        """Class of its failure by the trial contract: what the trainer said first, then its exit code; None if none."""
        if self.phase != "Failed" and self.exit_code in (None, 0):
            return None
        if self.exit_reason == "OOMKilled":
            return FailureClass.OUT_OF_MEMORY
        if self.disrupted:
            return FailureClass.PREEMPTED
        if self.result is not None and self.result.failure_class is not None:
            return self.result.failure_class
        return {
            2: FailureClass.BAD_CONFIG,
            3: FailureClass.OUT_OF_MEMORY,
            75: FailureClass.TRACKER_UNAVAILABLE,
            143: FailureClass.PREEMPTED,
        }.get(self.exit_code or 0, FailureClass.ERROR)

    @property
    def preempted_itself(self) -> bool:
        """Whether it says that it was preempted, although nobody has evicted or deleted it."""
        return self.failure is FailureClass.PREEMPTED and not self.disrupted and not self.deleting

    @property
    def failure_message(self) -> str:
        """What is known of its failure, in a sentence."""
        if self.result is not None and self.result.message:
            return self.result.message[:_MESSAGE_LIMIT]
        if self.exit_reason == "OOMKilled":
            return f"pod {self.name} was killed for memory (exit code {self.exit_code})"
        if self.disrupted:
            return f"pod {self.name} was disrupted (evicted, preempted or drained)"
        return f"pod {self.name} ended with exit code {self.exit_code}"

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> PodFacts:
        """Trims a v1 Pod."""
        metadata, status = body["metadata"], body.get("status", {})
        labels = metadata.get("labels", {})
        conditions = {c["type"]: c for c in status.get("conditions", ())}
        scheduled = conditions.get("PodScheduled", {})
        container: dict[str, Any] = next(
            (c for c in status.get("containerStatuses", ()) if c.get("name") == names.CONTAINER), {}
        )
        state = container.get("state") or {}
        terminated = state.get("terminated") or {}
        waiting = state.get("waiting") or {}
        running = state.get("running") or {}
        return cls(
            name=metadata["name"],
            job=labels.get("batch.kubernetes.io/job-name") or labels.get("job-name", ""),
            round=_int(labels.get(names.ROUND_LABEL)),
            index=_int(labels.get("batch.kubernetes.io/job-completion-index")),
            phase=status.get("phase", "Pending"),
            started_at=parse_time(running.get("startedAt") or terminated.get("startedAt")),
            finished_at=parse_time(terminated.get("finishedAt")),
            exit_code=terminated.get("exitCode"),
            exit_reason=terminated.get("reason"),
            waiting_reason=waiting.get("reason"),
            waiting_message=(waiting.get("message") or "")[:_MESSAGE_LIMIT],
            unschedulable=scheduled.get("message", "")[:_MESSAGE_LIMIT]
            if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
            else None,
            gated=scheduled.get("reason") == "SchedulingGated",
            disrupted=conditions.get("DisruptionTarget", {}).get("status") == "True",
            deleting="deletionTimestamp" in metadata,
            created_at=parse_time(metadata.get("creationTimestamp")),
            result=_parse_result(terminated.get("message")),
        )


def _parse_result(message: str | None) -> TrialResult | None:
    if not message:
        return None
    try:
        return TrialResult.model_validate_json(message)
    except ValidationError:
        return None


class RunState:
    """Groups of W&B run states."""

    LIVE = frozenset({"pending", "running"})
    PREEMPTED = frozenset({"preempting", "preempted"})
    SUCCEEDED = frozenset({"finished"})
    FAILED = frozenset({"failed", "crashed"})
    STOPPED = frozenset({"killed"})


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One W&B run.

    Attributes:
        artifact: `entity/project/name:version` of the model that it logged; read only for single runs.
    """

    id: str
    state: str
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    created_at: str = ""
    artifact: str | None = None

    def metric(self, key: str) -> float | None:
        """A finite number from the summary, else None: a NaN, an infinity or a text never wins a comparison."""
        value = self.summary.get(key)
        if isinstance(value, dict):  # wandb.define_metric(summary="min") nests the aggregate
            value = next((value[k] for k in ("min", "max", "best", "last", "mean") if k in value), None)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        return float(value)


def parse_config(text: str | dict[str, Any] | None) -> dict[str, Any]:
    """A run's config without W&B's `{"value": v}` wrapping and its own bookkeeping keys."""
    document = json.loads(text) if isinstance(text, str) and text else text or {}
    return {
        key: item["value"] if isinstance(item, dict) and "value" in item else item
        for key, item in document.items()
        if not key.startswith("_")
    }


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """The dataset of a search, as it is now.

    Attributes:
        version: What changes when it changes.
        cases: Its error cases; None while they cannot be told.
        problem: Why not, and what would help.
    """

    version: str | None = None
    cases: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """One W&B sweep with its runs, as read at `read_at`."""

    id: str
    state: str
    url: str
    runs: tuple[RunFacts, ...]
    read_at: datetime

    @property
    def over(self) -> bool:
        """Whether the tracker hands out no more trials, for good."""
        return self.state.upper() in SWEEP_OVER

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self.state.upper() == "PAUSED"
