"""From spec to the trial contract: the document that the trainer reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune_trainer.contract import (
    Checkpoints,
    DatasetRef,
    Gates,
    Metric,
    ModelRef,
    Owner,
    RegressionSuite,
    Split,
    Tracking,
    TrialConfig,
)

from finetune_operator import names
from finetune_operator.api import FinetuneJobSpec, SweepRunSpec
from finetune_operator.api.shared import GatesSpec, PromotionSpec, TrainerSpec

CHECKPOINT_MOUNT = "/checkpoints"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a custom resource is."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the installation decides where a resource does not."""

    image: str | None = None
    base_url: str = "https://api.wandb.ai"
    project: str = "stt-finetuning"


@dataclass(frozen=True, slots=True)
class TrackerAddress:
    """Where a resource's runs live; entity None is the API key's default."""

    base_url: str
    project: str
    entity: str | None


def address(spec: SweepRunSpec | FinetuneJobSpec, defaults: Defaults) -> TrackerAddress:
    """The tracker of a resource."""
    return TrackerAddress(
        base_url=(spec.wandb.base_url or defaults.base_url).rstrip("/"),
        project=spec.wandb.project or defaults.project,
        entity=spec.wandb.entity,
    )


def gates(promotion: PromotionSpec | None) -> Gates:
    """Spec's decimal strings as the contract's numbers."""
    spec = promotion.gates if promotion else GatesSpec()
    limit = spec.max_error_type_degradation
    return Gates(
        min_improvement=float(spec.min_improvement),
        significance=max(float(spec.significance), 1e-9),
        min_regression_pass_rate=float(spec.min_regression_pass_rate),
        max_error_type_degradation=float(limit) if limit is not None else None,
    )


def _common(
    trainer: TrainerSpec, owner: Identity, promotion: PromotionSpec | None, round_number: int
) -> dict[str, Any]:
    checkpoints = trainer.checkpoints
    return {
        "owner": Owner(
            kind=owner.kind, namespace=owner.namespace, name=owner.name, uid=owner.uid, generation=owner.generation
        ),
        "model": ModelRef(name=trainer.model.name, revision=trainer.model.revision),
        "dataset": DatasetRef(
            uri=trainer.dataset.uri,
            min_error_cases=trainer.dataset.min_error_cases,
            split=Split(**trainer.dataset.split.model_dump()),
            normalizer=trainer.dataset.normalizer,
        ),
        "regression_suites": tuple(
            RegressionSuite(name=suite.name, uri=suite.uri, max_degradation=float(suite.max_degradation))
            for suite in trainer.regression_suites
        ),
        "gates": gates(promotion),
        "checkpoints": Checkpoints(
            path=f"{CHECKPOINT_MOUNT}/{owner.uid}-{round_number}", every_steps=checkpoints.every_steps
        )
        if checkpoints
        else None,
        "seed": trainer.seed,
        "artifact": names.bounded(owner.name, 96),
    }


def train_document(
    spec: FinetuneJobSpec, owner: Identity, tracker: TrackerAddress, hyperparameters: dict[str, Any], round_number: int
) -> TrialConfig:
    """The document of a FinetuneJob's training."""
    return TrialConfig(
        mode="train",
        tracking=Tracking(
            base_url=tracker.base_url,
            entity=tracker.entity,
            project=tracker.project,
            run_id=names.run_id(owner.uid, round_number),
            group=f"{owner.namespace}/{owner.name}",
            tags=("finetunejob",),
        ),
        hyperparameters=hyperparameters,
        **_common(spec.trainer, owner, spec.promotion, round_number),
    )


def agent_document(
    spec: SweepRunSpec, owner: Identity, tracker: TrackerAddress, sweep_id: str, round_number: int
) -> TrialConfig:
    """The document of a SweepRun's agents."""
    return TrialConfig(
        mode="agent",
        tracking=Tracking(
            base_url=tracker.base_url,
            entity=tracker.entity,
            project=tracker.project,
            sweep_id=sweep_id,
            group=f"{owner.namespace}/{owner.name}",
            tags=("sweeprun",),
        ),
        metric=Metric(name=spec.metric.name, goal=spec.metric.goal),
        pairing=spec.specialise is not None or spec.continuous is not None,
        **_common(spec.trainer, owner, spec.promotion, round_number),
    )
