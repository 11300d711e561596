"""The YAML that `finetune init` writes. Pure: answers in, text out."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

_SWEEP = """\
# kubectl explain sweeprun.spec describes every field.
apiVersion: finetune.dev/v1alpha1
kind: SweepRun
metadata:
  name: {name}
spec:
  wandb:{wandb}
    apiKeySecretRef: {{name: {secret}, key: api-key}}
  trials: {trials}          # a hard cap
  parallelism: {parallelism}      # kubectl scale sweeprun/{name} --replicas=8
  budget:{budget}
  parameters:         # W&B's own syntax; the preset `finetuning` fills in the rest
    learning_rate: {{distribution: log_uniform_values, min: 1.0e-6, max: 1.0e-3}}
{trainer}
"""

_JOB = """\
# kubectl explain finetunejob.spec describes every field.
apiVersion: finetune.dev/v1alpha1
kind: FinetuneJob
metadata:
  name: {name}
spec:
  wandb:{wandb}
    apiKeySecretRef: {{name: {secret}, key: api-key}}
{hyperparameters}
{trainer}
  promotion:
    gates: {{minImprovement: "0.05", significance: "0.05", minRegressionPassRate: "1.0"}}
    approval: {approval}
    registry: {{model: {model_name}, aliases: [production]}}
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the resource is about.

    Attributes:
        sweep: For a FinetuneJob, the SweepRun whose best hyperparameters it takes.
        suite: Manifest of a regression suite.
    """

    kind: str
    name: str
    model: str
    dataset: str
    suite: str | None = None
    image: str | None = None
    project: str = "stt-finetuning"
    base_url: str | None = None
    secret: str = "wandb"  # noqa: S105  # the name of a Secret
    gpus: int = 1
    trials: int = 20
    parallelism: int = 4
    gpu_hours: str | None = "40"
    sweep: str | None = None
    approval: str = "Manual"
    registered_model: str = "stt"


def _quoted(text: str) -> str:
    """A YAML double-quoted scalar."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9)).strip()


def render(answers: Answers) -> str:
    """The document."""
    wandb = f"\n    project: {_quoted(answers.project)}"
    if answers.base_url:
        wandb += f"\n    baseURL: {_quoted(answers.base_url)}"
    lines = ["  trainer:"]
    if answers.image:
        lines.append(f"    image: {_quoted(answers.image)}")
    lines += [f"    model: {{name: {_quoted(answers.model)}}}", f"    dataset: {{uri: {_quoted(answers.dataset)}}}"]
    if answers.suite:
        suite = f'{{name: general, uri: {_quoted(answers.suite)}, maxDegradation: "0.02"}}'
        lines += ["    regressionSuites:", f"      - {suite}"]
    lines.append(f"    resources: {{gpus: {answers.gpus}}}")
    trainer = "\n".join(lines)
    if answers.kind == "SweepRun":
        budget = (
            f'\n    gpuHours: "{answers.gpu_hours}"' if answers.gpu_hours and answers.gpus else "\n    wallClock: 24h"
        )
        return _SWEEP.format(
            name=answers.name,
            wandb=wandb,
            secret=answers.secret,
            trials=answers.trials,
            parallelism=answers.parallelism,
            budget=budget,
            trainer=trainer,
        )
    chosen = f"  hyperparametersFrom: {{sweepRunRef: {{name: {answers.sweep}}}}}"
    return _JOB.format(
        name=answers.name,
        wandb=wandb,
        secret=answers.secret,
        hyperparameters=chosen if answers.sweep else "  hyperparameters: {learning_rate: 1.0e-5}",
        trainer=trainer,
        approval=answers.approval,
        model_name=answers.registered_model,
    )
