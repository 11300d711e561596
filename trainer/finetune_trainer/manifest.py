"""Error-case manifests: JSONL, Parquet or a Hugging Face dataset, from a path, a URI, the hub or a W&B artifact.

A row's audio is a path (relative to the manifest), a URI, or, in Parquet, the `{bytes, path}` struct that Hugging Face
datasets use.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .errors import BadConfigError, BadDataError
from .locations import filesystem_of
from .tables import TABLES, dataset_files, missing, rows_of

SplitName = Literal["train", "validation", "test"]
REQUIRED = ("audio", "text")
OPTIONAL = ("hypothesis", "error_type", "speaker", "locale", "split")
_SPLIT_ALIASES = {"valid": "validation", "dev": "validation", "val": "validation", "eval": "validation"}
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
_SPLITS: tuple[SplitName, ...] = get_args(SplitName)
_CARDS = ("dataset_info.json", "dataset_dict.json", "state.json", "dataset_infos.json")
"""What Hugging Face's `save_to_disk` writes beside the data."""
_ARTIFACT = "wandb-artifact://"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One row of a manifest.

    Attributes:
        row: 1-based line (JSONL) or row (Parquet) number, for messages.
        audio: Path or URI of the recording.
        text: The correction: what was really said.
        hypothesis: What the model in service said, if the row tells.
        data: The recording itself, when the manifest embeds it.
    """

    row: int
    audio: str
    text: str
    hypothesis: str | None = None
    error_type: str | None = None
    speaker: str | None = None
    locale: str | None = None
    split: SplitName | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A read manifest.

    Attributes:
        uri: Where it was found.
        fingerprint: Hash of the file's bytes; tells dataset versions apart.
        artifact: `entity/project/name:version` when it came from a W&B artifact.
        path: Local path of the manifest file, if it has one.
    """

    uri: str
    utterances: tuple[Utterance, ...]
    fingerprint: str
    artifact: str | None = None
    path: str | None = None


def read_manifest(uri: str, download_artifact: Callable[[str], tuple[str, str]] | None = None) -> Manifest:
    """Reads a manifest.

    Args:
        uri: Path, `file://`, any fsspec URI (`s3://`, `gs://`, `hf://datasets/...`), or `wandb-artifact://`; a folder
            stands for the one manifest in it, or for the Hugging Face dataset that it is.
        download_artifact: Fetches `entity/project/name:alias`; returns the local folder and the full name with version.

    Raises:
        BadDataError: The manifest is missing, unreadable, or a row is malformed.
        BadConfigError: A W&B artifact was named where no tracker can fetch it.
    """
    artifact = None
    location = uri
    if uri.startswith(_ARTIFACT):
        if download_artifact is None:
            raise BadConfigError(f"{uri} needs the tracker; set tracking.enabled and tracking.mode: online.")
        location, artifact = download_artifact(uri.removeprefix(_ARTIFACT))
    filesystem, root = filesystem_of(location)
    protocol = location.partition("://")[0] + "://" if "://" in location and not location.startswith("file://") else ""
    files = _find(filesystem, root, uri)
    digest = hashlib.sha256()
    utterances: list[Utterance] = []
    for path, split in files:
        try:
            content: bytes = filesystem.cat_file(path)
        except Exception as error:
            raise BadDataError(f"The manifest {uri} cannot be read: {_reason(error)}.") from error
        digest.update(content)
        name = uri if len(files) == 1 else f"{uri}: {posixpath.basename(path)}"
        base = posixpath.dirname(path)
        for number, row in rows_of(path, content, name, REQUIRED, OPTIONAL):
            utterances.append(_utterance(row, number, name, protocol, base, split))
    if not utterances:
        raise BadDataError(f"The manifest {uri} has no rows.")
    local = files[0][0] if not protocol and len(files) == 1 else None
    return Manifest(uri, tuple(utterances), digest.hexdigest()[:16], artifact, local)


def _find(filesystem: Any, root: str, uri: str) -> list[tuple[str, str | None]]:
    """Files of a manifest, each with the split that its rows belong to where they do not say so themselves."""
    try:
        # Not `exists`, which takes every trouble for an absence.
        if filesystem.info(root)["type"] != "directory":
            return [(root, None)]
        found = sorted(str(name) for name in filesystem.ls(root, detail=False) if str(name).endswith(_SUFFIXES))
        preferred = [name for name in found if posixpath.basename(name).startswith("manifest.")]
        candidates = preferred or [name for name in found if posixpath.basename(name) not in _CARDS]
        if len(candidates) == 1:
            return [(candidates[0], None)]
        tables = dataset_files(filesystem, root) if all(name.endswith(TABLES) for name in candidates) else []
    except FileNotFoundError as error:
        raise BadDataError(f"The manifest {uri} does not exist; check dataset.uri and the volume's mount.") from error
    except Exception as error:
        raise BadDataError(f"The manifest {uri} cannot be reached: {_reason(error)}.") from error
    unknown = sorted({split for _, split in tables if split and _SPLIT_ALIASES.get(split, split) not in _SPLITS})
    if unknown:
        raise BadDataError(f"The dataset {uri} has a split {unknown[0]!r}; known are {', '.join(_SPLITS)}.")
    if not tables:
        names = ", ".join(posixpath.basename(name) for name in candidates[:5]) or "none"
        raise BadDataError(
            f"The folder {uri} must hold one JSONL or Parquet manifest, or be a Hugging Face dataset; found: {names}."
        )
    return tables


def _utterance(
    row: dict[str, Any], number: int, uri: str, protocol: str, base: str, split_of_file: str | None
) -> Utterance:
    absent = [name for name in REQUIRED if row.get(name) is None]
    if absent:
        raise BadDataError(f"{missing(uri, absent, tuple(row))[:-1]} (row {number}).")
    audio: Any = row["audio"]
    data: bytes | None = None
    if isinstance(audio, dict):
        audio, data = audio.get("path") or f"row-{number}", audio.get("bytes")
    values: dict[str, Any] = {"audio": audio, "text": row["text"], **{name: row.get(name) or None for name in OPTIONAL}}
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise BadDataError(f"{uri}, row {number}: {name} must be text, not {type(value).__name__}.")
    split = values.pop("split") or split_of_file
    split = _SPLIT_ALIASES.get(split, split) if split else None
    if split is not None and split not in _SPLITS:
        raise BadDataError(f"{uri}, row {number}: split {split!r} is not one of {', '.join(_SPLITS)}.")
    if data is None and "://" not in audio and not audio.startswith("/"):
        values["audio"] = protocol + posixpath.join(base, audio)
    return Utterance(row=number, data=data, split=split, **values)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0][:200] if lines else type(error).__name__).rstrip(".")
