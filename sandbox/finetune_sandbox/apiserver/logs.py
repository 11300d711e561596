"""Logs of pods: files that the kubelet writes, read or followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import clock
from .errors import bad_request
from .store import Obj

if TYPE_CHECKING:
    from .state import State

POLL_SECONDS = 0.2


def log_file(data_dir: Path, pod: Obj, container: str) -> Path:
    """Where the kubelet writes the log of a container: `pods/<namespace>_<name>_<uid>/<container>.log`."""
    meta = pod["metadata"]
    return data_dir / "pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}" / f"{container}.log"


def container_of(pod: Obj, query: Mapping[str, str]) -> str:
    """The container whose log is asked for.

    Raises:
        ApiError: 400 when it must be named, is not there or has not started.
    """
    name = pod["metadata"]["name"]
    containers = [item["name"] for item in pod["spec"].get("containers") or ()]
    others = [item["name"] for item in pod["spec"].get("initContainers") or ()]
    wanted = query.get("container", "")
    if not wanted:
        if len(containers) != 1:
            text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(containers)}]"
            raise bad_request(text + (f" or one of the init containers: [{' '.join(others)}]" if others else ""))
        wanted = containers[0]
    if wanted not in containers + others:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    statuses = [
        *(pod.get("status", {}).get("containerStatuses") or ()),
        *(pod.get("status", {}).get("initContainerStatuses") or ()),
    ]
    state = next((item.get("state") or {} for item in statuses if item["name"] == wanted), {})
    reason = (state.get("waiting") or {}).get("reason")
    if reason and reason != "CrashLoopBackOff":
        text = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}.get(
            reason, reason
        )
        raise bad_request(f'container "{wanted}" in pod "{name}" is waiting to start: {text}')
    return wanted


def _since(query: Mapping[str, str]) -> datetime | None:
    if query.get("sinceSeconds"):
        return datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
    return clock.parse(query["sinceTime"]) if query.get("sinceTime") else None


def _tail(data: bytes, count: int) -> bytes:
    if count <= 0:
        return b""
    at = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(count):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :]


async def stream(state: State, pod: Obj, query: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The log, and with `follow` what comes until the container has ended."""
    container = container_of(pod, query)
    file = log_file(state.data_dir, pod, container)
    if query.get("previous") in ("true", "1"):
        file = file.with_suffix(".previous.log")
        if not file.exists():
            raise bad_request(
                f'previous terminated container "{container}" in pod "{pod["metadata"]["name"]}" not found'
            )
    stamped = query.get("timestamps") in ("true", "1")
    since = _since(query)
    data = file.read_bytes() if file.exists() else b""
    if since is not None and file.exists() and datetime.fromtimestamp(file.stat().st_mtime, UTC) < since:
        data = b""
    position = file.stat().st_size if file.exists() else 0
    if query.get("tailLines"):
        data = _tail(data, int(query["tailLines"]))
    if query.get("limitBytes"):
        data = data[: int(query["limitBytes"])]
    if data:
        yield _stamp(data) if stamped else data
    if query.get("follow") not in ("true", "1"):
        return
    while True:
        ended = _ended(state, pod, container)
        if file.exists() and file.stat().st_size > position:
            with file.open("rb") as source:
                source.seek(position)
                data = source.read(1 << 20)
            position += len(data)
            yield _stamp(data) if stamped else data
        elif ended:
            return
        else:
            await asyncio.sleep(POLL_SECONDS)


def _stamp(data: bytes) -> bytes:
    now = clock.now().encode()
    return b"".join(now + b" " + line for line in data.splitlines(keepends=True))


def _ended(state: State, pod: Obj, container: str) -> bool:
    meta = pod["metadata"]
    current: Any = state.store.get("/pods", meta["namespace"], meta["name"])
    if current is None or current["metadata"]["uid"] != meta["uid"]:
        return True
    status = current.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    found = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    ended = any(item["name"] == container and "terminated" in (item.get("state") or {}) for item in found)
    return ended and current["spec"].get("restartPolicy") == "Never"
