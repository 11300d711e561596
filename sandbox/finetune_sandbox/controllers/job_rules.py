"""What decides about single pods and indexes of a Job: failure policy, success policy, completion indexes.

Pure functions over JSON; semantics and texts are those of kube-controller-manager.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from finetune_sandbox.objects import Object, condition, is_deleting, key_of, seconds_of

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"


class Verdict(NamedTuple):
    """What the failure policy makes of a failed pod.

    Attributes:
        action: `FailJob`, `FailIndex`, `Ignore`, `Count`, or None when no rule fits.
        counts: Whether the pod counts towards the backoff limit.
        message: For `FailJob`, why the Job fails.
    """

    action: str | None
    counts: bool
    message: str | None = None


def phase(pod: Object) -> str:
    """The pod's phase; a new pod has none yet and counts as Pending."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def is_active(pod: Object) -> bool:
    """Whether the pod still does, or will do, work."""
    return phase(pod) not in ("Succeeded", "Failed") and not is_deleting(pod)


def is_terminating(pod: Object) -> bool:
    """Whether the pod was told to stop and has not yet."""
    return phase(pod) not in ("Succeeded", "Failed") and is_deleting(pod)


def is_tracked(pod: Object) -> bool:
    """Whether the pod is still to be counted."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_indexed(job: Object) -> bool:
    """Whether each pod of the Job has a completion index."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def limits_per_index(job: Object) -> bool:
    """Whether retries are counted for each index on its own."""
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def replaces_only_failed(job: Object) -> bool:
    """Whether a terminating pod is replaced only once it has stopped."""
    return job["spec"].get("podReplacementPolicy") == "Failed" or bool(job["spec"].get("podFailurePolicy"))


def is_failed(job: Object, pod: Object) -> bool:
    """Whether the pod failed; a deleted pod counts as failed, as it may never reach that phase."""
    if phase(pod) == "Failed":
        return True
    return not replaces_only_failed(job) and is_deleting(pod) and phase(pod) != "Succeeded"


def index_of(pod: Object) -> int | None:
    """The pod's completion index."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else None


def valid_index(job: Object, pod: Object) -> int | None:
    """The pod's completion index if the Job has such an index."""
    index = index_of(pod)
    return index if index is not None and index < job["spec"]["completions"] else None


def failure_count(pod: Object, annotation: str = FAILURE_COUNT) -> int:
    """How often the pod's index had failed when the pod was made."""
    text = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    return int(text) if text.isdigit() else 0


def failures_before(job: Object, replaced: Object | None) -> dict[str, str]:
    """The failure count annotations for the next pod of an index."""
    if replaced is None:
        return {FAILURE_COUNT: "0"}
    verdict = judge(job, replaced)
    counted = failure_count(replaced) + (verdict.counts and verdict.action != "Ignore")
    ignored = failure_count(replaced, IGNORED_COUNT) + (verdict.action == "Ignore")
    return {FAILURE_COUNT: str(counted), **({IGNORED_COUNT: str(ignored)} if ignored else {})}


def judge(job: Object, pod: Object) -> Verdict:
    """Applies the Job's podFailurePolicy to a failed pod: the first rule that fits decides."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        reason = _exit_code_match(rule, pod) if rule.get("onExitCodes") else _condition_match(rule, pod)
        if reason is None:
            continue
        action = rule["action"]
        if action == "FailJob":
            return Verdict(action, True, f"{reason} matching FailJob rule at index {number}")
        if action == "FailIndex" and not limits_per_index(job):
            continue
        return Verdict(action, action != "Ignore")
    return Verdict(None, True)


def _exit_code_match(rule: Object, pod: Object) -> str | None:
    wanted, status = rule["onExitCodes"], pod.get("status") or {}
    for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        ended = (container.get("state") or {}).get("terminated")
        if not ended or ended["exitCode"] == 0 or wanted.get("containerName") not in (None, container["name"]):
            continue
        if (ended["exitCode"] in wanted["values"]) == (wanted["operator"] == "In"):
            namespace, name = key_of(pod)
            return f"Container {container['name']} for pod {namespace}/{name} failed with exit code {ended['exitCode']}"
    return None


def _condition_match(rule: Object, pod: Object) -> str | None:
    for pattern in rule.get("onPodConditions") or ():
        found = condition(pod, pattern["type"])
        if found and found["status"] == pattern.get("status", "True"):
            namespace, name = key_of(pod)
            return f"Pod {namespace}/{name} has condition {found['type']}"
    return None


def index_failed(job: Object, pod: Object) -> bool:
    """Whether this pod's failure is the last that its index may have."""
    if not is_tracked(pod) or not is_failed(job, pod):
        return False
    verdict = judge(job, pod)
    return verdict.action == "FailIndex" or (
        verdict.counts and failure_count(pod) >= job["spec"]["backoffLimitPerIndex"]
    )


def success_rule(job: Object, succeeded: set[int]) -> str | None:
    """The message of the first successPolicy rule that the succeeded indexes meet."""
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        count, wanted = rule.get("succeededCount"), succeeded
        if rule.get("succeededIndexes") is not None:
            required = parse_indexes(rule["succeededIndexes"])
            wanted, count = succeeded & required, len(required) if count is None else count
        if count is not None and len(wanted) >= count:
            return f"Matched rules at index {number}"
    return None


def parse_indexes(text: str | None) -> set[int]:
    """`1,3-5,7` as a set."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """A set as `1,3-5,7`: three or more in a row are joined by a hyphen."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def finished_at(pod: Object) -> float:
    """When a pod ended: its last container's end, else when it was told to stop, else its last change of readiness."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    ends = [((s.get("state") or {}).get("terminated") or {}).get("finishedAt") for s in statuses]
    if ends and all(ends):
        return max(seconds_of(end) for end in ends if end)
    meta = pod["metadata"]
    if meta.get("deletionTimestamp"):
        return seconds_of(meta["deletionTimestamp"]) - (meta.get("deletionGracePeriodSeconds") or 0)
    ready = condition(pod, "Ready")
    return seconds_of((ready or {}).get("lastTransitionTime") or meta["creationTimestamp"])
