"""The API of group finetune.dev as frozen pydantic models; the CRDs are generated from them."""

from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.finetunejob import FinetuneJob, FinetuneJobSpec, FinetuneJobStatus
from finetune_operator.api.sweeprun import SweepRun, SweepRunSpec, SweepRunStatus

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "FinetuneJob",
    "FinetuneJobSpec",
    "FinetuneJobStatus",
    "SweepRun",
    "SweepRunSpec",
    "SweepRunStatus",
]
