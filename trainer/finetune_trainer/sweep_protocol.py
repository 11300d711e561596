"""The protocol between a sweep and its agents: two GraphQL mutations, the SDK's own.

They are spoken here directly, because the SDK's agents poll every 5 s, end a trial by an exception thrown into its
thread, and answer an unreachable server as if there were no work.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import requests

from .contract import Tracking
from .errors import BadConfigError, TrackerUnauthorizedError, TrackerUnavailableError

_VIEWER = "query Viewer { viewer { id } }"
_CREATE = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) { agent { id } }
}"""
_HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}"""
_TIMEOUT = (5.0, 60.0)


class SweepGoneError(Exception):
    """The sweep was deleted, or the server has forgotten the agent."""


@dataclass(frozen=True, slots=True)
class Command:
    """What the server wants of an agent.

    Attributes:
        kind: `run` a new trial, `resume` a preempted one, `stop` a running one, `exit` the agent.
        values: Hyperparameters of a `run` or `resume`.
    """

    kind: Literal["run", "resume", "stop", "exit"]
    run_id: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Command:
        """Reads one command; what the SDK adds for itself (names with a leading underscore) is dropped."""
        arguments = document.get("args") or {}
        values = {
            name: value["value"] if isinstance(value, Mapping) and "value" in value else value
            for name, value in arguments.items()
            if not name.startswith("_") and name != "wandb_version"
        }
        return cls(document["type"], str(document.get("run_id") or ""), values)


class SweepClient:
    """One agent of a sweep, as the server sees it.

    Args:
        tracking: Server, entity, project and sweep; the API key comes from `WANDB_API_KEY`.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        server = tracking.base_url or os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
        self._url = server.rstrip("/") + "/graphql"
        key = os.environ.get("WANDB_API_KEY", "")
        if not key:
            raise TrackerUnauthorizedError(
                "WANDB_API_KEY is not set; give it from the Secret of spec.wandb.apiKeySecretRef."
            )
        self._session = requests.Session()
        self._session.auth = ("api", key)
        self._lock = threading.Lock()  # heartbeats of a running trial come from another thread
        self._agent: str | None = None

    def check_key(self) -> None:
        """Asks the server who the key belongs to, before anything expensive is loaded.

        Raises:
            TrackerUnauthorizedError: The key is refused.
        """
        with contextlib.suppress(TrackerUnavailableError):  # patience is the agent's; it asks again when it is ready
            self._call(_VIEWER, {})

    def register(self) -> None:
        """Makes the agent known; W&B's page of the sweep shows it from now on."""
        tracking = self._tracking
        answer = self._call(
            _CREATE,
            {
                "host": socket.gethostname(),
                "projectName": tracking.project,
                "entityName": tracking.entity,
                "sweep": tracking.sweep_id,
            },
        )
        agent = ((answer.get("createAgent") or {}).get("agent") or {}).get("id")
        if not agent:
            raise BadConfigError(f"tracking.sweepID {tracking.sweep_id!r} is no sweep of project {tracking.project!r}.")
        self._agent = str(agent)

    def heartbeat(self, running: str | None) -> list[Command]:
        """Says what runs and asks what to do.

        Args:
            running: Id of the running trial.

        Raises:
            SweepGoneError: The sweep was deleted.
            TrackerUnavailableError: The server does not answer, or too late.
            TrackerUnauthorizedError: The API key is refused.
        """
        states = json.dumps({running: True} if running else {})
        answer = self._call(_HEARTBEAT, {"id": self._agent, "metrics": "{}", "runState": states})
        commands = (answer.get("agentHeartbeat") or {}).get("commands") or "[]"
        return [Command.parse(command) for command in json.loads(commands)]

    def _call(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            with self._lock:
                response = self._session.post(
                    self._url, json={"query": query, "variables": dict(variables)}, timeout=_TIMEOUT
                )
        except requests.RequestException as error:
            raise TrackerUnavailableError(
                f"The tracker {self._url} does not answer ({type(error).__name__})."
            ) from None
        if response.status_code in (401, 403):
            raise TrackerUnauthorizedError(f"The tracker {self._url} refused the API key; check WANDB_API_KEY.")
        if response.status_code == 404:
            raise SweepGoneError(self._tracking.sweep_id)
        try:
            document = response.json()
        except ValueError:
            document = {}
        errors = document.get("errors") if isinstance(document, dict) else None
        if response.status_code == 429 or response.status_code >= 500 or (not response.ok and not errors):
            raise TrackerUnavailableError(f"The tracker {self._url} answered with status {response.status_code}.")
        if errors:
            message = str(errors[0].get("message", errors[0]))[:200]
            if "not found" in message.lower() or "could not find" in message.lower():
                raise SweepGoneError(message)
            raise BadConfigError(f"The tracker refused the agent of sweep {self._tracking.sweep_id!r}: {message}.")
        return document.get("data") or {}
