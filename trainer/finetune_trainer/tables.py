"""Rows of the files that manifests are made of: JSON lines, Parquet, and the Arrow streams of Hugging Face datasets."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from .errors import BadDataError

Row = tuple[int, dict[str, Any]]
"""1-based line (JSON) or row (tables) number, and the row."""
TABLES = (".parquet", ".arrow")


def rows_of(path: str, content: bytes, uri: str, required: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    """Rows of one file, by its suffix.

    Args:
        path: Name of the file.
        content: The file.
        uri: What messages call it.
        required: Columns that a table must have.
        optional: Further columns that are read.

    Raises:
        BadDataError: The file is malformed.
    """
    if not path.endswith(TABLES):
        return _json_lines(content, uri)
    return _table(content, uri, path.endswith(".arrow"), required, optional)


def missing(uri: str, names: Sequence[str], found: Sequence[str]) -> str:
    """A sentence on columns that are not there."""
    shown = ", ".join(str(name) for name in list(found)[:12])
    return f"{uri} has no column {' nor '.join(repr(name) for name in names)}; it has: {shown}."


def dataset_files(filesystem: Any, root: str) -> list[tuple[str, str | None]]:
    """Tables of a folder in one of the layouts of Hugging Face datasets, each with the name of its split.

    On the hub: `data/train-00000-of-00002.parquet`, ...; from `save_to_disk`: `train/data-00000-of-00001.arrow`, ...,
    or without the folders for a dataset without splits.
    """
    found = sorted(str(path) for path in filesystem.find(root, maxdepth=2) if str(path).endswith(TABLES))
    files = [(path, _split(path, root)) for path in found if not posixpath.basename(path).startswith("cache-")]
    splits = {split for _, split in files}
    return files if len(splits) > 1 else [(path, None) for path, _ in files]


def _split(path: str, root: str) -> str | None:
    name = posixpath.basename(path).partition("-")[0].partition(".")[0]
    if name != "data":
        return name
    folder = posixpath.basename(posixpath.dirname(path))
    return folder if posixpath.dirname(path).rstrip("/") != root.rstrip("/") else None


def _json_lines(content: bytes, uri: str) -> Iterator[Row]:
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


def _table(content: bytes, uri: str, stream: bool, required: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pa.ipc.open_stream(content) if stream else pq.ParquetFile(io.BytesIO(content))
        names = (source.schema if stream else source.schema_arrow).names
        absent = [name for name in required if name not in names]
        if absent:
            raise BadDataError(missing(uri, absent, names))
        columns = [name for name in names if name in (*required, *optional)]
        number = 0
        for batch in source if stream else source.iter_batches(columns=columns):
            for row in batch.select(columns).to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()
        raise BadDataError(
            f"{uri} is not a readable {'Arrow' if stream else 'Parquet'} file: {reason[0] if reason else error!r}."
        ) from error
