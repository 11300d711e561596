"""Where the control plane is measured: a cluster with our kinds, a tracker, a node that ends pods at once."""

import asyncio
import contextlib
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from finetune_sandbox.client import CRDS, JOBS, NAMESPACES, SECRETS, Access, ApiClient, ApiError, Resource
from finetune_sandbox.testing import start
from finetune_tracker.testing import TrackerProcess, running_tracker

from benchmarks.control.agent import Agent
from benchmarks.control.node import NODE, Node
from benchmarks.harness import Options

SWEEPS = Resource("finetune.dev", "v1alpha1", "sweepruns", kind="SweepRun")
TRAININGS = Resource("finetune.dev", "v1alpha1", "finetunejobs", kind="FinetuneJob")
ROOT = Path(__file__).parents[2]


@dataclass
class Bench:
    """A cluster, a tracker, a node.

    Attributes:
        folder: For logs and kubeconfigs; gone at the end.
    """

    folder: Path
    kubeconfig: Path
    client: ApiClient
    tracker: TrackerProcess
    session: aiohttp.ClientSession

    @contextlib.asynccontextmanager
    async def namespace(self) -> AsyncIterator[str]:
        """A namespace with the Secret; deleted at the end, without waiting for it."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        await self.client.create(NAMESPACES, {"metadata": {"name": name}})
        key = {"metadata": {"name": "wandb"}, "stringData": {"api-key": self.tracker.api_key}}
        await self.client.create(SECRETS, key, name)
        try:
            yield name
        finally:
            await self.client.delete(NAMESPACES, "", name)

    async def create(self, resource: Resource, namespace: str, name: str, work: str = "0", **spec: Any) -> None:
        """Creates a FinetuneJob or SweepRun whose pods go to our node and do `work` (seconds, or hold)."""
        await self.client.create(resource, manifest(resource, name, work, **spec), namespace)

    async def follow(self, resource: Resource, namespace: str) -> "Follower":
        """Everything that is seen of a kind in a namespace from now on."""
        follower = Follower(self.client, resource, namespace)
        await follower.start()
        return follower


def manifest(resource: Resource, name: str, work: str, **spec: Any) -> dict[str, Any]:
    """A resource whose pods go to our node."""
    trainer = {
        "model": {"name": "openai/whisper-small"},
        "dataset": {"uri": f"bench:{work}"},
        "resources": {"gpus": 1},
        "podTemplate": {"spec": {"nodeName": NODE}},
    }
    if resource == SWEEPS:
        space = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3}}
        spec = {"preset": "none", "parameters": space, **spec}
    else:
        spec = {"hyperparameters": {"learning_rate": 1e-4}, **spec}
    return {"metadata": {"name": name}, "spec": {"wandb": {"project": "bench"}, **spec, "trainer": trainer}}


class Follower:
    """A watch, and when each object was first seen to be something."""

    def __init__(self, client: ApiClient, resource: Resource, namespace: str) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.objects: dict[str, dict[str, Any]] = {}
        self.seen_at: dict[str, float] = {}
        self.done_at: dict[str, float] = {}

    async def start(self) -> None:
        """Begins to watch."""
        items, version = await self._client.list(self._resource, self._namespace)
        for item in items:
            self._take(item)
        self._task = asyncio.create_task(self._watch(version))

    async def stop(self) -> None:
        """Ends the watch."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, check: Callable[[], object], seconds: float = 600) -> None:
        """Waits for what the watch shows.

        Raises:
            TimeoutError: It did not come.
        """
        async with asyncio.timeout(seconds):
            while not check():
                self._changed.clear()
                await self._changed.wait()

    async def _watch(self, version: str) -> None:
        query = {"fieldSelector": f"metadata.namespace={self._namespace}"}
        while True:
            async for event, body in self._client.watch(self._resource, version, **query):
                version = body["metadata"]["resourceVersion"]
                if event not in ("BOOKMARK", "DELETED"):
                    self._take(body)

    def _take(self, body: dict[str, Any]) -> None:
        name, now = body["metadata"]["name"], asyncio.get_running_loop().time()
        self.objects[name] = body
        self.seen_at.setdefault(name, now)
        if any(c["type"] == "Complete" and c["status"] == "True" for c in body.get("status", {}).get("conditions", ())):
            self.done_at.setdefault(name, now)
        self._changed.set()


@contextlib.contextmanager
def _cluster(options: Options, folder: Path) -> Iterator[Path]:
    if options.kubeconfig is not None:
        yield options.kubeconfig
        return
    with start(folder / "sandbox", "--nodes", "0", images={}) as cluster:
        yield cluster.kubeconfig


@contextlib.asynccontextmanager
async def bench(options: Options) -> AsyncIterator[Bench]:
    """Brings everything up; ends all of it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        kubeconfig = stack.enter_context(_cluster(options, folder))
        tracker = stack.enter_context(running_tracker(folder / "tracker"))
        async with (
            ApiClient(Access.from_kubeconfig(kubeconfig), "finetune-bench") as client,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
        ):
            await _install(client)
            node = Node(client, lambda document: Agent(session, tracker.base_url, tracker.api_key, document))
            await node.register()
            running = asyncio.create_task(node.run())
            try:
                yield Bench(folder, kubeconfig, client, tracker, session)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await node.remove()


async def _install(client: ApiClient) -> None:
    for path in sorted((ROOT / "manifests" / "crds").glob("finetune.dev_*.yaml")):
        with contextlib.suppress(ApiError):  # it is there already
            await client.create(CRDS, yaml.safe_load(path.read_text()))
    async with asyncio.timeout(30):
        for resource in (SWEEPS, TRAININGS):
            while True:
                with contextlib.suppress(ApiError):
                    await client.list(resource)
                    break
                await asyncio.sleep(0.05)


def job_template(job: dict[str, Any]) -> str:
    """A Job as the operator made it, as JSON, for the minimal loop to make the like."""
    spec = json.loads(json.dumps(job["spec"]))
    for field in ("selector", "suspend", "backoffLimit", "completionMode", "manualSelector", "podReplacementPolicy"):
        if field in ("selector", "manualSelector"):
            spec.pop(field, None)
    labels = spec["template"]["metadata"]["labels"]
    for label in [
        label for label in labels if "batch.kubernetes.io" in label or label in ("controller-uid", "job-name")
    ]:
        del labels[label]
    return json.dumps({"labels": job["metadata"]["labels"], "spec": spec})


__all__ = ["JOBS", "SWEEPS", "TRAININGS", "Bench", "Follower", "bench", "job_template", "manifest"]
