"""The trial contract: the only thing that operator and trainer share.

The operator writes a `TrialConfig` as one JSON document, mounted into the pod at the path in `FINETUNE_CONFIG`; the
trainer parses it with the same model. The API key is never part of it: `WANDB_API_KEY` comes from the user's Secret.
Back comes a `TrialResult`, written to the container's termination log (at most 4 KiB), and an exit code.

This module imports pydantic alone, so that the operator can import it without torch.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

CONFIG_ENV = "FINETUNE_CONFIG"
CONFIG_PATH = "/etc/finetune/trial.json"
TERMINATION_LOG_ENV = "FINETUNE_TERMINATION_LOG"
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LOG_LIMIT = 4096

PAIRED_UTTERANCES = 2000
"""Most test utterances whose errors a run reports one by one: some 10 KB in its summary."""

Scalar = bool | int | float | str | None


class ExitCode(enum.IntEnum):
    """Exit codes of the trainer; the Job's podFailurePolicy and the operator's retries follow them."""

    DONE = 0
    ERROR = 1
    BAD_INPUT = 2
    OUT_OF_MEMORY = 3
    UNAVAILABLE = 75
    PREEMPTED = 143


class FailureClass(enum.StrEnum):
    """Why a trial ended without a result; decides whether it is tried again."""

    BAD_CONFIG = "BadConfig"
    BAD_DATA = "BadData"
    OUT_OF_MEMORY = "OutOfMemory"
    DIVERGED = "Diverged"
    TRACKER_UNAVAILABLE = "TrackerUnavailable"
    TRACKER_UNAUTHORIZED = "TrackerUnauthorized"
    PREEMPTED = "Preempted"
    ERROR = "Error"


class Contract(BaseModel):
    """Camel case on the wire, frozen, unknown keys refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class ModelRef(Contract):
    """A speech-to-text checkpoint.

    Attributes:
        name: Hugging Face hub name, a path (or `file://` URI), or a W&B artifact (`wandb-artifact://entity/project/name:alias`).
        revision: Hub branch, tag or commit.
    """

    name: str = Field(min_length=1)
    revision: str | None = None


class Split(Contract):
    """Shares of the speaker groups that go to each set; they sum to 1."""

    train: float = Field(default=0.8, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _sums_to_one(self) -> Split:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train, validation and test must sum to 1")
        return self


class DatasetRef(Contract):
    """The error cases.

    Attributes:
        uri: Path, `s3://`, `gs://`, `hf://datasets/...`, `wandb-artifact://` or other fsspec URI of a JSONL or Parquet
            manifest, of its folder, or of a Hugging Face dataset.
        min_error_cases: Fewer usable rows than this is bad data.
        split: Used when rows carry no `split` column of their own.
        normalizer: Text normaliser that every score uses: `whisper-basic`, `whisper-english`, `lower` or `none`.
    """

    uri: str = Field(min_length=1)
    min_error_cases: int = Field(default=1, ge=1)
    split: Split = Split()
    normalizer: str = "whisper-basic"


class RegressionSuite(Contract):
    """Utterances that the model in service already gets right, or must not get worse at.

    Attributes:
        max_degradation: Largest absolute rise of the suite's WER, candidate minus baseline, that still passes.
    """

    name: str = Field(min_length=1, max_length=63)
    uri: str = Field(min_length=1)
    max_degradation: float = Field(default=0.02, ge=0)


class Gates(Contract):
    """Bounds that a candidate must meet to be promoted.

    Attributes:
        min_improvement: Least relative WER improvement over the baseline, (baseline - candidate) / baseline.
        significance: Largest p-value of the paired bootstrap over utterances.
        min_regression_pass_rate: Least share of regression suites within their bound.
        max_error_type_degradation: Largest absolute rise of WER within any one error type; None checks nothing.
    """

    min_improvement: float = Field(default=0.0, ge=0)
    significance: float = Field(default=0.05, gt=0, le=1)
    min_regression_pass_rate: float = Field(default=1.0, ge=0, le=1)
    max_error_type_degradation: float | None = Field(default=None, ge=0)


class Checkpoints(Contract):
    """Where a trial keeps what it needs to continue after a preemption."""

    path: str = Field(min_length=1)
    every_steps: int = Field(default=200, ge=1)


class Metric(Contract):
    """The number that a sweep optimises."""

    name: str = "eval/wer"
    goal: Literal["minimize", "maximize"] = "minimize"


class Tracking(Contract):
    """Where and how the trial reports to W&B; the API key comes from the environment alone.

    Attributes:
        run_id: Fixed run id of a single training (a FinetuneJob), so that a retried pod continues the same run.
        sweep_id: Sweep whose agent this pod is.
    """

    enabled: bool = True
    mode: Literal["online", "offline"] = "online"
    base_url: str | None = Field(default=None, alias="baseURL")
    entity: str | None = None
    project: str = "stt-finetuning"
    run_id: str | None = Field(default=None, alias="runID")
    sweep_id: str | None = Field(default=None, alias="sweepID")
    group: str | None = None
    tags: tuple[str, ...] = ()


class Owner(Contract):
    """The custom resource that asked for this trial."""

    kind: Literal["FinetuneJob", "SweepRun"]
    namespace: str
    name: str
    uid: str
    generation: int = 1


class TrialConfig(Contract):
    """All that a trainer pod is told.

    Attributes:
        mode: `train` runs one training with `hyperparameters`; `agent` serves trials of a sweep until it ends.
        hyperparameters: For `train` the whole configuration; for `agent` the base that each trial's values override.
        seed: Seed of initialisation, shuffling and bootstrap.
        artifact: Name of the model artifact that a finished trial logs.
        max_trials: An agent ends after this many trials; None leaves it to the tracker.
        pairing: Report the errors of each test utterance, so that runs can be compared with one another.
    """

    version: Literal["v1"] = "v1"
    mode: Literal["train", "agent"]
    owner: Owner | None = None
    tracking: Tracking = Tracking()
    metric: Metric = Metric()
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    model: ModelRef
    dataset: DatasetRef
    regression_suites: tuple[RegressionSuite, ...] = ()
    gates: Gates = Gates()
    checkpoints: Checkpoints | None = None
    seed: int = 0
    artifact: str | None = None
    max_trials: int | None = Field(default=None, ge=1)
    pairing: bool = False
    output_dir: str | None = None


class SuiteResult(Contract):
    """One regression suite: candidate against baseline."""

    name: str
    utterances: int
    wer: float
    baseline_wer: float
    degraded: int = 0
    passed: bool


class RegressionCount(Contract):
    """Regression suites within their bound, of all; stays in the message when the suites themselves are cut."""

    passed: int
    total: int


class GateVerdict(Contract):
    """One gate: what was measured, the bound it was held to, and whether it passed."""

    name: str
    value: float | None
    threshold: float
    passed: bool


class TrialMetrics(Contract):
    """Scores on the held-out test set; WER and CER are corpus level, as fractions."""

    wer: float
    cer: float
    baseline_wer: float
    baseline_cer: float
    validation_wer: float | None = None
    baseline_validation_wer: float | None = None
    p_value: float | None = None
    relative_improvement: float | None = None
    real_time_factor: float | None = None


class AgentCounts(Contract):
    """What one agent pod did with the trials it was handed."""

    finished: int = 0
    failed: int = 0
    stopped: int = 0
    preempted: int = 0


class TrialResult(Contract):
    """The end of a trainer pod, as its termination message."""

    version: Literal["v1"] = "v1"
    state: Literal["finished", "failed", "preempted"]
    run_id: str | None = Field(default=None, alias="runID")
    run_url: str | None = Field(default=None, alias="runURL")
    failure_class: FailureClass | None = None
    message: Annotated[str, Field(max_length=1024)] = ""
    metrics: TrialMetrics | None = None
    error_types: dict[str, float] = Field(default_factory=dict)
    suites: tuple[SuiteResult, ...] = ()
    regression: RegressionCount | None = None
    gates: tuple[GateVerdict, ...] = ()
    artifact: str | None = None
    trials: AgentCounts | None = None
    seconds: float | None = None

    def to_termination_message(self) -> str:
        """Compact JSON within `TERMINATION_LOG_LIMIT` bytes: details are dropped, least needed first, until it fits."""
        cuts: list[dict[str, Any]] = [
            {},
            {"error_types": {}},
            {"suites": self.suites[:4]},
            {"suites": ()},
            {"message": self.message[:200]},
        ]
        result = self
        for cut in cuts:
            result = result.model_copy(update=cut)
            text = result.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True)
            if len(text.encode()) <= TERMINATION_LOG_LIMIT:
                return text
        raise ValueError("a trial result without details exceeds the termination log")
