"""Error-case manifests: JSONL or Parquet, from a path, an fsspec URI, the hub or a W&B artifact.

A row's audio is a path (relative to the manifest), a URI, or, in Parquet, the `{bytes, path}` struct that Hugging Face
datasets use.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .errors import BadConfigError, BadDataError

SplitName = Literal["train", "validation", "test"]
REQUIRED = ("audio", "text")
OPTIONAL = ("hypothesis", "error_type", "speaker", "locale", "split")
_SPLIT_ALIASES = {"valid": "validation", "dev": "validation", "val": "validation", "eval": "validation"}
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
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
            stands for the one manifest in it.
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
    path = _find(filesystem, root, uri)
    try:
        content: bytes = filesystem.cat_file(path)
    except Exception as error:
        raise BadDataError(f"The manifest {uri} cannot be read: {_reason(error)}.") from error
    rows = _parquet(content, uri) if path.endswith(".parquet") else _jsonl(content, uri)
    protocol = location.partition("://")[0] + "://" if "://" in location and not location.startswith("file://") else ""
    base = posixpath.dirname(path)
    utterances = tuple(_utterance(row, number, uri, protocol, base) for number, row in rows)
    if not utterances:
        raise BadDataError(f"The manifest {uri} has no rows.")
    local = path if not protocol else None
    return Manifest(uri, utterances, hashlib.sha256(content).hexdigest()[:16], artifact, local)


def filesystem_of(location: str) -> tuple[Any, str]:
    """The fsspec filesystem of a location and the location's path in it."""
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise BadConfigError(f"{location} needs another fsspec package in the image: {_reason(error)}.") from error
    return filesystem, str(path)


def _find(filesystem: Any, root: str, uri: str) -> str:
    try:
        if not filesystem.isdir(root):
            if not filesystem.exists(root):
                raise BadDataError(f"The manifest {uri} does not exist; check dataset.uri and the volume's mount.")
            return root
        found = sorted(str(name) for name in filesystem.ls(root, detail=False) if str(name).endswith(_SUFFIXES))
    except BadDataError:
        raise
    except Exception as error:
        raise BadDataError(f"The manifest {uri} cannot be reached: {_reason(error)}.") from error
    preferred = [name for name in found if posixpath.basename(name).startswith("manifest.")]
    candidates = preferred or found
    if len(candidates) != 1:
        names = ", ".join(posixpath.basename(name) for name in candidates[:5]) or "none"
        raise BadDataError(f"The folder {uri} must hold exactly one JSONL or Parquet manifest; found: {names}.")
    return candidates[0]


def _jsonl(content: bytes, uri: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise BadDataError(
                f"{uri}, line {number}: byte {error.start + 1} is not UTF-8; save the manifest as UTF-8."
            ) from None
        except json.JSONDecodeError as error:
            raise BadDataError(f"{uri}, line {number}: not JSON ({error.msg}); write one object per line.") from None
        if not isinstance(row, dict):
            raise BadDataError(f"{uri}, line {number}: an object was expected, not {type(row).__name__}.")
        yield number, row


def _parquet(content: bytes, uri: str) -> Iterator[tuple[int, dict[str, Any]]]:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        columns = [name for name in file.schema_arrow.names if name in REQUIRED + OPTIONAL]
        missing = [name for name in REQUIRED if name not in columns]
        if missing:
            raise BadDataError(_missing(uri, missing, file.schema_arrow.names))
        number = 0
        for batch in file.iter_batches(columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise BadDataError(f"{uri} is not a readable Parquet file: {_reason(error)}.") from error


def _utterance(row: dict[str, Any], number: int, uri: str, protocol: str, base: str) -> Utterance:
    missing = [name for name in REQUIRED if row.get(name) is None]
    if missing:
        raise BadDataError(f"{_missing(uri, missing, tuple(row))[:-1]} (row {number}).")
    audio: Any = row["audio"]
    data: bytes | None = None
    if isinstance(audio, dict):
        audio, data = audio.get("path") or f"row-{number}", audio.get("bytes")
    values: dict[str, Any] = {"audio": audio, "text": row["text"], **{name: row.get(name) or None for name in OPTIONAL}}
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise BadDataError(f"{uri}, row {number}: {name} must be text, not {type(value).__name__}.")
    split = values.pop("split")
    split = _SPLIT_ALIASES.get(split, split) if split else None
    if split is not None and split not in get_args(SplitName):
        raise BadDataError(f"{uri}, row {number}: split {split!r} is not one of {', '.join(get_args(SplitName))}.")
    if data is None and "://" not in audio and not audio.startswith("/"):
        values["audio"] = protocol + posixpath.join(base, audio)
    return Utterance(row=number, data=data, split=split, **values)


def _missing(uri: str, missing: list[str], found: Any) -> str:
    names = ", ".join(str(name) for name in list(found)[:12])
    return f"{uri} has no column {' nor '.join(repr(name) for name in missing)}; it has: {names}."


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0][:200] if lines else type(error).__name__).rstrip(".")
