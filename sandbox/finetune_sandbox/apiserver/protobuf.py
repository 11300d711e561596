"""Decodes protobuf request bodies, which kubectl and Helm send for built-in kinds, into JSON objects.

The table comes from `sandbox/generate/protobuf.py`, which describes it.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from .errors import bad_request

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@cache
def _table() -> dict[str, dict[str, list[str]]]:
    data = (resources.files(__package__) / "data/protobuf.json.gz").read_bytes()
    found: dict[str, dict[str, list[str]]] = json.loads(gzip.decompress(data))
    return found


def decode(data: bytes) -> dict[str, Any]:
    """The object in a body of type `application/vnd.kubernetes.protobuf`.

    Raises:
        ApiError: 400 for a body that is cut, or a kind that is not known.
    """
    try:
        return _decode(data)
    except (IndexError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise bad_request(f"the protobuf body cannot be read: {type(error).__name__}: {error}") from error


def _decode(data: bytes) -> dict[str, Any]:
    if not data.startswith(MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix k8s")
    envelope = dict(_fields(data[len(MAGIC) :]))
    meta = dict(_fields(envelope[1])) if 1 in envelope else {}
    api_version, kind = (bytes(meta.get(number, b"")).decode() for number in (1, 2))
    group, _, version = api_version.rpartition("/")
    name = f"{group.partition('.')[0] or 'core'}.{version}.{kind}"
    if name not in _table():
        name = f"meta.v1.{kind}"
    if name not in _table():
        raise bad_request(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
    return {"apiVersion": api_version, "kind": kind, **_message(bytes(envelope.get(2, b"")), name)}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers as int, everything else as bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise IndexError("a field is longer than the body")
            yield number, data[at : at + length]
            at += length
        else:
            size = 8 if wire == _FIXED64 else 4
            (found,) = struct.unpack_from("<d" if size == 8 else "<f", data, at)
            yield number, found
            at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _message(data: bytes, name: str) -> Any:
    special = _SPECIAL.get(name.rpartition(".")[2])
    if special is not None:
        return special(data)
    described = _table().get(name)
    if described is None:  # a named list of strings, such as metav1.Verbs
        return [bytes(value).decode() for _, value in _fields(data)]
    out: dict[str, Any] = {}
    for number, raw in _fields(data):
        field = described.get(str(number))
        if field is None:
            continue
        key, kind, target, flags = field
        value = _value(raw, kind, target)
        if "n" in flags:
            out |= value
        elif kind == "M":
            out.setdefault(key, {}).update(value)
        elif "r" in flags:
            out.setdefault(key, []).append(value)
        elif value is not None and (
            value not in ("", 0, False, {}) or "p" in flags or (value == {} and key == "resources")
        ):
            out[key] = value
    return out


def _value(raw: Any, kind: str, target: str) -> Any:
    if kind == "m":
        return _message(raw, target)
    if kind == "M":
        pair = dict(_fields(raw))
        item = pair.get(2, b"")
        return {bytes(pair.get(1, b"")).decode(): _map_value(item, target)}
    if isinstance(raw, bytes):
        return base64.b64encode(raw).decode() if kind == "b" else raw.decode()
    if kind == "t":
        return bool(raw)
    if kind == "i" and isinstance(raw, int) and raw >= 1 << 63:
        return raw - (1 << 64)
    return raw


def _map_value(item: bytes, target: str) -> Any:
    short = target.rpartition(".")[2]
    if short.endswith("[]byte"):
        return base64.b64encode(item).decode()
    if target in _table() or short in _SPECIAL or short == "ExtraValue":
        return _message(item, target)
    return item.decode()


def _time(data: bytes) -> str | None:
    found = dict(_fields(data))
    if not found:
        return None
    seconds = found.get(1, 0)
    return datetime.fromtimestamp(seconds - (1 << 64) if seconds >= 1 << 63 else seconds, UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )


def _micro_time(data: bytes) -> str | None:
    text = _time(data)
    return text and text[:-1] + f".{dict(_fields(data)).get(2, 0) // 1000:06d}Z"


def _quantity(data: bytes) -> str:
    return bytes(dict(_fields(data)).get(1, b"0")).decode() or "0"


def _int_or_string(data: bytes) -> int | str:
    found = dict(_fields(data))
    if found.get(1, 0) == 0:
        number: int = found.get(2, 0)
        return number - (1 << 64) if number >= 1 << 63 else number
    return bytes(found.get(3, b"")).decode()


def _raw(data: bytes) -> Any:
    content = bytes(dict(_fields(data)).get(1, b""))
    return json.loads(content) if content else None


_SPECIAL = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "RawExtension": _raw,
    "FieldsV1": _raw,
}
