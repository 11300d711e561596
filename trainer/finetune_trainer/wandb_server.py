"""The W&B server behind the SDK: which one it is, what its errors mean, and what is fetched from it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import wandb

from .contract import Tracking
from .errors import BadConfigError, TrackerUnauthorizedError, TrackerUnavailableError, TrialError


def use_server(tracking: Tracking) -> None:
    """Points the SDK at the configured server; must come before its first call in a process."""
    if tracking.base_url:
        os.environ["WANDB_BASE_URL"] = tracking.base_url
    # A parent that used the SDK leaves its service's address here; sharing it would tie this run to the parent's life.
    os.environ.pop("WANDB_SERVICE", None)
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def tracker_errors(tracking: Tracking) -> Iterator[None]:
    """Names the SDK's errors in the contract's terms.

    Raises:
        TrackerUnauthorizedError: The API key is missing or wrong.
        TrackerUnavailableError: The server does not answer.
    """
    server = tracking.base_url or os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        yield
    except TrialError:
        raise
    except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
        raise TrackerUnauthorizedError(
            f"The tracker {server} refused the API key ({line_of(error)}); check WANDB_API_KEY."
        ) from error
    except (wandb.errors.Error, requests.RequestException, ConnectionError, TimeoutError) as error:
        text = line_of(error)
        if any(mark in text.lower() for mark in ("401", "403", "permission", "unauthorized", "api key")):
            raise TrackerUnauthorizedError(f"The tracker {server} refused the API key ({text}).") from error
        raise TrackerUnavailableError(f"The tracker {server} does not answer ({text}).") from error


def download_artifact(tracking: Tracking, name: str) -> tuple[str, str]:
    """Fetches an artifact; processes of one machine fetch it once.

    Args:
        tracking: The server.
        name: `entity/project/name:alias`.

    Returns:
        The local folder, and the full name with version.

    Raises:
        BadConfigError: There is no such artifact.
        TrackerUnauthorizedError: The API key is missing or wrong.
        TrackerUnavailableError: The server does not answer.
    """
    use_server(tracking)
    with tracker_errors(tracking):
        try:
            artifact = wandb.Api(timeout=60).artifact(name)
        except (ValueError, wandb.errors.CommError) as error:
            if not isinstance(getattr(error, "exc", error), ValueError):  # the SDK wraps what it raises itself
                raise
            raise BadConfigError(
                f"The W&B artifact {name} does not exist ({line_of(error)}); check its name."
            ) from error
        # The SDK keeps the alias that it was asked for in `name`; what `latest` was must be known later.
        full = f"{artifact.entity}/{artifact.project}/{artifact.name.partition(':')[0]}:{artifact.version}"
        # Not the SDK's default, which is a folder of the working directory: in a pod nobody may write there.
        scratch = os.environ.get("WANDB_ARTIFACT_DIR") or os.environ.get("WANDB_DATA_DIR") or tempfile.gettempdir()
        folder = Path(scratch) / "artifacts" / full.replace(":", "-")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return str(artifact.download(root=str(folder))), full


def line_of(error: BaseException) -> str:
    """The first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
