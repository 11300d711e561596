"""Which image names stand for which command on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """An image's entrypoint.

    Attributes:
        command: Program and arguments; a container's `command` replaces them, its `args` follow them.
        env: Environment below the container's own.
        cwd: Working directory.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"


def default_path() -> str:
    """PATH of images that set none: the environment this program runs in, then the usual places."""
    return f"{os.path.dirname(sys.executable)}:{_STANDARD_PATH}"


def load_images(path: Path | None) -> dict[str, Image]:
    """Reads an images file: `{IMAGE: {command: [...], env: {...}, cwd: DIR}}`.

    Raises:
        ValueError: An entry is malformed; the text names image and field.
    """
    document: Any = yaml.safe_load(path.read_text()) if path else {}
    if not isinstance(document or {}, dict):
        raise ValueError(f"{path}: the file must be a mapping of image names")
    return {str(name): _image(f"{path}: {name}", entry) for name, entry in (document or {}).items()}


def _image(where: str, entry: Any) -> Image:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: must be a mapping with command, env, cwd")
    if unknown := set(entry) - {"command", "env", "cwd"}:
        raise ValueError(f"{where}.{min(unknown)}: unknown field; known are command, env, cwd")
    command, env, cwd = entry.get("command") or [], entry.get("env") or {}, entry.get("cwd", "/")
    if not isinstance(command, list) or not all(isinstance(part, str) for part in command):
        raise ValueError(f"{where}.command: must be a list of strings; quote numbers")
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise ValueError(f"{where}.env: must map names to strings; quote numbers")
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise ValueError(f"{where}.cwd: must be an absolute path")
    return Image(tuple(command), env, cwd)
