"""A sweep agent as the tracker sees it: W&B's agent protocol and a run's life, without a trainer behind."""

import asyncio
import base64
import json
import math
from typing import Any

import aiohttp

_CREATE = (
    "mutation CreateAgent($host: String!, $project: String!, $entity: String!, $sweep: String!) { createAgent(input: "
    "{host: $host, projectName: $project, entityName: $entity, sweep: $sweep}) { agent { id } } }"
)
_HEARTBEAT = (
    "mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) { agentHeartbeat(input: "
    "{id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands } }"
)
_RUN = (
    "mutation UpsertBucket($name: String, $entity: String, $project: String, $config: JSONString, $sweep: String) { "
    "upsertBucket(input: {name: $name, entityName: $entity, modelName: $project, config: $config, sweep: $sweep, "
    'state: "running"}) { bucket { id } } }'
)
_POLL = 0.25
"""Seconds between two questions for work, as of the trainer's own agent."""
BASELINE = 0.4


class Agent:
    """One agent of a sweep.

    Args:
        session: Shared HTTP session.
        address: The tracker.
        api_key: Its key.
        document: The trial document of the agent's pod.
    """

    def __init__(self, session: aiohttp.ClientSession, address: str, api_key: str, document: dict[str, Any]) -> None:
        self._session = session
        self._address = address
        token = base64.b64encode(f"api:{api_key}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        tracking = document["tracking"]
        self._entity, self._project = tracking["entity"], tracking["project"]
        self._sweep = tracking["sweepID"]
        duration = document["dataset"]["uri"].removeprefix("bench:")
        self._seconds = math.inf if duration == "hold" else float(duration)

    async def work(self) -> int:
        """Takes trials until the tracker has none left; returns how many it has finished."""
        names = {"project": self._project, "entity": self._entity, "sweep": self._sweep}
        made = await self._query(_CREATE, host="benchmark", **names)
        agent, finished = made["createAgent"]["agent"]["id"], 0
        while True:
            answer = await self._query(_HEARTBEAT, id=agent, metrics="{}", runState="{}")
            commands = answer["agentHeartbeat"]["commands"]
            commands = json.loads(commands) if isinstance(commands, str) else commands
            if any(command["type"] == "exit" for command in commands):
                return finished
            work = next((command for command in commands if command["type"] in ("run", "resume")), None)
            if work is None:
                await asyncio.sleep(_POLL)
                continue
            await self._trial(agent, work)
            finished += 1

    async def _trial(self, agent: str, work: dict[str, Any]) -> None:
        run, values = work["run_id"], work.get("args") or {}
        names = {"entity": self._entity, "project": self._project, "sweep": self._sweep}
        await self._query(_RUN, name=run, config=json.dumps(values), **names)
        left = self._seconds
        while left > 0:
            await asyncio.sleep(min(left, 10.0))
            left -= 10.0
            if left > 0:
                await self._query(_HEARTBEAT, id=agent, metrics="{}", runState=json.dumps({run: True}))
        rate = float(values.get("learning_rate", {}).get("value", 1e-4))
        summary = {"eval/wer": 0.1 + 0.01 * abs(math.log10(rate) + 4), "baseline/wer": BASELINE}
        files = {"wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]}}
        await self._post(
            f"/files/{self._entity}/{self._project}/{run}/file_stream",
            {"files": files, "complete": True, "exitcode": 0},
        )

    async def _query(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = await self._post("/graphql", {"query": query, "variables": variables})
        if answer.get("errors"):
            raise RuntimeError(str(answer["errors"]))
        data: dict[str, Any] = answer["data"]
        return data

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(self._address + path, json=body, headers=self._headers) as response:
            response.raise_for_status()
            return dict(json.loads(await response.read() or b"{}"))
