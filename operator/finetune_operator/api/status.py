"""Status blocks that both kinds share."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from finetune_operator.api.base import PRESERVE, Status


class Condition(Status):
    """A metav1.Condition."""

    type: str
    """Ready, Reconciling, Stalled (kstatus), Complete, Failed, Suspended or Promoted."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str
    """One word for machines."""
    message: str = ""
    """One sentence for people."""
    last_transition_time: str
    """When status last changed (RFC 3339)."""
    observed_generation: int
    """Generation of the spec that this was judged on."""


class TrialCounts(Status):
    """Trials of the current round by state."""

    total: int = 0
    """All that the tracker knows of."""
    running: int = 0
    """Pending or running."""
    succeeded: int = 0
    """Finished with a result."""
    failed: int = 0
    """Failed or crashed."""
    stopped: int = 0
    """Ended early: by early termination, by hand, or as an excess over `trials`."""
    preempted: int = 0
    """Interrupted, waiting to be resumed."""
    duplicates: int = 0
    """Repetitions of the hyperparameters of an earlier trial."""


class Usage(Status):
    """What the round has cost."""

    gpu_hours: str = "0"
    """GPU-hours of all pods."""
    updated_at: datetime | None = None
    """Until when they are counted."""


class TestScores(Status):
    """Scores on the held-out test set, which the search did not select on; gates judge by them."""

    wer: float | None = None
    """Word error rate of the candidate."""
    baseline_wer: float | None = None
    """Word error rate of the untouched model."""
    relative_improvement: float | None = None
    """(baselineWer - wer) / baselineWer."""
    p_value: float | None = None
    """Paired bootstrap over utterances: probability that the gain is chance."""
    worst_error_type_degradation: float | None = None
    """Largest absolute rise of the word error rate within one error type."""
    suites_passed: int = 0
    """Regression suites within their bound."""
    suites_total: int = 0
    """All regression suites."""


class BestRun(Status):
    """The best finished trial."""

    id: str
    """Run id."""
    name: str = ""
    """Display name."""
    url: str = ""
    """Page of the run."""
    metric: str
    """Name of the metric that decided."""
    value: float
    """Its value."""
    baseline: float | None = None
    """The untouched model's value on the same data."""
    relative_improvement: float | None = None
    """(baseline - value) / baseline, signed so that better is positive."""
    hyperparameters: dict[str, Any] = Field(default_factory=dict, json_schema_extra=PRESERVE)
    """Values of the swept hyperparameters."""
    artifact: str | None = None
    """Model artifact that the run logged."""
    test: TestScores | None = None
    """Its scores on the held-out test set."""


class Estimate(Status):
    """What the round is expected to cost."""

    trials: int
    """Trials of all stages."""
    gpu_hours: str | None = None
    """GPU-hours of all trials; absent while nothing is known of the model's speed."""
    basis: Literal["Assumed", "Measured"] = "Assumed"
    """Assumed: from the model's size, before a trial has ended. Measured: from the trials that have ended."""
    message: str = ""
    """How it was reckoned."""


class Savings(Status):
    """What trials and stages that ended before their time did not cost."""

    stopped_trials: int = 0
    """Trials that were stopped early."""
    epochs: str = "0"
    """Epochs that those did not train."""
    skipped_trials: int = 0
    """Trials that were not begun, because the stage ended early."""
    gpu_hours: str = "0"
    """GPU-hours that all of them would have taken, at the speed of the others."""


class SpecialisedRun(Status):
    """The best configuration for one group of error cases."""

    error_type: str
    """The group."""
    run: str
    """Run id; that of the general best run where none is better."""
    url: str = ""
    """Page of the run."""
    value: float
    """Word error rate of the group on the validation set, by which it was chosen."""
    hyperparameters: dict[str, Any] = Field(default_factory=dict, json_schema_extra=PRESERVE)
    """Values of the swept hyperparameters."""
    wer: float | None = None
    """Word error rate of the group on the test set."""
    general_wer: float | None = None
    """That of the general best run."""
    relative_improvement: float | None = None
    """(generalWer - wer) / generalWer."""
    p_value: float | None = None
    """Probability that the gain over the general best run is chance: paired over the group's test utterances, adjusted
    for the number of groups (Holm)."""
    significant: bool = False
    """Whether it is better than the general best run beyond chance."""


class AdaptationRound(Status):
    """One round of continuous adaptation."""

    round: int
    """Number of the round."""
    error_cases: int
    """Error cases of the dataset when it began."""
    new_error_cases: int
    """Those that had come since the round before."""
    start_time: datetime | None = None
    """When it began."""
    completion_time: datetime | None = None
    """When it ended."""
    trials: int = 0
    """Trials that it ran."""
    gpu_hours: str = "0"
    """What it cost."""
    incumbent: float | None = None
    """Metric of the configuration in service, trained anew on the grown data."""
    incumbent_run: str | None = None
    """Run of that training; its model becomes the result if the configuration stays and promotion.gates let it pass."""
    challenger: float | None = None
    """Metric of the best other configuration."""
    run: str | None = None
    """Run of the challenger."""
    relative_improvement: float | None = None
    """Gain of the challenger over the incumbent."""
    p_value: float | None = None
    """Probability that the gain is chance, paired over the test utterances."""
    replaced: bool = False
    """Whether the challenger has replaced the configuration in service."""
    reason: str = ""
    """Why, in a sentence."""


class ContinuousStatus(Status):
    """Where continuous adaptation stands."""

    active: bool = False
    """Whether the current round is an adaptation."""
    error_cases: int | None = None
    """Error cases when the last round began; a round is due when newErrorCases more have come."""
    observed_error_cases: int | None = None
    """Error cases as last seen."""
    version: str | None = None
    """Version of the dataset as last seen."""
    message: str = ""
    """Why the number of error cases is not known, and how to make it known."""
    rounds: tuple[AdaptationRound, ...] = Field(default=(), max_length=10)
    """The latest rounds, newest last."""


class StageStatus(Status):
    """One stage of a search."""

    name: str
    """Name of the stage."""
    method: str
    """Search method."""
    state: Literal["Pending", "Running", "Complete", "Skipped"] = "Pending"
    """Where it stands."""
    reason: str = ""
    """Why it ended, in a sentence."""
    sweep: str | None = None
    """Id of its W&B sweep."""
    url: str | None = None
    """Page of its W&B sweep."""
    cap: int = 0
    """Trials that it may run."""
    trials: TrialCounts | None = None
    """Its trials by state."""
    best: float | None = None
    """Best value of the metric among its trials."""
    best_run: str | None = None
    """Run that has it."""
    expected_gain: float | None = None
    """Improvement that its remaining trials are expected to bring, as a share of its best value."""
    gpu_hours: str = "0"
    """GPU-hours of its pods."""
    saved: Savings | None = None
    """What early ends have saved."""
    parameters: dict[str, Any] = Field(default_factory=dict, json_schema_extra=PRESERVE)
    """Its search space, where it was narrowed around earlier runs."""
    prior_runs: tuple[str, ...] = Field(default=(), max_length=64)
    """Earlier runs that seed it."""
    start_time: datetime | None = None
    """When it began."""
    completion_time: datetime | None = None
    """When it ended."""


class SweepStatus(Status):
    """The W&B sweep of the current stage."""

    id: str | None = None
    """Sweep id."""
    url: str | None = None
    """Page of the sweep."""
    stage: int = 0
    """Stage, counted from 0."""
    trials: int | None = None
    """Cap on trials when the round ended; a higher one starts a new round."""


class GateStatus(Status):
    """One gate's verdict."""

    name: str
    """Name of the gate."""
    value: float | None = None
    """What was measured."""
    threshold: float
    """The bound it was held to."""
    passed: bool
    """Whether it passed."""


class PromotionRecord(Status):
    """A promotion that is past."""

    artifact: str | None = None
    """Artifact."""
    version: str | None = None
    """Version in the registry."""
    at: str
    """When (RFC 3339)."""
    by: str = "operator"
    """Who approved it."""
    action: Literal["Promoted", "RolledBack"] = "Promoted"
    """What was done."""


class PromotionStatus(Status):
    """Where the result stands on its way into service."""

    state: Literal["Pending", "Rejected", "AwaitingApproval", "Promoted", "RolledBack"] = "Pending"
    """Stage of the promotion."""
    run: str | None = None
    """Run that this decision is about."""
    artifact: str | None = None
    """Artifact in service after it."""
    version: str | None = None
    """Its version in the registry, such as `v3`."""
    aliases: tuple[str, ...] = ()
    """Aliases it carries."""
    reason: str = ""
    """Why, in a sentence."""
    at: str | None = None
    """When it was decided (RFC 3339)."""
    approved_by: str | None = None
    """Who approved it, when approval is Manual."""
    previous: str | None = None
    """Version that held the aliases before; a rollback returns to it."""
    rollback: str | None = None
    """Value of the annotation finetune.dev/rollback that was last carried out."""
    gates: tuple[GateStatus, ...] = Field(default=(), max_length=16)
    """Verdict of each gate."""
    history: tuple[PromotionRecord, ...] = Field(default=(), max_length=10)
    """The latest decisions, newest last."""


class CommonStatus(Status):
    """Fields of both statuses."""

    observed_generation: int | None = None
    """Generation of the spec that this status describes."""
    round: int | None = None
    """Counts the rounds: a changed search or training starts a new one, a finished one is never run again."""
    spec_hash: str | None = None
    """Fingerprint of what makes a round, to tell whether a change of spec starts a new one."""
    start_time: datetime | None = None
    """When the round started."""
    completion_time: datetime | None = None
    """When the round ended."""
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """Conditions; the reason of Ready answers `why is it not running?` in one word."""
    attempts: int | None = None
    """Attempts begun in this round, each a Job."""
    usage: Usage | None = None
    """Cost of the round."""
    promotion: PromotionStatus | None = None
    """Where the result stands on its way into service."""
