"""A pod's status as the kubelet reports it: pure functions over what its containers do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune_sandbox.objects import Object, condition, text_time

HOST = "127.0.0.1"


@dataclass
class Container:
    """What is known of one container.

    Attributes:
        spec: Its specification.
        state: The `waiting`, `running` or `terminated` state, as reported.
        last: The state before, once it has been restarted.
        ready: Whether it runs and its probes agree.
        started: Whether it runs and its startup probe has succeeded.
        identity: The id of its present process.
    """

    spec: Object
    init: bool
    state: Object
    last: Object
    restarts: int = 0
    ready: bool = False
    started: bool = False
    identity: str = ""

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def stays(self) -> bool:
        """Whether it is an init container that keeps running beside the others (a sidecar)."""
        return self.init and self.spec.get("restartPolicy") == "Always"

    @property
    def exit_code(self) -> int | None:
        """The exit code of a terminated container."""
        return self.state["terminated"]["exitCode"] if "terminated" in self.state else None


def waiting(reason: str, message: str = "") -> Object:
    """A waiting state."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def terminated(code: int, reason: str, message: str, started: float, ended: float, container_id: str) -> Object:
    """A terminated state."""
    state: Object = {
        "exitCode": code,
        "reason": reason,
        "startedAt": text_time(started),
        "finishedAt": text_time(ended),
    }
    return {"terminated": {**state, "containerID": container_id, **({"message": message} if message else {})}}


def phase(spec: Object, containers: Sequence[Container]) -> str:
    """The pod's phase, from the states of its containers and its restart policy."""
    policy, main = spec.get("restartPolicy", "Always"), [c for c in containers if not c.init]
    for init in (c for c in containers if c.init and not c.stays):
        if init.exit_code not in (None, 0) and policy == "Never":
            return "Failed"
        if init.exit_code != 0:
            return "Pending"
    codes = [c.exit_code for c in main]
    if policy != "Always" and all(code is not None for code in codes):
        if all(code == 0 for code in codes):
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    begun = any("waiting" not in c.state or c.last for c in main)
    return "Running" if begun and all("waiting" not in c.state or c.last for c in main) else "Pending"


def pod_status(
    pod: Object, containers: Sequence[Container], now: float, started: float, override: Object | None = None
) -> Object:
    """The status to report.

    Args:
        pod: The pod; its present conditions keep their transition times.
        containers: Its containers.
        now: Seconds since the epoch.
        started: When the kubelet first saw the pod.
        override: A phase, reason and message that containers alone do not tell (deadline, eviction).
    """
    override = override or {}
    now_phase = override.get("phase") or phase(pod["spec"], containers)
    over = now_phase in ("Succeeded", "Failed")
    initialized = all(c.exit_code == 0 or (c.stays and c.started) for c in containers if c.init)
    unready = [c.name for c in containers if not c.ready and (not c.init or c.stays)]
    why = {"reason": "PodCompleted" if now_phase == "Succeeded" else "ContainersNotReady"} if unready or over else {}
    if unready and now_phase != "Succeeded":
        why["message"] = f"containers with unready status: [{' '.join(unready)}]"
    facts: list[tuple[str, bool, Object]] = [
        (
            "Initialized",
            initialized or now_phase == "Succeeded",
            {} if initialized else {"reason": "ContainersNotInitialized"},
        ),
        ("Ready", not unready and not over, why),
        ("ContainersReady", not unready and not over, why),
        ("PodScheduled", True, {}),
    ]
    status: Object = {
        **override,
        "phase": now_phase,
        "conditions": [_condition(pod, kind, value, why, now) for kind, value, why in facts],
        "hostIP": HOST,
        "hostIPs": [{"ip": HOST}],
        "podIP": HOST,
        "podIPs": [{"ip": HOST}],
        "startTime": text_time(started),
        "containerStatuses": [_container_status(c) for c in containers if not c.init],
    }
    if any(c.init for c in containers):
        status["initContainerStatuses"] = [_container_status(c) for c in containers if c.init]
    return status


def _condition(pod: Object, kind: str, value: bool, why: Object, now: float) -> Object:
    text = "True" if value else "False"
    present = condition(pod, kind)
    since = present["lastTransitionTime"] if present and present["status"] == text else text_time(now)
    explained = {
        "reason": None,
        "message": None,
        **(why if not value else {}),
    }  # None removes what an earlier patch set
    return {"type": kind, "status": text, "lastProbeTime": None, "lastTransitionTime": since, **explained}


def _container_status(container: Container) -> Object:
    ended: dict[str, Any] = container.state.get("terminated") or {}
    running: dict[str, Any] = container.state.get("running") or {}
    status: Object = {
        "name": container.name,
        "image": container.spec["image"],
        "imageID": f"sandbox://{container.spec['image']}" if running or ended else "",
        "ready": container.ready or (container.init and container.exit_code == 0),
        "started": container.started,
        "restartCount": container.restarts,
        "state": container.state,
        "lastState": container.last,
    }
    if container.identity:
        status["containerID"] = container.identity
    return status
