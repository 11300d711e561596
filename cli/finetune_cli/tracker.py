"""The tracker (W&B or finetune-tracker) over its GraphQL API: runs, histories, tables and consoles, read only."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3
from finetune_operator.api import FinetuneJob, SweepRun
from urllib3.exceptions import HTTPError

from finetune_cli.cluster import Cluster, path
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource

CLOUD = "https://api.wandb.ai"
_PAGE = 500
_RUN = "id name displayName state config summaryMetrics createdAt sweepName"
_RUNS = (
    "query Runs($entity: String, $project: String!, $filters: JSONString, $first: Int, $after: String) "
    "{ project(name: $project, entityName: $entity) { runs(filters: $filters, first: $first, after: $after, order: "
    '"+created_at") { edges { node { ' + _RUN + " } } pageInfo { endCursor hasNextPage } } } }"
)


def _run_query(fields: str, declared: str = "") -> str:
    return (
        f"query Run($entity: String, $project: String!, $run: String!{declared}) "
        f"{{ project(name: $project, entityName: $entity) {{ run(name: $run) {{ {fields} }} }} }}"
    )


@dataclass(frozen=True, slots=True)
class Address:
    """Where the runs of a resource are; entity None is the API key's default."""

    base_url: str
    project: str
    entity: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run."""

    id: str
    name: str
    state: str
    config: dict[str, Any]
    summary: dict[str, Any]
    created_at: str

    def metric(self, key: str) -> float | None:
        """A finite number of the summary."""
        value = self.summary.get(key)
        if isinstance(value, dict):
            value = next((value[k] for k in ("min", "max", "best", "last", "mean") if k in value), None)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or value != value
            or abs(value) == float("inf")
        ):
            return None
        return float(value)

    @classmethod
    def from_node(cls, node: Mapping[str, Any]) -> Run:
        """Reads a GraphQL node."""
        config = {
            key: item["value"] if isinstance(item, dict) and "value" in item else item
            for key, item in json.loads(node.get("config") or "{}").items()
            if not key.startswith("_")
        }
        summary = json.loads(node.get("summaryMetrics") or "{}")
        name = node.get("displayName") or node["name"]
        return cls(node["name"], name, node.get("state") or "", config, summary, node.get("createdAt") or "")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a run has logged."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """Rows by column name."""
        return [dict(zip(self.columns, row, strict=False)) for row in self.rows]


def address(resource: Resource, url: str | None, environment: Mapping[str, str]) -> Address:
    """Where a resource's runs are: `url`, else the resource's own, else what its status links to, else W&B's cloud."""
    parsed = resource.parsed
    page = _page(parsed)
    link = re.fullmatch(r"(https?://[^/]+)/([^/]+)/([^/]+)/(?:sweeps|runs)/[^/]+", page or "")
    linked = link.group(1) if link and urlsplit(link.group(1)).hostname != "wandb.ai" else None
    spec = parsed.spec.wandb
    base = url or spec.base_url or linked or environment.get("WANDB_BASE_URL") or CLOUD
    project = (link.group(3) if link else None) or spec.project or environment.get("WANDB_PROJECT") or "stt-finetuning"
    entity = (link.group(2) if link else None) or spec.entity or environment.get("WANDB_ENTITY")
    return Address(base.rstrip("/"), project, entity)


def _page(parsed: FinetuneJob | SweepRun) -> str | None:
    if isinstance(parsed, SweepRun):
        return parsed.status.sweep.url if parsed.status.sweep else None
    return parsed.status.run.url if parsed.status.run else None


def api_key(cluster: Cluster, resource: Resource, environment: Mapping[str, str]) -> str:
    """WANDB_API_KEY, else the key in the resource's Secret.

    Raises:
        CliError: Neither is to be had.
    """
    if key := environment.get("WANDB_API_KEY"):
        return key
    ref = resource.parsed.spec.wandb.api_key_secret_ref
    fix = "set WANDB_API_KEY"
    secret = cluster.get(path("secrets", resource.namespace, ref.name))
    if secret is None or ref.key not in (secret.get("data") or {}):
        raise CliError(
            f"Secret {ref.name} with key {ref.key} does not exist in {resource.namespace}", ExitCode.TRACKER, fix
        )
    return base64.b64decode(secret["data"][ref.key]).decode("utf-8", "replace").strip()


class Tracker:
    """One project of a tracker.

    Args:
        where: Server, project, entity.
        key: API key.
        patient: Try again, and wait long, when it does not answer.
    """

    def __init__(self, where: Address, key: str, *, patient: bool = True) -> None:
        self.where = where
        headers = urllib3.make_headers(basic_auth=f"api:{key}") | {"Content-Type": "application/json"}
        retries = urllib3.Retry(
            total=3 if patient else 0, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504), allowed_methods=None
        )
        timeout = urllib3.Timeout(connect=5, read=60) if patient else urllib3.Timeout(connect=2, read=5)
        self._http = urllib3.PoolManager(headers=headers, retries=retries, timeout=timeout)

    @classmethod
    def of(cls, cluster: Cluster, resource: Resource, url: str | None, *, patient: bool = True) -> Tracker:
        """The tracker of a resource."""
        return cls(address(resource, url, os.environ), api_key(cluster, resource, os.environ), patient=patient)

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """The data of a query.

        Raises:
            CliError: The tracker does not answer or refuses.
        """
        body = json.dumps({"query": text, "variables": variables}).encode()
        answer = self._send("POST", f"{self.where.base_url}/graphql", body)
        if errors := answer.get("errors"):
            raise CliError(f"the tracker refused: {errors[0].get('message', errors[0])}", ExitCode.TRACKER)
        return answer.get("data") or {}

    def _send(self, method: str, url: str, body: bytes | None = None) -> dict[str, Any]:
        # A signed download link needs no key, and may lead to another host, which must not see it.
        own = urlsplit(url).netloc == urlsplit(self.where.base_url).netloc
        try:
            answer = self._http.request(method, url, body=body, **({} if own else {"headers": {}}))
        except HTTPError as error:
            fix = "give the address as this machine reaches it: --tracker-url (a port-forward will do)"
            reason = getattr(error, "reason", None) or error
            raise CliError(
                f"the tracker at {self.where.base_url} does not answer: {reason}", ExitCode.TRACKER, fix
            ) from error
        if answer.status in (401, 403):
            fix = "put a valid API key into the Secret, or set WANDB_API_KEY"
            raise CliError(f"the tracker at {self.where.base_url} refused the API key", ExitCode.TRACKER, fix)
        try:
            value = answer.json()
        except ValueError:
            value = None
        if answer.status >= 400 or not isinstance(value, dict):
            raise CliError(f"the tracker at {self.where.base_url} answered with HTTP {answer.status}", ExitCode.TRACKER)
        return value

    def viewer(self) -> dict[str, Any] | None:
        """The user that the API key belongs to; None if it belongs to nobody."""
        viewer: dict[str, Any] | None = self.query("query Viewer { viewer { username entity } }").get("viewer")
        return viewer

    def runs(self, sweep: str) -> list[Run]:
        """All runs of a sweep, oldest first."""
        found: list[Run] = []
        after: str | None = None
        while True:
            filters = json.dumps({"sweep": sweep})
            data = self.query(_RUNS, **self._names(), filters=filters, first=_PAGE, after=after)
            page = (data.get("project") or {}).get("runs") or {"edges": [], "pageInfo": {}}
            found += [Run.from_node(edge["node"]) for edge in page["edges"]]
            if not page["pageInfo"].get("hasNextPage"):
                return found
            after = page["pageInfo"]["endCursor"]

    def run(self, run_id: str) -> Run:
        """One run.

        Raises:
            CliError: It does not exist.
        """
        return Run.from_node(self._run(run_id, _RUN))

    def history(self, run_id: str, keys: list[str], samples: int = 400) -> list[dict[str, Any]]:
        """Points of a run that have all keys, evenly sampled."""
        spec = json.dumps({"keys": keys, "samples": samples})
        query = "sampledHistory(specs: $specs)"
        data = self._run(run_id, query, ", $specs: [JSONString!]!", specs=[spec])
        return (data.get("sampledHistory") or [[]])[0]  # type: ignore[no-any-return]

    def console(self, run_id: str, tail: int | None = None) -> list[str]:
        """Lines that a run printed."""
        data = self._run(
            run_id, "logLines(last: $last) { edges { node { line } } }", ", $last: Int", last=tail or 10_000
        )
        return [edge["node"]["line"].rstrip("\n") for edge in (data.get("logLines") or {"edges": []})["edges"]]

    def table(self, run: Run, key: str) -> Table:
        """A table that a run has logged under a key; empty if there is none."""
        entry = run.summary.get(key)
        if not isinstance(entry, dict) or not entry.get("path"):
            return Table()
        query = "files(names: $names) { edges { node { name directUrl url } } }"
        data = self._run(run.id, query, ", $names: [String]", names=[entry["path"]])
        for edge in (data.get("files") or {"edges": []})["edges"]:
            node = edge["node"]
            if node["name"] == entry["path"]:
                document = self._send("GET", node.get("directUrl") or node["url"])
                return Table([str(c) for c in document.get("columns") or ()], document.get("data") or [])
        return Table()

    def _names(self) -> dict[str, Any]:
        return {"entity": self.where.entity, "project": self.where.project}

    def _run(self, run_id: str, fields: str, declared: str = "", **variables: Any) -> dict[str, Any]:
        data = self.query(_run_query(fields, declared), **self._names(), run=run_id, **variables)
        run: dict[str, Any] | None = (data.get("project") or {}).get("run")
        if run is None:
            where = "/".join(part for part in (self.where.entity, self.where.project) if part)
            raise CliError(f"no run {run_id!r} in {where} at {self.where.base_url}", ExitCode.NOT_FOUND)
        return run
