"""The FinetuneJob kind: one training with evaluation, gates and promotion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from finetune_operator.api.base import PRESERVE, Name, Spec, Status, rules
from finetune_operator.api.shared import PromotionSpec, TrainerSpec, WandbSpec
from finetune_operator.api.status import CommonStatus

Hyperparameters = Annotated[dict[str, Any], Field(json_schema_extra={**PRESERVE, "maxProperties": 64})]


class SweepRunRef(Spec):
    """A SweepRun in the same namespace."""

    name: Name
    """Its name."""


class HyperparametersFrom(Spec):
    """Where hyperparameters come from."""

    sweep_run_ref: SweepRunRef
    """SweepRun whose best run is taken, once it is complete."""


class RetrySpec(Spec):
    """Retries of failures that a retry can cure: never of bad configuration or data, always of preemptions."""

    limit: int = Field(default=3, ge=0, le=100)
    """Further attempts after the first."""


class FinetuneJobSpec(Spec):
    """One training."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(has(self.hyperparametersFrom) && has(self.hyperparameters))",
                "hyperparameters and hyperparametersFrom exclude each other",
            ),
        )
    )

    suspend: bool = False
    """Stop the training gracefully; set it back to resume from the last checkpoint."""
    wandb: WandbSpec = WandbSpec()
    """Where the run is tracked."""
    hyperparameters: Hyperparameters = Field(default_factory=dict)
    """Hyperparameters by name (learning_rate, batch_size, epochs, ...); those not named take the trainer's defaults."""
    hyperparameters_from: HyperparametersFrom | None = None
    """Take them from a SweepRun instead."""
    trainer: TrainerSpec
    """How the training runs."""
    retry: RetrySpec = RetrySpec()
    """Retries."""
    promotion: PromotionSpec | None = None
    """When and where the model goes into service."""


class RunStatus(Status):
    """The W&B run."""

    id: str
    """Run id, fixed for the round, so that a retried pod continues the same run."""
    url: str | None = None
    """Page of the run."""


class MetricsStatus(Status):
    """Scores on the held-out test set, as fractions."""

    wer: float | None = None
    """Word error rate of the candidate."""
    cer: float | None = None
    """Character error rate of the candidate."""
    baseline_wer: float | None = None
    """Word error rate of the untouched model."""
    baseline_cer: float | None = None
    """Character error rate of the untouched model."""
    validation_wer: float | None = None
    """Word error rate of the candidate on the validation set."""
    baseline_validation_wer: float | None = None
    """Word error rate of the untouched model on the validation set."""
    p_value: float | None = None
    """Paired bootstrap over utterances: probability that the gain is chance."""
    relative_improvement: float | None = None
    """(baselineWer - wer) / baselineWer."""
    worst_error_type_degradation: float | None = None
    """Largest absolute rise of the word error rate within one error type, if that gate was asked for."""
    real_time_factor: float | None = None
    """Seconds of compute per second of audio."""


class RegressionStatus(Status):
    """Regression suites."""

    passed: int = 0
    """Suites within their bound."""
    total: int = 0
    """All suites."""


class FailureStatus(Status):
    """Why the latest attempt failed."""

    failure_class: Literal[
        "BadConfig",
        "BadData",
        "OutOfMemory",
        "Diverged",
        "TrackerUnavailable",
        "TrackerUnauthorized",
        "Preempted",
        "Error",
    ] = Field(alias="class")
    """Class of the failure; decides whether it is retried."""
    message: str = ""
    """What the trainer said."""


class FinetuneJobStatus(CommonStatus):
    """What is known of a FinetuneJob."""

    job_name: str | None = None
    """Job of the current attempt."""
    run: RunStatus | None = None
    """The W&B run."""
    hyperparameters: dict[str, Any] | None = Field(default=None, json_schema_extra=PRESERVE)
    """Hyperparameters of this round, as resolved."""
    metrics: MetricsStatus | None = None
    """Scores."""
    error_types: dict[str, float] | None = Field(default=None, max_length=32)
    """Word error rate by error type."""
    regression: RegressionStatus | None = None
    """Regression suites."""
    failure: FailureStatus | None = None
    """Why the latest attempt failed."""
    failures: int | None = None
    """Failed attempts that count against retry.limit."""
    artifact: str | None = None
    """Model artifact that the run logged."""


class FinetuneJob(Status):
    """A parsed FinetuneJob object."""

    spec: FinetuneJobSpec
    """Desired state."""
    status: FinetuneJobStatus = FinetuneJobStatus()
    """Observed state."""
