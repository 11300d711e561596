"""kubectl as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_demo.errors import DemoError

_TIMEOUT = 60


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the kubeconfig of the demo's cluster.

    Attributes:
        kubeconfig: How to reach the cluster.
        cache: Folder for kubectl's discovery cache, so that the user's own is left alone.
    """

    kubeconfig: Path
    cache: Path

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Standard output of a kubectl command.

        Raises:
            DemoError: It failed, unless `check` is off.
        """
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.cache}", *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise DemoError(f"kubectl {' '.join(arguments)} did not end within {_TIMEOUT} s") from None
        if check and done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """A kubectl command's `-o json` output, parsed."""
        return json.loads(self.run(*arguments, "--output=json"))


def require_kubectl() -> None:
    """Check that kubectl is there.

    Raises:
        DemoError: It is not; the hint says how to get it.
    """
    if shutil.which("kubectl") is None:
        raise DemoError(
            "kubectl is not on the PATH; the demo drives its cluster with it, as you would",
            hint="Install it as https://kubernetes.io/docs/tasks/tools/ says (Debian, Ubuntu: the package "
            "kubernetes-client or kubectl; macOS: brew install kubectl), then run `make demo` again.",
        )
