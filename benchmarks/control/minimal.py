"""The least that an operator can be: watch resources, create their Jobs. `python -m benchmarks.control.minimal`.

No queue, no index, no decision, no recovery: what it takes is what the API server takes. With `--life` it makes, at the
same moments, the writes that a FinetuneJob's life has: intent, Job, Event; then status, ConfigMap, time to live, Event.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from finetune_sandbox.client import CONFIG_MAPS, EVENTS, JOBS, Access, ApiClient, Resource

TRAININGS = Resource("finetune.dev", "v1alpha1", "finetunejobs", kind="FinetuneJob")
_NOW = "2026-01-01T00:00:00Z"


def _conditions(complete: bool) -> list[dict[str, Any]]:
    holds = {
        "Ready": complete,
        "Reconciling": not complete,
        "Stalled": False,
        **({"Complete": True} if complete else {}),
    }
    return [
        {
            "type": kind,
            "status": str(value),
            "reason": "Minimal",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": _NOW,
        }
        for kind, value in holds.items()
    ]


class Minimal:
    """The loop.

    Args:
        template: Labels and spec of the Job to make.
        life: Whether to do what comes after, too.
    """

    def __init__(self, client: ApiClient, namespace: str, template: dict[str, Any], life: bool) -> None:
        self._client = client
        self._namespace = namespace
        self._template = template
        self._life = life
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until it is ended."""
        await asyncio.gather(self._watch(TRAININGS), *([self._watch(JOBS)] if self._life else []))

    async def _watch(self, resource: Resource) -> None:
        query = {"fieldSelector": f"metadata.namespace={self._namespace}"}
        _, version = await self._client.list(resource, self._namespace)
        if resource is TRAININGS:
            print("ready", flush=True)
        async for event, body in self._client.watch(resource, version, timeoutSeconds="3600", **query):
            if event in ("BOOKMARK", "DELETED"):
                continue
            name = body["metadata"]["name"]
            if resource is TRAININGS and name not in self._begun:
                self._begun.add(name)
                self._go(self._begin(body))
            if resource is JOBS and name not in self._ended and _complete(body):
                self._ended.add(name)
                self._go(self._end(body))

    def _go(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, body: dict[str, Any]) -> None:
        meta = body["metadata"]
        owner = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FinetuneJob", "name": meta["name"], "uid": meta["uid"]}
        if self._life:
            await self._status(meta["name"], complete=False)
        job = {
            "metadata": {"name": f"{meta['name']}-t1-1", "labels": self._template["labels"], "ownerReferences": [owner]}
        }
        await self._client.create(JOBS, {**job, "spec": self._template["spec"]}, self._namespace)
        if self._life:
            await self._event(owner)

    async def _end(self, job: dict[str, Any]) -> None:
        owner = job["metadata"]["ownerReferences"][0]
        best = {
            "metadata": {"name": f"{owner['name']}-best", "ownerReferences": [owner]},
            "data": {"metrics.json": "{}"},
        }
        await self._client.create(CONFIG_MAPS, best, self._namespace)
        await self._status(owner["name"], complete=True)
        ttl = {"spec": {"ttlSecondsAfterFinished": 86400}}
        await self._client.patch(JOBS, self._namespace, job["metadata"]["name"], ttl)
        await self._event(owner)

    async def _status(self, name: str, *, complete: bool) -> None:
        status = {"observedGeneration": 1, "conditions": _conditions(complete)}
        await self._client.patch(TRAININGS, self._namespace, name, {"status": status}, "status")

    async def _event(self, owner: dict[str, Any]) -> None:
        event = {
            "metadata": {"generateName": f"{owner['name']}."},
            "involvedObject": {**owner, "namespace": self._namespace},
            "type": "Normal",
            "reason": "Minimal",
            "message": "minimal",
            "source": {"component": "minimal"},
            "firstTimestamp": _NOW,
            "lastTimestamp": _NOW,
            "count": 1,
        }
        await self._client.create(EVENTS, event, self._namespace)


def _complete(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)


async def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--life", action="store_true")
    arguments = parser.parse_args()
    template = json.loads(arguments.template.read_text())
    async with ApiClient(Access.from_kubeconfig(arguments.kubeconfig)) as client:
        await Minimal(client, arguments.namespace, template, arguments.life).run()


if __name__ == "__main__":
    asyncio.run(main())
