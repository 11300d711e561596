"""The Job controller's decisions as a pure function: one Job, its pods and the time in, a plan out.

The steps and their order follow `syncJob` of kube-controller-manager. Counting is exact over crashes by the same
means: an ended pod's uid first goes to `status.uncountedTerminatedPods`, then its finalizer is removed, and only a
later pass, which sees it without the finalizer, moves it to the counters. Each pass is one plan.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from finetune_sandbox.controllers import job_rules as rules
from finetune_sandbox.controllers.job_backoff import NO_FAILURES, Backoff, backoff_delay, next_backoff
from finetune_sandbox.controllers.pods import least_useful
from finetune_sandbox.objects import (
    Object,
    condition,
    is_deleting,
    is_true,
    seconds_of,
    text_time,
    uid_of,
    without_nulls,
)

PODS_PER_PASS = 500


class Event(NamedTuple):
    """An event about the Job: kind (Normal, Warning), reason, message."""

    kind: str
    reason: str
    message: str


class NewPod(NamedTuple):
    """A pod to create: its completion index, if it has one, and annotations beyond that."""

    completion_index: int | None
    annotations: dict[str, str]


@dataclass
class Plan:
    """What to do, in this order.

    Attributes:
        create: Pods to make.
        delete: Active pods to delete.
        untrack: Whether deleted pods lose their finalizer first, and so are never counted.
        events: Events of this pass.
        status: The Job's next status.
        release: Pods that lose the tracking finalizer once the status is written.
        announce: Events after the status is written.
        again_in: Seconds until another look is due.
        backoff: The failure record to remember.
    """

    status: Object
    create: list[NewPod] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    untrack: bool = False
    events: list[Event] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)
    announce: list[Event] = field(default_factory=list)
    again_in: float | None = None
    backoff: Backoff = NO_FAILURES


def is_finished(job: Object) -> bool:
    """Whether the Job has completed or failed for good."""
    return is_true(job, "Complete") or is_true(job, "Failed")


def plan(job: Object, pods: Sequence[Object], now: float, backoff: Backoff = NO_FAILURES) -> Plan:
    """Decides what to do about a Job.

    Args:
        job: The Job, with the API server's defaults.
        pods: The pods it controls.
        now: Seconds since the epoch.
        backoff: The failure record that the last plan returned.
    """
    if is_finished(job):
        return Plan(
            copy.deepcopy(job["status"]), release=[pod for pod in pods if rules.is_tracked(pod)], backoff=backoff
        )
    return _Pass(job, pods, now, backoff).run()


class _Pass:
    """One look at an unfinished Job."""

    def __init__(self, job: Object, pods: Sequence[Object], now: float, backoff: Backoff) -> None:
        self.job, self.spec, self.pods, self.now = job, job["spec"], pods, now
        self.status: Object = copy.deepcopy(job.get("status") or {})
        self.conditions: list[Object] = self.status.setdefault("conditions", [])
        uncounted = self.status.get("uncountedTerminatedPods") or {}
        self.uncounted_succeeded = list(uncounted.get("succeeded") or ())
        self.uncounted_failed = list(uncounted.get("failed") or ())
        self.active = [pod for pod in pods if rules.is_active(pod)]
        self.ready = sum(is_true(pod, "Ready") for pod in self.active)
        self.terminating = sum(map(rules.is_terminating, pods))
        self.result = Plan(self.status)
        self.succeeded_indexes: set[int] = set()
        self.failed_indexes: set[int] = set()
        self.delayed: dict[int, Object] = {}
        tracked = [pod for pod in pods if rules.is_tracked(pod)]
        new_failed = [pod for pod in tracked if rules.is_failed(job, pod) and uid_of(pod) not in self.uncounted_failed]
        new_succeeded = [
            pod for pod in tracked if rules.phase(pod) == "Succeeded" and uid_of(pod) not in self.uncounted_succeeded
        ]
        counted = [pod for pod in new_failed if rules.judge(job, pod).counts]
        self.succeeded = self.status.get("succeeded", 0) + len(new_succeeded) + len(self.uncounted_succeeded)
        self.failed = self.status.get("failed", 0) + len(counted) + len(self.uncounted_failed)
        self.backoff = next_backoff(backoff, new_succeeded, new_failed)

    def run(self) -> Plan:
        if not self.status.get("startTime") and not self._suspended():
            self.status["startTime"] = text_time(self.now)
        verdict = self._interim() or self._exceeded()
        if rules.is_indexed(self.job):
            verdict = self._judge_indexes(verdict)
        if verdict:
            self._delete(self.active, untrack=False)
        elif not is_deleting(self.job):
            self._manage()
            verdict = self._completed()
            if not verdict:
                self._note_suspension()
        self.status.update(active=self._still_active(), ready=self.ready, terminating=self.terminating)
        self._count(verdict)
        self._finish(verdict)
        self.result.status = without_nulls(self.status)
        self.result.status |= {"ready": self.ready, "terminating": self.terminating}
        self.result.backoff = self.backoff
        return self.result

    def _suspended(self) -> bool:
        return bool(self.spec.get("suspend"))

    def _condition(self, kind: str, reason: str, message: str, status: str = "True") -> Object:
        when = text_time(self.now)
        return {
            "type": kind,
            "status": status,
            "lastProbeTime": when,
            "lastTransitionTime": when,
            "reason": reason,
            "message": message,
        }

    def _interim(self) -> Object | None:
        """What an earlier pass decided; it stands."""
        for kind in ("SuccessCriteriaMet", "FailureTarget"):
            if is_true(self.job, kind):
                return condition(self.job, kind)
        return None

    def _exceeded(self) -> Object | None:
        for pod in self.pods:
            if rules.is_failed(self.job, pod) and (message := rules.judge(self.job, pod).message):
                return self._condition("FailureTarget", "PodFailurePolicy", message)
        if self.failed > self._backoff_limit() or self._restarted_too_often():
            return self._condition(
                "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            )
        limit, start = self.spec.get("activeDeadlineSeconds"), self.status.get("startTime")
        if limit is not None and start and not self._suspended():
            remaining = seconds_of(start) + limit - self.now
            if remaining <= 0:
                return self._condition(
                    "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
                )
            self.result.again_in = remaining
        return None

    def _restarted_too_often(self) -> bool:
        if self.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = 0
        for pod in self.pods:
            if rules.phase(pod) in ("Running", "Pending"):
                status = pod.get("status") or {}
                both = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
                restarts += sum(container.get("restartCount", 0) for container in both)
        limit = self._backoff_limit()
        return restarts > 0 if limit == 0 else restarts >= limit

    def _backoff_limit(self) -> int:
        return int(self.spec.get("backoffLimit", 2**31 - 1 if rules.limits_per_index(self.job) else 6))

    def _judge_indexes(self, verdict: Object | None) -> Object | None:
        completions = self.spec["completions"]
        done = {rules.valid_index(self.job, pod) for pod in self.pods if self._counts_as_success(pod)}
        known = {i for i in rules.parse_indexes(self.status.get("completedIndexes")) if i < completions}
        self.succeeded_indexes = known | {index for index in done if index is not None}
        self.succeeded = len(self.succeeded_indexes)
        if rules.limits_per_index(self.job):
            doubtful = () if verdict else self.pods  # what a Job that ends deletes has not failed
            lost = {rules.valid_index(self.job, pod) for pod in doubtful if rules.index_failed(self.job, pod)}
            self.failed_indexes = rules.parse_indexes(self.status.get("failedIndexes")) | {
                i for i in lost if i is not None
            }
            failed, most = len(self.failed_indexes), self.spec.get("maxFailedIndexes")
            if not verdict and most is not None and failed > most:
                message = "Job has exceeded the specified maximal number of failed indexes"
                verdict = self._condition("FailureTarget", "MaxFailedIndexesExceeded", message)
            elif not verdict and failed and failed + self.succeeded >= completions:
                verdict = self._condition("FailureTarget", "FailedIndexes", "Job has failed indexes")
            self.delayed = self._to_be_replaced()
        if not verdict and (matched := rules.success_rule(self.job, self.succeeded_indexes)):
            verdict = self._condition("SuccessCriteriaMet", "SuccessPolicy", matched)
        return verdict

    def _counts_as_success(self, pod: Object) -> bool:
        return rules.phase(pod) == "Succeeded" and rules.is_tracked(pod)

    def _to_be_replaced(self) -> dict[int, Object]:
        """Per index the failed pod whose count its replacement will carry on; it keeps its finalizer until then."""
        latest: dict[int, Object] = {}
        for pod in self.pods:
            index = rules.valid_index(self.job, pod)
            if index is None or index in self.succeeded_indexes | self.failed_indexes:
                continue
            if index not in latest or _attempts(pod) > _attempts(latest[index]):
                latest[index] = pod
        return {i: pod for i, pod in latest.items() if rules.is_failed(self.job, pod) and rules.is_tracked(pod)}

    def _manage(self) -> None:
        """Plans which pods to make or remove so that as many run as should."""
        if self._suspended():
            return self._delete(self.active, untrack=True)
        parallelism, completions = self.spec.get("parallelism", 1), self.spec.get("completions")
        if completions is None:
            wanted = len(self.active) if self.succeeded else parallelism
        else:
            wanted = max(min(completions - self.succeeded, parallelism), 0)
        surplus = self._surplus(len(self.active) - wanted)
        if surplus:
            return self._delete(surplus[:PODS_PER_PASS], untrack=True)
        waiting = self.terminating if rules.replaces_only_failed(self.job) else 0
        missing = min(wanted - waiting - len(self.active), PODS_PER_PASS)
        if missing <= 0:
            return None
        if not rules.limits_per_index(self.job) and (delay := self.backoff.remaining(self.now)) > 0:
            return self._again(delay)
        if not rules.is_indexed(self.job):
            self.result.create = [NewPod(None, {})] * missing
            return None
        return self._create_indexes(missing)

    def _create_indexes(self, missing: int) -> None:
        taken = {rules.index_of(pod) for pod in self.active} | self.succeeded_indexes | self.failed_indexes
        if rules.replaces_only_failed(self.job):
            taken |= {rules.index_of(pod) for pod in self.pods if rules.is_terminating(pod)}
        free = [index for index in range(self.spec["completions"]) if index not in taken][:missing]
        if not rules.limits_per_index(self.job):
            self.result.create = [NewPod(index, {}) for index in free]
            return
        delays = {}
        for index in free:
            replaced = self.delayed.get(index)
            due = rules.finished_at(replaced) + backoff_delay(_attempts(replaced) + 1) if replaced else self.now
            delays[index] = due - self.now
            if due <= self.now:
                self.result.create.append(NewPod(index, rules.failures_before(self.job, replaced)))
        later = [delay for delay in delays.values() if delay > 0]
        if later:
            self._again(min(later))

    def _surplus(self, count: int) -> list[Object]:
        """Active pods to remove: doubles of an index and such beyond the Job's range, then the least useful ones."""
        surplus, left, seen = [], [], set()
        for pod in sorted(self.active, key=least_useful, reverse=True):
            index = rules.index_of(pod)
            if rules.is_indexed(self.job) and (index in seen or rules.valid_index(self.job, pod) is None):
                surplus.append(pod)
            else:
                left.append(pod)
            seen.add(index)
        more = max(count - len(surplus), 0)
        return surplus + left[::-1][:more]

    def _delete(self, pods: list[Object], untrack: bool) -> None:
        self.result.delete, self.result.untrack = list(pods), untrack
        self.ready -= sum(is_true(pod, "Ready") for pod in pods)
        self.terminating += len(pods)

    def _again(self, seconds: float) -> None:
        known = self.result.again_in
        self.result.again_in = seconds if known is None else min(known, seconds)

    def _still_active(self) -> int:
        return len(self.active) + len(self.result.create) - len(self.result.delete)

    def _completed(self) -> Object | None:
        completions = self.spec.get("completions")
        enough = self.succeeded > 0 if completions is None else self.succeeded >= completions
        if not enough or self._still_active():
            return None
        return self._condition("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")

    def _note_suspension(self) -> None:
        if self._suspended() and self._set("Suspended", "True", "JobSuspended", "Job suspended"):
            self.result.events.append(Event("Normal", "Suspended", "Job suspended"))
        elif not self._suspended() and self._set("Suspended", "False", "JobResumed", "Job resumed"):
            self.result.events.append(Event("Normal", "Resumed", "Job resumed"))
            self.status["startTime"] = text_time(self.now)

    def _set(self, kind: str, status: str, reason: str, message: str) -> bool:
        """Sets a condition; says whether that changed it. A missing condition is already False."""
        present = next((c for c in self.conditions if c["type"] == kind), None)
        if (present["status"] if present else "False") == status:
            return False
        wanted = self._condition(kind, reason, message, status)
        if present:
            present.update(wanted)
        else:
            self.conditions.append(wanted)
        return True

    def _count(self, verdict: Object | None) -> None:
        """Moves released pods from uncounted to the counters, and newly ended ones to uncounted."""
        tracked = {uid_of(pod) for pod in self.pods if rules.is_tracked(pod)}
        for counter, uids in (("succeeded", self.uncounted_succeeded), ("failed", self.uncounted_failed)):
            self.status[counter] = self.status.get(counter, 0) + sum(uid not in tracked for uid in uids)
            uids[:] = [uid for uid in uids if uid in tracked]
        completions = self.spec.get("completions") or 0
        indexes = {i for i in rules.parse_indexes(self.status.get("completedIndexes")) if i < completions}
        untracked = {uid_of(pod) for pod in self.result.delete} if self.result.untrack else set()
        for pod in self.pods:
            if len(self.uncounted_succeeded) + len(self.uncounted_failed) >= PODS_PER_PASS:
                self._again(0)
                break
            uid, index = uid_of(pod), rules.valid_index(self.job, pod) if rules.is_indexed(self.job) else None
            if uid not in tracked or uid in untracked or not self._releasable(pod, verdict):
                continue
            self.result.release.append(pod)
            if rules.phase(pod) == "Succeeded" and uid not in self.uncounted_failed:
                if index is not None:
                    indexes.add(index)
                elif not rules.is_indexed(self.job) and uid not in self.uncounted_succeeded:
                    self.uncounted_succeeded.append(uid)
            elif (
                uid not in self.uncounted_failed
                and (index is not None or not rules.is_indexed(self.job))
                and self._counts_as_failure(pod, verdict)
            ):
                self.uncounted_failed.append(uid)
        if rules.is_indexed(self.job):
            self.status.update(completedIndexes=rules.format_indexes(indexes), succeeded=len(indexes))
            if rules.limits_per_index(self.job):
                self.status["failedIndexes"] = rules.format_indexes(self.failed_indexes)
        both = {"succeeded": self.uncounted_succeeded, "failed": self.uncounted_failed}
        self.status["uncountedTerminatedPods"] = {name: uids for name, uids in both.items() if uids}

    def _releasable(self, pod: Object, verdict: Object | None) -> bool:
        if is_deleting(self.job) or verdict or rules.phase(pod) == "Succeeded":
            return True
        index = rules.index_of(pod)
        is_delayed = index is not None and index in self.delayed and uid_of(self.delayed[index]) == uid_of(pod)
        return rules.is_failed(self.job, pod) and not is_delayed

    def _counts_as_failure(self, pod: Object, verdict: Object | None) -> bool:
        """Failed pods count unless the policy ignores them; once the Job fails, so do all that had not succeeded."""
        job_failed = verdict is not None and verdict["type"] != "SuccessCriteriaMet"
        return (rules.is_failed(self.job, pod) or job_failed) and rules.judge(self.job, pod).counts

    def _finish(self, verdict: Object | None) -> None:
        """Records the verdict, and the end once every pod has stopped and been counted."""
        if not verdict:
            return
        if not any(c["type"] == verdict["type"] for c in self.conditions):
            self.conditions.append(verdict)
        if (
            self.uncounted_succeeded
            or self.uncounted_failed
            or self.result.release
            or self.result.delete
            or self.terminating
        ):
            return
        kind = "Complete" if verdict["type"] == "SuccessCriteriaMet" else "Failed"
        self.conditions.append(self._condition(kind, verdict["reason"], verdict["message"]))
        if kind == "Complete":
            self.status["completionTime"] = text_time(self.now)
            self.result.announce.append(Event("Normal", "Completed", "Job completed"))
        else:
            self.result.announce.append(Event("Warning", verdict["reason"], verdict["message"]))


def _attempts(pod: Object) -> int:
    return rules.failure_count(pod) + rules.failure_count(pod, rules.IGNORED_COUNT)
