"""Runs a built image as a kubelet would under Pod Security `restricted`: non-root, read-only root, no capabilities."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True, timeout=600).stdout


class Image:
    """An image in buildah's storage, mounted."""

    def __init__(self, name: str, root: Path, config: Json) -> None:
        self.name, self.root, self.config = name, root, config

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, name: str) -> Iterator[Image]:
        container = buildah("from", "--pull-never", name).strip()
        try:
            config = json.loads(buildah("inspect", "--type", "container", container))["OCIv1"]["config"]
            yield cls(name, Path(buildah("mount", container).strip()), config)
        finally:
            buildah("rm", container)

    def megabytes(self, *folders: str) -> float:
        """Size of what lies in the folders."""
        files = (path for folder in folders for path in (self.root / folder.lstrip("/")).rglob("*"))
        return sum(path.lstat().st_blocks * 512 for path in files if not path.is_dir()) / 1e6

    def bundle(
        self, folder: Path, args: list[str], mounts: dict[str, Path], scratch: tuple[str, ...], user: int, **env: str
    ) -> Path:
        """An OCI bundle; `mounts` are read-only, `scratch` are what a Pod has as emptyDir."""
        environment = dict(entry.split("=", 1) for entry in self.config["Env"]) | env
        bind = [
            {"destination": target, "source": str(source), "type": "bind", "options": ["rbind", "ro"]}
            for target, source in mounts.items()
        ]
        for number, target in enumerate(scratch):
            volume = folder / f"scratch-{number}"
            volume.mkdir(mode=0o777)
            volume.chmod(0o777)
            bind.append({"destination": target, "source": str(volume), "type": "bind", "options": ["rbind", "rw"]})
        document = {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.root), "readonly": True},
            "process": {
                "user": {"uid": user, "gid": user},
                "args": [*self.config["Entrypoint"], *args],
                "cwd": self.config["WorkingDir"],
                "env": [f"{name}={value}" for name, value in environment.items()],
                "noNewPrivileges": True,
                "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777"]},
                *bind,
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }
        (folder / "config.json").write_text(json.dumps(document))
        return folder


def run(bundle: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Runs a bundle to its end."""
    name = f"finetune-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    command = ["runc", "run", "--bundle", str(bundle), name]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    finally:
        subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)
