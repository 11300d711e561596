"""Blocks of spec that both kinds share: tracking, the trainer, promotion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from finetune_operator.api.base import PRESERVE, Duration, Fraction, Name, Spec, Uri, immutable, rules


class SecretKeyRef(Spec):
    """A key of a Secret in the resource's own namespace."""

    name: Name = "wandb"
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "api-key"
    """Key within the Secret."""


class WandbSpec(Spec):
    """Where the runs are tracked."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            immutable("project", "project is immutable: the runs of one resource stay in one project"),
            immutable("entity", "entity is immutable: the runs of one resource stay with one entity"),
        )
    )

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-._a-zA-Z0-9]+$")] | None = None
    """W&B project. Default: the operator's, `stt-finetuning` unless installed otherwise. Immutable."""
    entity: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-._a-zA-Z0-9]+$")] | None = None
    """W&B user or team. Default: the default entity of the API key. Immutable."""
    base_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s]+$")] | None = Field(
        default=None, alias="baseURL"
    )
    """Address of the W&B server as pods and the operator reach it. Default: the operator's, https://api.wandb.ai unless
    installed otherwise."""
    api_key_secret_ref: SecretKeyRef = SecretKeyRef()
    """Secret in this namespace that holds the API key, which goes to the pods by secretKeyRef and nowhere else."""


class ModelSpec(Spec):
    """The speech-to-text checkpoint to start from: the model in service, and the baseline of every comparison."""

    name: Annotated[str, Field(min_length=1, max_length=2048)]
    """Hugging Face hub name (`openai/whisper-small`), a path or `file://` URI in the pod, or a W&B artifact
    (`wandb-artifact://entity/project/name:alias`)."""
    revision: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Branch, tag or commit on the hub."""


class SplitSpec(Spec):
    """Shares of the speakers that go to each set; used when the rows carry no `split` of their own."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.train + self.validation + self.test > 0.999999 && "
                "self.train + self.validation + self.test < 1.000001",
                "train, validation and test must sum to 1",
            ),
        )
    )

    train: float = Field(default=0.8, gt=0, lt=1)
    """Share to train on."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share that sweeps select on."""
    test: float = Field(default=0.1, gt=0, lt=1)
    """Held-out share that gates and status report."""


class DatasetSpec(Spec):
    """The error cases: audio, what the model said, what was really said."""

    uri: Uri
    """JSONL or Parquet manifest, or Hugging Face dataset: path in the pod, `s3://`, `gs://`, `hf://datasets/OWNER/NAME`,
    `wandb-artifact://ENTITY/PROJECT/NAME:ALIAS`, or another fsspec URI."""
    min_error_cases: int = Field(default=1, ge=1, le=100_000_000)
    """Fewer usable rows than this fail the training with BadData."""
    split: SplitSpec = SplitSpec()
    """Shares of train, validation and test."""
    normalizer: Literal["whisper-basic", "whisper-english", "lower", "none"] = "whisper-basic"
    """Text normaliser of every score, for baseline and candidate alike."""


class RegressionSuiteSpec(Spec):
    """Utterances outside the error cases that must not get worse."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name of the suite in metrics and status."""
    uri: Uri
    """Where its manifest lies; as dataset.uri."""
    max_degradation: Fraction = "0.02"
    """Largest absolute rise of the suite's word error rate that still passes, as a decimal string."""


class ResourcesSpec(Spec):
    """Compute of one trainer pod."""

    gpus: int = Field(default=0, ge=0, le=64)
    """GPUs per pod; the trainer starts one process for each."""
    gpu_resource: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] = "nvidia.com/gpu"
    """Extended resource name of a GPU."""
    cpu: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(\.[0-9]+)?m?$")] | None = None
    """CPU request; also sets OMP_NUM_THREADS."""
    memory: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|Ki)?$")] | None = None
    """Memory request and limit."""


class CheckpointsSpec(Spec):
    """Where trials keep what they need to continue after a preemption."""

    claim_name: Name
    """PersistentVolumeClaim mounted at /checkpoints; ReadWriteMany when pods run on several nodes."""
    every_steps: int = Field(default=200, ge=1, le=1_000_000)
    """Optimizer steps between checkpoints."""


class TrainerSpec(Spec):
    """How the trainer runs."""

    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Trainer image. Default: the one the operator was installed with."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """As in a container."""
    model: ModelSpec
    """Checkpoint to start from."""
    dataset: DatasetSpec
    """Error cases to learn."""
    regression_suites: Annotated[tuple[RegressionSuiteSpec, ...], Field(max_length=16)] = ()
    """Suites that must not get worse."""
    resources: ResourcesSpec = ResourcesSpec()
    """Compute per pod."""
    nodes: int = Field(default=1, ge=1, le=64)
    """Pods of one training. More than 1 makes an Indexed Job with a headless Service; FinetuneJob only."""
    checkpoints: CheckpointsSpec | None = None
    """Checkpoint volume."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Seed of initialisation, shuffling and bootstrap."""
    queue_name: Name | None = None
    """Kueue LocalQueue; becomes the kueue.x-k8s.io/queue-name label of the child Job."""
    ttl_seconds_after_finished: int = Field(default=86400, ge=0, le=31_536_000)
    """Child Jobs, with their pods and logs, are removed this long after their end; the resource itself never is."""
    pod_template: dict[str, Any] = Field(default_factory=dict, json_schema_extra={**PRESERVE, "maxProperties": 8})
    """Pod template (metadata, spec) merged strategically over the generated one; its container is named `trainer`."""


class GatesSpec(Spec):
    """Bounds that a candidate must meet to be promoted. All numbers are decimal strings."""

    min_improvement: Fraction = "0"
    """Least relative improvement of the word error rate over the baseline, (baseline - candidate) / baseline."""
    significance: Fraction = "0.05"
    """Largest p-value of the paired bootstrap over utterances."""
    min_regression_pass_rate: Fraction = "1.0"  # noqa: S105 - a share of suites passed
    """Least share of regression suites within their bound."""
    max_error_type_degradation: Fraction | None = None
    """Largest absolute rise of the word error rate within any one error type. Default: not checked."""


class RegistrySpec(Spec):
    """Registered model that a promoted artifact is linked to."""

    model: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Name of the registered model (W&B collection)."""
    aliases: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-._a-zA-Z0-9]+$")], ...],
        Field(min_length=1, max_length=8),
    ] = ("production",)
    """Aliases that move to the promoted version."""
    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-._a-zA-Z0-9]+$")] = "model-registry"
    """Project that holds the collection: `model-registry`, or `wandb-registry-NAME` for an organisation's registry."""


class PromotionSpec(Spec):
    """When and where a result goes into service."""

    gates: GatesSpec = GatesSpec()
    """Bounds to meet."""
    approval: Literal["Automatic", "Manual"] = "Automatic"
    """Manual waits, after the gates, for the annotation finetune.dev/approved-by."""
    registry: RegistrySpec | None = None
    """Registry to link to. Without it a promotion is the ConfigMap NAME-best, an Event and the status."""


class BudgetSpec(Spec):
    """Ceilings; reaching one stops the agents and keeps the results."""

    gpu_hours: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(\.[0-9]+)?$")] | None = None
    """GPU-hours of all agents together, as a decimal string."""
    wall_clock: Duration | None = None
    """Time since the start of the round, such as `48h`."""
    failed_trials: int | None = Field(default=None, ge=1, le=1_000_000)
    """Failed or crashed trials."""
