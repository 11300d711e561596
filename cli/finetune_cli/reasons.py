"""Every reason that a resource's Ready condition can carry, what it means, and what to do about it.

`doctor` takes its fixes from here, and the reference page of the documentation is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["progress", "waits", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason.

    Attributes:
        kind: `progress` goes on by itself; `waits` goes on once its cause is gone; `done` and `failed` are the end.
        fix: What to do; empty where nothing is to be done.
    """

    kind: Kind
    meaning: str
    fix: str = ""


REASONS: dict[str, Reason] = {
    "Accepted": Reason("progress", "The operator has seen the resource and starts a round."),
    "Starting": Reason("progress", "Pods are being created or are starting."),
    "Running": Reason("progress", "Pods are at work."),
    "StageEnding": Reason("progress", "A stage of the search has ended; its agents are leaving."),
    "StageStarting": Reason("progress", "The next stage of the search begins, with what the earlier one has found."),
    "Replacing": Reason("progress", "Waits for the pods of an earlier round or stage to leave."),
    "Finishing": Reason("progress", "The training's pods have ended; their Job is about to."),
    "AdaptationFailed": Reason(
        "done",
        "A round of continuous adaptation brought no result; the configuration in service stays.",
        "read the message; the next round starts with the next spec.continuous.newErrorCases",
    ),
    "Preempted": Reason(
        "progress",
        "The pod was evicted or its node taken; it is started again and resumes from its checkpoint. A FinetuneJob "
        "whose pod leaves so ten times, evicted by nobody, has failed.",
    ),
    "Suspended": Reason("waits", "spec.suspend is set.", "set spec.suspend to false to go on"),
    "ScaledToZero": Reason("waits", "spec.parallelism is 0.", "kubectl scale sweeprun/NAME --replicas=2"),
    "Resuming": Reason("waits", "spec.suspend was lifted; the sweep's state is being read.", "nothing, it is short"),
    "PausedInTracker": Reason("waits", "Somebody paused the sweep in W&B.", "resume it on the sweep's page"),
    "WaitingForSweep": Reason(
        "waits",
        "The SweepRun of hyperparametersFrom is not complete.",
        "wait, or look why it is not: finetune watch swr/NAME",
    ),
    "SweepRunNotFound": Reason(
        "waits",
        "The SweepRun of hyperparametersFrom does not exist.",
        "submit it, or correct the name in spec.hyperparametersFrom",
    ),
    "SweepRunFailed": Reason(
        "waits",
        "The SweepRun of hyperparametersFrom has failed and names no best run.",
        "find out why with finetune watch swr/NAME, correct and resubmit it",
    ),
    "SecretMissing": Reason(
        "waits",
        "The Secret with the API key, or the key within it, does not exist.",
        "kubectl create secret generic wandb --from-literal=api-key=KEY, or correct spec.wandb.apiKeySecretRef",
    ),
    "TrackerUnauthorized": Reason(
        "waits",
        "The tracker refused the API key.",
        "put a valid API key into the Secret; the operator notices by itself",
    ),
    "TrackerUnreachable": Reason(
        "waits",
        "The operator cannot reach the tracker. Running pods go on.",
        "check spec.wandb.baseURL, the operator's network policy, the proxy and the tracker itself",
    ),
    "TrackerThrottled": Reason(
        "waits",
        "The tracker asks for fewer requests (HTTP 429). The operator waits as told.",
        "nothing; for many sweeps in one project, spread them over projects",
    ),
    "TrackerUnavailable": Reason(
        "waits",
        "A pod could not reach the tracker; it is tried again with growing pauses.",
        "check the pods' way to the tracker: network policy, proxy, spec.wandb.baseURL",
    ),
    "Unschedulable": Reason(
        "waits",
        "No node can take the pod; the message is the scheduler's.",
        "add nodes, lower spec.trainer.resources, or tolerate the taint in spec.trainer.podTemplate",
    ),
    "QuotaExceeded": Reason(
        "waits",
        "A ResourceQuota of the namespace is used up.",
        "wait for other work to end, lower spec.parallelism, or have the quota raised",
    ),
    "QueueNotAdmitted": Reason(
        "waits",
        "Kueue has not admitted the Job, or somebody suspended it.",
        "look at the queue: kubectl get workloads; kubectl describe localqueue NAME",
    ),
    "ImagePullFailed": Reason(
        "waits",
        "The trainer's image cannot be pulled.",
        "correct spec.trainer.image, or give the namespace's ServiceAccount an imagePullSecret",
    ),
    "PodCreationFailed": Reason(
        "waits",
        "The API server refuses the Job or its pods, often by Pod Security or an admission webhook.",
        "read the message; adapt spec.trainer.podTemplate to the namespace's policy",
    ),
    "ContainerCreateFailed": Reason(
        "waits",
        "The container cannot be created, often for a missing ConfigMap, Secret or volume.",
        "correct what the message names in spec.trainer.podTemplate",
    ),
    "NameTaken": Reason(
        "waits",
        "An object with the name of a child exists and belongs to somebody else.",
        "rename the resource, or delete the other object",
    ),
    "Forbidden": Reason(
        "waits",
        "The operator's ServiceAccount lacks a right in this namespace; the message names it.",
        "helm upgrade the release with rbac.create, or add the verb that the message names to the operator's Role",
    ),
    "InvalidSpec": Reason(
        "failed", "The spec contradicts itself; the message names the field.", "correct the field and apply again"
    ),
    "BadConfig": Reason(
        "failed",
        "The trainer refused the configuration; it is not tried again.",
        "correct the field that the message names and apply again",
    ),
    "BadData": Reason(
        "failed",
        "The dataset or a regression suite is missing, malformed or too small; it is not tried again.",
        "correct spec.trainer.dataset.uri, mount its volume, or lower minErrorCases",
    ),
    "OutOfMemory": Reason(
        "failed",
        "The pod ran out of GPU or host memory, twice.",
        "halve batch_size and double gradient_accumulation, or raise spec.trainer.resources.memory",
    ),
    "Diverged": Reason(
        "failed",
        "The loss became NaN or infinite; with a fixed seed it would again.",
        "lower learning_rate, or raise warmup_ratio",
    ),
    "Error": Reason(
        "failed",
        "The trainer failed for a reason that it could not name.",
        "read finetune logs NAME; retry by a change of the spec",
    ),
    "ResultLost": Reason(
        "failed",
        "The training ended, but neither its pod nor the tracker has its result.",
        "apply again with another seed; keep pods longer with ttlSecondsAfterFinished",
    ),
    "AgentsExited": Reason(
        "failed",
        "Three times in a row all agents left without an error, and not one trial had ended.",
        "read finetune logs NAME; an image of your own has to obey the trial contract",
    ),
    "SweepDeleted": Reason(
        "failed", "Somebody deleted the sweep in W&B.", "apply again with a changed spec to start a new one"
    ),
    "NoFinishedTrial": Reason(
        "failed",
        "Not one trial finished with a value of the metric.",
        "read finetune logs NAME; check metric.name and the search space",
    ),
    "BudgetExhausted": Reason(
        "done",
        "A ceiling of spec.budget is reached; results are kept. Failed if no trial had finished.",
        "raise spec.budget and spec.trials to search on",
    ),
    "Complete": Reason("done", "All trials are done."),
    "Trained": Reason("done", "The training is done; no promotion was asked for."),
    "Promoted": Reason("done", "The model is in service."),
    "Rejected": Reason(
        "done",
        "A gate was not met; the model stays out of service.",
        "look at status.promotion.gates; train a better model or change the bounds knowingly",
    ),
    "AwaitingApproval": Reason("done", "All gates are met; somebody has to approve.", "finetune approve NAME"),
    "RolledBack": Reason("done", "The version that was in service before is again."),
}
"""Reason -> meaning and fix."""

FIXES: dict[str, str] = {
    name: reason.fix for name, reason in REASONS.items() if reason.kind in ("waits", "failed") and reason.fix
}
"""Fixes of the reasons that keep a resource from running."""
