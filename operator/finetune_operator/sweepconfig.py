"""From a SweepRun to the W&B sweep configuration, checked against W&B's own schema."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError, best_match

from finetune_operator import hyperparameters, names, stages
from finetune_operator.api import SweepRunSpec, presets
from finetune_operator.stages import Stage


@functools.cache
def _validator() -> Draft7Validator:
    text = resources.files("finetune_operator.data").joinpath("wandb_sweep_schema.json").read_text()
    return Draft7Validator(json.loads(text))


def early_terminate(spec: SweepRunSpec, stage: Stage) -> dict[str, Any] | None:
    """Early termination: the spec's if given (an empty object is none), else the preset's, but for grids."""
    if spec.early_terminate is not None:
        return spec.early_terminate or None
    found = presets.preset(spec.preset, spec.trainer.model.name).early_terminate
    return {**found, **stage.early_terminate} if found and stage.method != "grid" else None


def build(spec: SweepRunSpec, stage: Stage, name: str, token: str) -> dict[str, Any]:
    """The sweep configuration of a stage; `token` in its description lets the operator find the sweep again."""
    config: dict[str, Any] = {
        "name": names.bounded(name, 128),
        "description": token,
        "method": stage.method,
        "metric": {"name": spec.metric.name, "goal": spec.metric.goal},
        "parameters": stage.parameters,
        "run_cap": stage.trials,
        "program": "finetune_trainer",
    }
    if terminate := early_terminate(spec, stage):
        config["early_terminate"] = terminate
    return config


def problem(spec: SweepRunSpec) -> str | None:
    """A sentence that names the field at fault, or None for a sound search."""
    if spec.stages and spec.stages[0].refine:
        return "spec.stages[0].refine: the first stage has no earlier one to refine; leave it out"
    if fault := _space_problem(stages.parameters(spec), "spec.parameters"):
        return fault
    for index, stage in enumerate(stages.of(spec)):
        where = f"spec.stages[{index}].parameters" if spec.stages else "spec.parameters"
        if fault := _space_problem(stage.parameters, where):
            return fault
        for error in _validator().iter_errors(build(spec, stage, "check", "check")):
            return _describe(error, where)
        for key, value in stage.parameters.items() if stage.method == "grid" else ():
            if not {"values", "value"} & set(value):
                return f"{where}.{key}: a grid needs values, not a distribution"
    return None


def _space_problem(space: dict[str, Any], where: str) -> str | None:
    if not space:
        return f"{where}: at least one parameter is needed when preset is none"
    for key, value in space.items():
        if key not in hyperparameters.NAMES:
            known = ", ".join(sorted(hyperparameters.NAMES))
            return f"{where}.{key}: unknown hyperparameter; known are {known}"
        if not isinstance(value, dict):
            return f"{where}.{key}: must be an object in W&B's sweep syntax, such as {{values: [1, 2]}}"
        if "parameters" in value:
            return f"{where}.{key}: nested parameters are not supported; the trainer's hyperparameters are flat"
        if reason := _bounds(value):
            return f"{where}.{key}: {reason}"
    return None


def _bounds(value: dict[str, Any]) -> str | None:
    low, high = value.get("min"), value.get("max")
    numbers = [bound for bound in (low, high) if isinstance(bound, (int, float)) and not isinstance(bound, bool)]
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        return f"min {low} is above max {high}"
    probabilities, values = value.get("probabilities"), value.get("values")
    if isinstance(probabilities, list) and isinstance(values, list) and len(probabilities) != len(values):
        return "probabilities and values must have the same length"
    return None


def _describe(error: ValidationError, parameters: str) -> str:
    path = [str(part) for part in error.absolute_path]
    names_in_spec = {"early_terminate": "spec.earlyTerminate", "run_cap": "spec.trials", "parameters": parameters}
    where = ".".join([*(names_in_spec.get(part, f"spec.{part}") for part in path[:1]), *path[1:]])
    if error.context and path[:1] == ["parameters"]:
        return f"{where}: is no W&B sweep parameter: needs value, values, or a distribution with its bounds"
    if path[:1] == ["early_terminate"]:
        return f"{where}: needs type hyperband and either min_iter, or max_iter with s; eta is optional"
    deepest = best_match(error.context) if error.context else error
    return f"{where}: {(deepest or error).message[:300]}"
