"""The SweepRun kind: a hyperparameter search as parallel W&B sweep agents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from finetune_operator.api import presets
from finetune_operator.api.base import PRESERVE, Fraction, Spec, Status, rules
from finetune_operator.api.shared import BudgetSpec, PromotionSpec, TrainerSpec, WandbSpec
from finetune_operator.api.status import (
    BestRun,
    CommonStatus,
    ContinuousStatus,
    Estimate,
    SpecialisedRun,
    StageStatus,
    SweepStatus,
    TrialCounts,
)

Method = Literal["random", "bayes", "grid"]
MetricName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-._/a-zA-Z0-9]+$")]
Parameters = Annotated[dict[str, Any], Field(json_schema_extra={**PRESERVE, "maxProperties": 64})]


class MetricSpec(Spec):
    """The number that the sweep optimises."""

    name: MetricName = "eval/wer"
    """Key of the metric in a run's summary."""
    goal: Literal["minimize", "maximize"] = "minimize"
    """Direction."""


class RefineSpec(Spec):
    """How a stage narrows the space of the one before."""

    around: Literal["best"] = "best"
    """Centre of the narrowed space."""
    factor: int = Field(default=2, ge=2, le=16)
    """The range of each parameter shrinks by this factor."""


class StageSpec(Spec):
    """One stage of a staged search."""

    name: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name of the stage."""
    method: Method = "random"
    """Search method of this stage."""
    trials: int = Field(ge=1, le=10_000)
    """Trials of this stage."""
    parameters: Parameters = Field(default_factory=dict)
    """Overrides of spec.parameters, key by key."""
    refine: RefineSpec | None = None
    """Narrow the space of the stage before around the best runs. A bayes stage is also seeded with those of the earlier
    runs that lie in the narrowed space (W&B prior runs)."""
    min_expected_gain: Fraction = "0.01"
    """The stage ends early when its remaining trials are expected to improve its best value by less than this share of
    it, as a decimal string. 0 never ends it early."""


class SpecialiseSpec(Spec):
    """One best configuration per group of error cases beside the general one.

    The trials are ranked anew for each group on the validation set, and the winner is compared with the general one on
    the test set.
    """

    by: Literal["errorType"] = "errorType"
    """What groups the error cases."""


class ContinuousSpec(Spec):
    """Small sweeps as the data grows.

    The number of error cases is told by the annotation finetune.dev/error-cases, by a W&B artifact (its metadata
    error_cases or rows), or by a JSONL manifest on a volume that the operator mounts too.
    """

    new_error_cases: int = Field(ge=1, le=100_000_000)
    """New error cases that start a round."""
    trials: int = Field(default=5, ge=2, le=10_000)
    """Trials of such a round. The first trains the configuration in service anew on the grown data, the others search
    around it."""
    min_improvement: Fraction = "0.05"
    """Least relative improvement that replaces the configuration in service; it must be significant too (at
    promotion.gates.significance, else 0.05)."""


class SweepRunSpec(Spec):
    """A search for the best hyperparameters."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.trainer.nodes == 1",
                "trainer.nodes above 1 is for FinetuneJob: a sweep's agents are independent pods",
            ),
            ("self.preset != 'none' || has(self.parameters)", "parameters is required when preset is none"),
            (
                "!has(self.stages) || !has(self.trials) || self.stages.all(s, s.trials <= self.trials)",
                "a stage must not have more trials than the sweep",
            ),
            (
                "!has(self.stages) || self.stages.all(s, self.stages.exists_one(t, t.name == s.name))",
                "names of stages must differ",
            ),
        )
    )

    suspend: bool = False
    """Stop the agents gracefully and keep the results; set it back to resume."""
    wandb: WandbSpec = WandbSpec()
    """Where the runs are tracked."""
    method: Method = "random"
    """Search method of W&B."""
    metric: MetricSpec = MetricSpec()
    """What to optimise."""
    preset: presets.PresetName = Field(default="finetuning", description=presets.describe())
    parameters: Parameters = Field(default_factory=dict)
    """Search space in W&B's sweep syntax, verbatim."""
    early_terminate: dict[str, Any] | None = Field(default=None, json_schema_extra={**PRESERVE, "maxProperties": 16})
    """Early termination in W&B's syntax (hyperband). An empty object turns the preset's off."""
    trials: int | None = Field(default=None, ge=1, le=10_000)
    """Hard cap on the number of trials of all stages together, held whatever the tracker hands out. Default: those of
    the stages, else those of the preset (20; 5 for `minimal`)."""
    parallelism: int = Field(default=1, ge=0, le=1000)
    """Agents at a time; `kubectl scale` changes it live."""
    stages: Annotated[tuple[StageSpec, ...], Field(max_length=8)] = ()
    """Stages of a staged search, one after the other; empty is one stage with method, trials and parameters of the
    spec."""
    budget: BudgetSpec = BudgetSpec()
    """Ceilings on cost."""
    specialise: SpecialiseSpec | None = None
    """Specialised configurations."""
    continuous: ContinuousSpec | None = None
    """Small sweeps as the data grows."""
    trainer: TrainerSpec
    """How trials run."""
    promotion: PromotionSpec | None = None
    """When and where the best run's model goes into service."""

    @property
    def cap(self) -> int:
        """The cap on trials: what was given, else what the stages or the preset ask for."""
        if self.trials is not None:
            return self.trials
        asked = sum(stage.trials for stage in self.stages)
        return min(asked, 10_000) or presets.preset(self.preset, self.trainer.model.name).trials


class AgentsStatus(Status):
    """The agents' Job of the current attempt."""

    job_name: str | None = None
    """Name of the Job."""
    trials_at_start: int = 0
    """Ended trials when the attempt began, to tell whether it made progress."""
    failures: int = 0
    """Attempts in a row without progress."""
    trials_at_progress: int = 0
    """Ended trials when preemptions were last told from progress."""
    preemptions_at_progress: int = 0
    """Agents that had left by themselves as preempted at that time."""


class SweepRunStatus(CommonStatus):
    """What is known of a SweepRun."""

    sweep: SweepStatus | None = None
    """The W&B sweep."""
    stages: tuple[StageStatus, ...] = Field(default=(), max_length=8)
    """Stages of the round; a search without stages has one."""
    estimate: Estimate | None = None
    """What the round is expected to cost: from the first look on, so before the first trial."""
    trials: TrialCounts | None = None
    """Trials of all stages by state."""
    best_run: BestRun | None = None
    """The best finished trial; under continuous adaptation the one whose configuration is in service."""
    specialised: tuple[SpecialisedRun, ...] = Field(default=(), max_length=16)
    """The best configuration of each error type, where specialise is set."""
    continuous: ContinuousStatus | None = None
    """Continuous adaptation."""
    active_agents: int | None = None
    """Agent pods that are running or starting."""
    selector: str | None = None
    """Label selector of the agent pods, for the scale subresource."""
    agents: AgentsStatus | None = None
    """The agents' Job."""


class SweepRun(Status):
    """A parsed SweepRun object."""

    spec: SweepRunSpec
    """Desired state."""
    status: SweepRunStatus = SweepRunStatus()
    """Observed state."""
