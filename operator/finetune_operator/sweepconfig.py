"""From a SweepRun to the W&B sweep configuration, checked against W&B's own schema."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError, best_match

from finetune_operator import hyperparameters, names
from finetune_operator.api import SweepRunSpec


@functools.cache
def _validator() -> Draft7Validator:
    text = resources.files("finetune_operator.data").joinpath("wandb_sweep_schema.json").read_text()
    return Draft7Validator(json.loads(text))


def parameters(spec: SweepRunSpec) -> dict[str, Any]:
    """The search space: the preset's, overridden key by key; a null takes a key out."""
    merged = {**hyperparameters.PRESETS[spec.preset], **spec.parameters}
    return {key: value for key, value in merged.items() if value is not None}


def early_terminate(spec: SweepRunSpec) -> dict[str, Any] | None:
    """Early termination: the spec's if given (an empty object is none), else the preset's, but for grids."""
    if spec.early_terminate is not None:
        return spec.early_terminate or None
    return hyperparameters.PRESET_EARLY_TERMINATION.get(spec.preset) if spec.method != "grid" else None


def build(spec: SweepRunSpec, name: str, token: str) -> dict[str, Any]:
    """The sweep configuration; `token` in its description lets the operator find the sweep again."""
    config: dict[str, Any] = {
        "name": names.bounded(name, 128),
        "description": token,
        "method": spec.method,
        "metric": {"name": spec.metric.name, "goal": spec.metric.goal},
        "parameters": parameters(spec),
        "run_cap": spec.trials,
        "program": "finetune_trainer",
    }
    if terminate := early_terminate(spec):
        config["early_terminate"] = terminate
    return config


def problem(spec: SweepRunSpec) -> str | None:
    """A sentence that names the field at fault, or None for a sound search space."""
    space = parameters(spec)
    if not space:
        return "spec.parameters: at least one parameter is needed when preset is none"
    for key, value in space.items():
        if key not in hyperparameters.NAMES:
            known = ", ".join(sorted(hyperparameters.NAMES))
            return f"spec.parameters.{key}: unknown hyperparameter; known are {known}"
        if not isinstance(value, dict):
            return f"spec.parameters.{key}: must be an object in W&B's sweep syntax, such as {{values: [1, 2]}}"
        if "parameters" in value:
            return f"spec.parameters.{key}: nested parameters are not supported; the trainer's hyperparameters are flat"
        if reason := _bounds(value):
            return f"spec.parameters.{key}: {reason}"
    config = build(spec, "check", "check")
    for error in _validator().iter_errors(config):
        return _describe(error)
    if spec.method == "grid":
        for key, value in space.items():
            if not {"values", "value"} & set(value):
                return f"spec.parameters.{key}: a grid needs values, not a distribution"
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


def _describe(error: ValidationError) -> str:
    path = [str(part) for part in error.absolute_path]
    names_in_spec = {"early_terminate": "earlyTerminate", "run_cap": "trials"}
    where = ".".join(["spec", *(names_in_spec.get(part, part) for part in path[:1]), *path[1:]])
    if error.context and path[:1] == ["parameters"]:
        return f"{where}: is no W&B sweep parameter: needs value, values, or a distribution with its bounds"
    if path[:1] == ["early_terminate"]:
        return f"{where}: needs type hyperband and either min_iter, or max_iter with s; eta is optional"
    deepest = best_match(error.context) if error.context else error
    return f"{where}: {(deepest or error).message[:300]}"
