"""Names, labels and annotations of all that the operator creates; deterministic: a crash never makes a second one."""

from __future__ import annotations

import hashlib

from finetune_operator.api import GROUP

KIND_LABEL = f"{GROUP}/kind"
NAME_LABEL = f"{GROUP}/name"
UID_LABEL = f"{GROUP}/uid"
ROUND_LABEL = f"{GROUP}/round"
STAGE_LABEL = f"{GROUP}/stage"
ATTEMPT_LABEL = f"{GROUP}/attempt"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "finetune-operator"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
CHILD_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY},{UID_LABEL}"

TRIAL_ANNOTATION = f"{GROUP}/trial"
"""Of a trainer pod: the trial's JSON document, which the downward API mounts as a file."""
INPUTS_ANNOTATION = f"{GROUP}/inputs"
"""Of a training's Job: digest of what it was made from, by which a Job is known that the status does not mention."""
APPROVED_BY_ANNOTATION = f"{GROUP}/approved-by"
ROLLBACK_ANNOTATION = f"{GROUP}/rollback"
ERROR_CASES_ANNOTATION = f"{GROUP}/error-cases"
FINALIZER = f"{GROUP}/tracker"

CONTAINER = "trainer"

_LABEL_LIMIT = 63
"""Bytes in a label value, and in the name of a Job, whose pods carry it as a label."""


def bounded(text: str, limit: int = _LABEL_LIMIT) -> str:
    """`text`, or when it is too long its beginning with a hash of the whole."""
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: limit - 9].rstrip('-.')}-{digest}"


def child_name(owner: str, suffix: str) -> str:
    """Name of a child: the owner's, shortened if it must be, and the suffix; always a DNS label."""
    return f"{bounded(owner.replace('.', '-'), _LABEL_LIMIT - len(suffix) - 1)}-{suffix}"


def run_id(uid: str, round_number: int) -> str:
    """W&B run id of a FinetuneJob's round; fixed, so that a retried pod continues the same run."""
    return hashlib.sha256(f"{uid}/{round_number}".encode()).hexdigest()[:12]


def sweep_mark(uid: str) -> str:
    """Beginning of the tokens of all sweeps of a SweepRun."""
    return f"finetune.dev:{uid}"


def sweep_token(uid: str, round_number: int, stage: int) -> str:
    """Mark in a sweep's description by which the operator finds the sweep it made before a crash."""
    return f"{sweep_mark(uid)}:{round_number}:{stage}"
