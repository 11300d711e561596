"""W&B's GraphQL API, as far as the operator needs it: the SDK's own queries and mutations over aiohttp.

One client serves one API key at one server. The key is sent with each request and appears nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import yaml

from finetune_operator import queries
from finetune_operator.actions import CreateSweep, Promoted
from finetune_operator.api.shared import RegistrySpec
from finetune_operator.errors import ThrottledError, TrackerError, UnauthorizedError
from finetune_operator.facts import RunFacts, parse_config

_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_PAGE = 200


def app_url(base_url: str) -> str:
    """Address of the pages that belong to an API server."""
    return "https://wandb.ai" if base_url == "https://api.wandb.ai" else base_url


@dataclass(frozen=True, slots=True)
class SweepNode:
    """A sweep as the tracker has it: its state, and how many runs it has."""

    state: str
    run_count: int


class WandbClient:
    """One API key at one W&B server.

    Args:
        session: Shared HTTP session.
        base_url: Server, without a trailing slash.
        api_key: The key; sent as the password of basic authentication, as the SDK does.
        observe: Told of each request: operation and outcome.
    """

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, api_key: str, observe: Callable[[str, str], None]
    ) -> None:
        self._session = session
        self.base_url = base_url
        self._authorization = aiohttp.encode_basic_auth("api", api_key)
        self._observe = observe

    async def default_entity(self) -> str:
        """The entity that the key's runs go to by default."""
        viewer = (await self._query("Viewer", queries.VIEWER, {})).get("viewer")
        if not viewer:
            raise UnauthorizedError("the tracker does not accept the API key")
        return str(viewer.get("entity") or viewer.get("username"))

    async def find_sweeps(self, entity: str, project: str, mark: str) -> dict[str, str]:
        """State by id of the sweeps whose description is `mark`, or `mark:` and more; oldest first."""
        found: list[tuple[str, str, str]] = []
        cursor = None
        while True:
            variables = {"entity": entity, "project": project, "cursor": cursor}
            answer = (await self._query("Sweeps", queries.FIND_SWEEPS, variables)).get("project") or {}
            page = answer.get("sweeps") or {"edges": [], "pageInfo": {}}
            nodes = [edge["node"] for edge in page["edges"]]
            found += [
                (node.get("createdAt") or "", node["name"], node["state"])
                for node in nodes
                if f"{node.get('description')}:".startswith(f"{mark}:")
            ]
            cursor = page["pageInfo"].get("endCursor")
            if not page["pageInfo"].get("hasNextPage"):
                return {name: state for _, name, state in sorted(found)}

    async def create_sweep(self, entity: str, project: str, sweep: CreateSweep) -> str:
        """Creates a sweep; returns its id. The configuration goes as YAML that writes floats unmistakably."""
        variables = {
            "config": yaml.safe_dump(sweep.config, sort_keys=False),
            "description": sweep.token,
            "displayName": sweep.config["name"],
            "entityName": entity,
            "projectName": project,
        }
        if sweep.prior_runs:  # as the SDK's `wandb.sweep(prior_runs=...)` writes it
            variables["priorRunsFilters"] = json.dumps({"$or": [{"name": run} for run in sweep.prior_runs]})
        answer = await self._query("UpsertSweep", queries.UPSERT_SWEEP, variables)
        return str(answer["upsertSweep"]["sweep"]["name"])

    async def set_sweep_state(self, entity: str, project: str, sweep: str, state: str) -> None:
        """Sets RUNNING, PAUSED, FINISHED or CANCELED."""
        found = await self._query("Sweep", queries.SWEEP, {"project": project, "entity": entity, "sweep": sweep})
        node = (found.get("project") or {}).get("sweep")
        if node is None:
            return
        variables = {"id": node["id"], "state": state, "entityName": entity, "projectName": project}
        await self._query("UpsertSweep", queries.UPSERT_SWEEP, variables)

    async def read_sweeps(
        self, entity: str, project: str, sweeps: Sequence[str], filters: dict[str, Any]
    ) -> tuple[dict[str, SweepNode | None], dict[str, list[RunFacts]]]:
        """Several sweeps (None for one that does not exist), and without their summaries the runs that a filter names.

        One request, as long as the runs are no more than a page.
        """
        wanted = "".join(
            f's{i}: sweep(sweepName: "{name}") {{ name state runCount }} ' for i, name in enumerate(sweeps)
        )
        variables = {"project": project, "entity": entity, "filters": json.dumps(filters), "perPage": _PAGE}
        answer = (await self._query("SweepsAndRuns", queries.SWEEPS_AND_RUNS % wanted, variables)).get("project") or {}
        nodes = {name: answer.get(f"s{i}") for i, name in enumerate(sweeps)}
        page = answer.get("runs") or {"edges": [], "pageInfo": {}}
        runs = _by_sweep(page["edges"])
        if page["pageInfo"].get("hasNextPage"):
            runs = await self.read_runs(entity, project, filters)
        return {
            name: SweepNode(node["state"], node["runCount"]) if node else None for name, node in nodes.items()
        }, runs

    async def read_runs(self, entity: str, project: str, filters: dict[str, Any]) -> dict[str, list[RunFacts]]:
        """The runs that a filter names, oldest first, by the name of their sweep."""
        edges: list[dict[str, Any]] = []
        cursor = None
        while True:
            variables = {
                "entity": entity,
                "project": project,
                "filters": json.dumps(filters),
                "order": "+created_at",
                "perPage": _PAGE,
                "cursor": cursor,
            }
            answer = (await self._query("Runs", queries.RUNS, variables)).get("project") or {}
            page = answer.get("runs") or {"edges": [], "pageInfo": {}}
            edges += page["edges"]
            cursor = page["pageInfo"].get("endCursor")
            if not page["pageInfo"].get("hasNextPage"):
                return _by_sweep(edges)

    async def read_run(self, entity: str, project: str, name: str) -> RunFacts | None:
        """One run, or None."""
        answer = await self._query("Run", queries.RUN, {"entity": entity, "project": project, "name": name})
        node = (answer.get("project") or {}).get("run")
        return _run(node) if node else None

    async def read_artifact(self, entity: str, project: str, name: str) -> tuple[str, dict[str, Any]] | None:
        """Version and metadata of an artifact (`wandb-artifact://[[entity/]project/]name[:alias]`), or None."""
        owner, where, artifact = _artifact_path(name, entity, project)
        variables = {"entity": owner, "project": where, "name": artifact}
        answer = await self._query("ArtifactMembershipByName", queries.ARTIFACT, variables)
        found = (answer.get("project") or {}).get("artifactCollectionMembership")
        if not found:
            return None
        return f"v{found.get('versionIndex')}", json.loads((found.get("artifact") or {}).get("metadata") or "{}")

    async def stop_run(self, entity: str, project: str, name: str) -> None:
        """Asks a run to stop."""
        answer = await self._query("Run", queries.RUN, {"entity": entity, "project": project, "name": name})
        node = (answer.get("project") or {}).get("run")
        if node:
            await self._query("StopRun", queries.STOP_RUN, {"id": node["id"]})

    # -- registry ------------------------------------------------------------------------------------------------------

    async def promote(
        self, entity: str, project: str, registry: RegistrySpec, artifact: str | None, version: str | None
    ) -> Promoted:
        """Links an artifact to the registered model and moves the aliases; with `version` only the aliases move."""
        owner = await self._registry_entity(entity, registry.project)
        holder = await self._membership(owner, registry.project, f"{registry.model}:{registry.aliases[0]}")
        if version is not None:
            target = await self._membership(owner, registry.project, f"{registry.model}:{version}")
            if target is None:
                raise TrackerError(f"{registry.model}:{version} is not in {registry.project}")
            await self._alias(owner, registry, target["artifact"]["id"])
            return Promoted(version=version, previous=_version(holder))
        assert artifact is not None
        source_entity, source_project, name = _artifact_path(artifact, entity, project)
        source = await self._membership(source_entity, source_project, name)
        if source is None:
            raise TrackerError(f"artifact {source_entity}/{source_project}/{name} does not exist")
        if holder and holder["artifact"]["id"] == source["artifact"]["id"]:  # linked before a crash
            return Promoted(version=str(_version(holder)), previous=None)
        link = {
            "artifactID": source["artifact"]["id"],
            "artifactPortfolioName": registry.model,
            "entityName": owner,
            "projectName": registry.project,
            "aliases": [{"artifactCollectionName": registry.model, "alias": alias} for alias in registry.aliases],
        }
        answer = await self._query("LinkArtifact", queries.LINK_ARTIFACT, {"input": link})
        return Promoted(version=f"v{answer['linkArtifact']['versionIndex']}", previous=_version(holder))

    async def _registry_entity(self, entity: str, project: str) -> str:
        if not project.startswith("wandb-registry-"):
            return entity
        answer = await self._query("FetchOrgInfoFromEntity", queries.ORGANIZATION, {"entity": entity})
        organization = (answer.get("entity") or {}).get("organization") or {}
        return str((organization.get("orgEntity") or {}).get("name") or entity)

    async def _membership(self, entity: str, project: str, name: str) -> dict[str, Any] | None:
        variables = {"entity": entity, "project": project, "name": name}
        answer = await self._query("ArtifactMembershipByName", queries.MEMBERSHIP, variables)
        return (answer.get("project") or {}).get("artifactCollectionMembership")

    async def _alias(self, entity: str, registry: RegistrySpec, artifact_id: str) -> None:
        aliases = [
            {
                "alias": alias,
                "artifactCollectionName": registry.model,
                "entityName": entity,
                "projectName": registry.project,
            }
            for alias in registry.aliases
        ]
        await self._query("AddAliases", queries.ADD_ALIASES, {"input": {"artifactID": artifact_id, "aliases": aliases}})

    # -- wire ----------------------------------------------------------------------------------------------------------

    async def _query(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        outcome = "error"
        try:
            answer = await self._post(operation, query, variables)
            outcome = "ok"
            return answer
        except UnauthorizedError:
            outcome = "unauthorized"
            raise
        except ThrottledError:
            outcome = "throttled"
            raise
        finally:
            self._observe(operation, outcome)

    async def _post(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        body = {"operationName": operation, "query": query, "variables": variables}
        headers = {"Authorization": self._authorization}
        try:
            async with self._session.post(
                f"{self.base_url}/graphql", json=body, headers=headers, timeout=_TIMEOUT
            ) as response:
                text = await response.text()
                status = response.status
                retry_after = response.headers.get("Retry-After", "")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise TrackerError(f"{self.base_url} is unreachable: {type(error).__name__}: {error}") from error
        if status in (401, 403):
            raise UnauthorizedError(f"{self.base_url} does not accept the API key (HTTP {status})")
        if status == 429:
            raise ThrottledError(f"{self.base_url} asks for a pause (HTTP 429)", _seconds(retry_after))
        if status >= 500:
            said = _complaint(text)  # such as a full disk
            raise TrackerError(f"{self.base_url} answers HTTP {status}{f': {said}' if said else ''}")
        try:
            answer = json.loads(text)
        except ValueError:
            raise TrackerError(f"{self.base_url} answers HTTP {status} without JSON; is it a W&B server?") from None
        if answer.get("errors"):
            raise TrackerError(f"{operation}: {_complaint(text)}")
        return answer.get("data") or {}


def _complaint(text: str) -> str:
    """The first error of a GraphQL answer, in the server's words; empty if it names none."""
    try:
        first = json.loads(text)["errors"][0]
        return str(first.get("message", first) if isinstance(first, dict) else first)[:300]
    except (ValueError, TypeError, LookupError):
        return ""


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 1.0), 300.0)
    except ValueError:
        return 10.0


def _by_sweep(edges: Sequence[dict[str, Any]]) -> dict[str, list[RunFacts]]:
    runs: dict[str, list[RunFacts]] = {}
    for edge in edges:
        runs.setdefault(edge["node"].get("sweepName") or "", []).append(_run(edge["node"]))
    return runs


def _run(node: dict[str, Any]) -> RunFacts:
    return RunFacts(
        id=node["name"],
        name=node.get("displayName") or node["name"],
        state=node.get("state") or "pending",
        config=parse_config(node.get("config")),
        summary=json.loads(node.get("summaryMetrics") or "{}"),
        created_at=node.get("createdAt") or "",
        artifact=_model(node.get("outputArtifacts")),
    )


def _model(artifacts: dict[str, Any] | None) -> str | None:
    """Full name of the newest committed model among a run's output artifacts."""
    for edge in reversed((artifacts or {}).get("edges", ())):
        node = edge["node"]
        sequence = node.get("artifactSequence") or {}
        if (node.get("artifactType") or {}).get("name") != "model" or node.get("versionIndex") is None:
            continue
        project = sequence.get("project") or {}
        entity = (project.get("entity") or {}).get("name")
        return f"{entity}/{project.get('name')}/{sequence.get('name')}:v{node['versionIndex']}"
    return None


def _version(membership: dict[str, Any] | None) -> str | None:
    return f"v{membership['versionIndex']}" if membership and membership.get("versionIndex") is not None else None


def _artifact_path(artifact: str, entity: str, project: str) -> tuple[str, str, str]:
    """`name:alias`, `project/name:alias` or `entity/project/name:alias`, with or without a scheme."""
    parts = artifact.removeprefix("wandb-artifact://").strip("/").split("/")
    name = parts[-1] if ":" in parts[-1] else f"{parts[-1]}:latest"
    return (
        parts[-3] if len(parts) >= 3 else entity,
        parts[-2] if len(parts) >= 2 else project,
        name,
    )
