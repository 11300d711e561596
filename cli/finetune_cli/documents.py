"""YAML files with our resources: read as kubectl reads them, and checked before anything is sent."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from finetune_operator.api import API_VERSION, FinetuneJobSpec, SweepRunSpec
from finetune_operator.hyperparameters import NAMES
from pydantic import ValidationError

from finetune_cli.cluster import Object
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import explain

SPECS: dict[str, type[FinetuneJobSpec] | type[SweepRunSpec]] = {
    "FinetuneJob": FinetuneJobSpec,
    "SweepRun": SweepRunSpec,
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: 1e-5 is a number, which YAML 1.1 takes for a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def load(text: str, source: str) -> list[Object]:
    """The documents of a YAML or JSON text.

    Raises:
        CliError: It is not YAML, or a document is not an object.
    """
    try:
        documents = [doc for doc in yaml.load_all(text, _Loader) if doc is not None]  # a SafeLoader
    except yaml.YAMLError as error:
        raise CliError(f"{source}: not valid YAML: {' '.join(str(error).split())}", ExitCode.USAGE) from error
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict):
            raise CliError(f"{source}, document {number}: must be an object with apiVersion and kind", ExitCode.USAGE)
    return documents


def read(sources: Iterable[str]) -> list[tuple[str, Object]]:
    """(source, document) of all files; `-` is standard input, a folder stands for its *.yaml, *.yml and *.json.

    Raises:
        CliError: A file cannot be read, or nothing is in them.
    """
    found: list[tuple[str, Object]] = []
    for source in sources:
        if source == "-":
            found += [("standard input", doc) for doc in load(sys.stdin.read(), "standard input")]
            continue
        folder = Path(source)
        files = (
            sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
            if folder.is_dir()
            else [folder]
        )
        for file in files:
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or error
                raise CliError(f"{file}: {reason}", ExitCode.USAGE, "give an existing YAML file with -f") from error
            found += [(str(file), doc) for doc in load(text, str(file))]
    if not found:
        fix = "write one with `finetune init`"
        raise CliError("the files hold no SweepRun or FinetuneJob", ExitCode.USAGE, fix)
    return found


def check(source: str, document: Object) -> None:
    """Holds a document to the API, so that a typing error costs a second and names its field.

    Raises:
        CliError: Something is wrong; the message names the field.
    """
    kind, version = document.get("kind"), document.get("apiVersion")
    if kind not in SPECS or version != API_VERSION:
        raise CliError(
            f"{source}: {version} {kind} is not a kind of this project",
            ExitCode.USAGE,
            f"write apiVersion: {API_VERSION} and kind: SweepRun or FinetuneJob; apply other kinds with kubectl",
        )
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        fix = "use lower case letters, digits and -, beginning and ending with a letter or digit"
        raise CliError(f"{source}: metadata.name: {name!r} is not a name", ExitCode.USAGE, fix)
    try:
        SPECS[kind].model_validate(document.get("spec") or {})
    except ValidationError as error:
        fix = f"`kubectl explain {kind.lower()}.spec` describes every field"
        raise CliError(f"{source}: {kind} {name}: spec.{explain(error)}", ExitCode.USAGE, fix) from error
    _check_hyperparameters(source, name, document.get("spec") or {})


def _check_hyperparameters(source: str, name: str, spec: dict[str, Any]) -> None:
    for field in ("hyperparameters", "parameters"):
        for key in spec.get(field) or {}:
            if key not in NAMES:
                fix = f"known names: {', '.join(sorted(NAMES))}"
                message = f"{source}: {name}: spec.{field}.{key}: the trainer knows no such hyperparameter"
                raise CliError(message, ExitCode.USAGE, fix)
