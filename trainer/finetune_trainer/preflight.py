"""Checks that need neither torch nor a network, so that a wrong configuration fails within a second."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from .contract import TrialConfig
from .errors import BadConfigError
from .hyperparameters import Hyperparameters, describe
from .manifest import Manifest, read_manifest
from .normalizers import check_normalizer


def read_config(path: str) -> TrialConfig:
    """Reads the trial contract's document.

    Raises:
        BadConfigError: The file is missing, no JSON, or a field is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadConfigError(
            f"The configuration {path} does not exist; give its path by --config or FINETUNE_CONFIG."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfigError(f"The configuration {path} cannot be read: {error}.") from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadConfigError(
            f"The configuration {path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from None
    try:
        return TrialConfig.model_validate(document)
    except ValidationError as error:
        raise BadConfigError(describe(error, "config")) from None


def check(config: TrialConfig) -> dict[str, Manifest]:
    """Checks what a configuration promises, and reads its local manifests.

    Returns:
        The manifests that were read, by URI.

    Raises:
        BadConfigError: A field is wrong.
        BadDataError: A manifest is.
    """
    Hyperparameters.parse(config.hyperparameters)
    if config.mode == "agent":
        _check_agent(config)
    check_normalizer(config.dataset.normalizer)
    model = config.model.name.removeprefix("file://")
    if model.startswith(("/", ".")) and not Path(model).is_dir():
        raise BadConfigError(f"model.name {config.model.name!r} does not exist; check the path and the volume's mount.")
    if config.checkpoints is not None:
        _check_writable(config.checkpoints.path, "checkpoints.path")
    if config.output_dir is not None:
        _check_writable(config.output_dir, "outputDir")
    uris = [config.dataset.uri, *(suite.uri for suite in config.regression_suites)]
    return {uri: read_manifest(uri) for uri in uris if "://" not in uri or uri.startswith("file://")}


def _check_agent(config: TrialConfig) -> None:
    if not config.tracking.enabled or config.tracking.mode == "offline":
        raise BadConfigError(
            "tracking: an agent serves a sweep and needs the tracker; set enabled: true and mode: online."
        )
    if config.tracking.sweep_id is None:
        raise BadConfigError("tracking.sweepID is required in mode agent.")


def _check_writable(path: str, name: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfigError(
            f"{name} {path!r} cannot be created ({error.strerror}); check the volume's mount."
        ) from None
    if not os.access(path, os.W_OK):
        raise BadConfigError(f"{name} {path!r} is not writable by this user; check the volume's fsGroup.")
