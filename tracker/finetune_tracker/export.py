"""Handing projects over to another W&B server, by the same protocol that the SDK logs with.

Everything is sent under the names it has here, run ids included, and can be sent again: file streams are idempotent by
offset, artifacts by digest, and the ids that the other server gave to sweeps are remembered in this database.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_tracker.blobs import BlobStore
from finetune_tracker.views.project import REGISTRY_PREFIX
from finetune_tracker.wire import WireClient

_CHUNK = 2000
_STREAMS = {"history": "wandb-history.jsonl", "events": "wandb-events.jsonl", "logs": "output.log"}

_UPSERT_RUN = """mutation UpsertBucket($name: String!, $project: String, $entity: String, $groupName: String,
  $displayName: String, $notes: String, $config: JSONString, $jobType: String, $program: String, $host: String,
  $sweep: String, $tags: [String!], $summaryMetrics: JSONString, $commit: String) {
  upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, groupName: $groupName,
    displayName: $displayName, notes: $notes, config: $config, jobType: $jobType, jobProgram: $program, host: $host,
    sweep: $sweep, tags: $tags, summaryMetrics: $summaryMetrics, commit: $commit}) { bucket { id } } }"""
_UPSERT_SWEEP = """mutation UpsertSweep($id: ID, $config: String, $entity: String, $project: String,
  $displayName: String, $description: String, $state: String) {
  upsertSweep(input: {id: $id, config: $config, entityName: $entity, projectName: $project, displayName: $displayName,
    description: $description, state: $state}) { sweep { id name } } }"""
_RUN_FILES = """mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    uploadHeaders files { name uploadUrl } } }"""
_ARTIFACT = """mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state } } }"""
_MANIFEST = """mutation CreateArtifactManifest($artifact: ID!, $digest: String!, $entity: String!, $project: String!,
  $run: String!, $upload: Boolean!) {
  createArtifactManifest(input: {artifactID: $artifact, name: "wandb_manifest.json", digest: $digest,
    entityName: $entity, projectName: $project, runName: $run, type: FULL}) {
    artifactManifest { id file { uploadUrl @include(if: $upload) uploadHeaders @include(if: $upload) } } } }"""
_FILES = """mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) { files { edges { node { uploadUrl uploadHeaders artifact { id } } } } } }"""
_COMMIT = """mutation CommitArtifact($artifact: ID!) {
  commitArtifact(input: {artifactID: $artifact}) { artifact { id } } }"""
_USE = """mutation UseArtifact($entity: String!, $project: String!, $run: String!, $artifact: ID!) {
  useArtifact(input: {entityName: $entity, projectName: $project, runName: $run, artifactID: $artifact}) {
    artifact { id } } }"""
_LINK = """mutation LinkArtifact($input: LinkArtifactInput!) { linkArtifact(input: $input) { versionIndex } }"""
_ORGANIZATION = """query FetchOrgInfoFromEntity($entity: String!) { entity(name: $entity) {
  organization { orgEntity { name } } user { organizations { orgEntity { name } } } } }"""


@dataclass
class Exporter:
    """Sends one entity's projects.

    Attributes:
        db: This server's database.
        blobs: Its files.
        target: The other server.
        entity: Entity to create everything in, over there.
        counts: What was sent so far.
    """

    db: sqlite3.Connection
    blobs: BlobStore
    target: WireClient
    entity: str
    destination: str
    counts: dict[str, int] = field(default_factory=lambda: {"sweeps": 0, "runs": 0, "artifacts": 0, "links": 0})

    def project(self, project: sqlite3.Row) -> None:
        """Send a project: sweeps, runs, artifacts with their lineage, and links into registries."""
        for sweep in self.db.execute(
            "SELECT * FROM sweeps WHERE project_id = ? ORDER BY id", (project["id"],)
        ).fetchall():
            self._sweep(project, sweep)
        for run in self.db.execute("SELECT * FROM runs WHERE project_id = ? ORDER BY id", (project["id"],)).fetchall():
            self._run(project, run)
        for artifact in self.db.execute(
            "SELECT a.*, c.name AS collection, t.name AS type, r.name AS run FROM artifacts a "
            "JOIN collections c ON c.id = a.sequence_id JOIN artifact_types t ON t.id = c.type_id "
            "LEFT JOIN runs r ON r.id = a.run_id WHERE c.project_id = ? AND a.state = 'COMMITTED' ORDER BY a.id",
            (project["id"],),
        ).fetchall():
            self._artifact(project, artifact)

    def _sweep(self, project: sqlite3.Row, sweep: sqlite3.Row) -> None:
        key = f"export:{self.destination}:{self.entity}:sweep:{sweep['id']}"
        known = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if known is None:
            given = {k: sweep[k] for k in ("config", "description")} | {"displayName": sweep["display_name"]}
            answer = self.target.call(_UPSERT_SWEEP, entity=self.entity, project=project["name"], **given)
            made = answer["upsertSweep"]["sweep"]
            self.db.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps([made["id"], made["name"]])))
            known = {"value": json.dumps([made["id"], made["name"]])}
            # Its trials ran here: nobody shall be handed more of them over there.
            self.target.call(
                _UPSERT_SWEEP, id=made["id"], state="FINISHED", entity=self.entity, project=project["name"]
            )
        self.counts["sweeps"] += 1

    def _sweep_name(self, sweep_id: int | None) -> str | None:
        key = f"export:{self.destination}:{self.entity}:sweep:{sweep_id}"
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row["value"])[1] if row else None

    def _run(self, project: sqlite3.Row, run: sqlite3.Row) -> None:
        name = project["name"]
        self.target.call(
            _UPSERT_RUN, name=run["name"], project=name, entity=self.entity, groupName=run["group_name"],
            displayName=run["display_name"], notes=run["notes"], config=run["config"], jobType=run["job_type"],
            program=run["program"], host=run["host"], sweep=self._sweep_name(run["sweep_id"]),
            tags=json.loads(run["tags"]), summaryMetrics=run["summary"], commit=run["commit_hash"],
        )  # fmt: skip
        for table, file in _STREAMS.items():
            self._stream(name, run, table, file)
        self._files(name, run)
        last = {"files": {"wandb-summary.json": {"offset": 0, "content": [run["summary"]]}}}
        ended = {} if run["state"] in ("running", "pending") else {"complete": True, "exitcode": _exitcode(run)}
        self.target.stream(self.entity, name, run["name"], last | ended)
        self.counts["runs"] += 1

    def _stream(self, project: str, run: sqlite3.Row, table: str, file: str) -> None:
        """Send the lines in chunks, numbered anew from 0: here a run that started over may begin higher."""
        lines = self.db.execute(f"SELECT line FROM {table} WHERE run_id = ? ORDER BY offset", (run["id"],))
        offset = 0
        while chunk := [row["line"] for row in lines.fetchmany(_CHUNK)]:
            body = {"files": {file: {"offset": offset, "content": chunk}}}
            self.target.stream(self.entity, project, run["name"], body)
            offset += len(chunk)

    def _files(self, project: str, run: sqlite3.Row) -> None:
        files = self.db.execute(
            "SELECT f.*, p.entity_id FROM run_files f JOIN runs r ON r.id = f.run_id "
            "JOIN projects p ON p.id = r.project_id WHERE f.run_id = ? ORDER BY f.name",
            (run["id"],),
        ).fetchall()
        for file in files:
            given = {"entity": self.entity, "project": project, "run": run["name"], "files": [file["name"]]}
            answer = self.target.call(_RUN_FILES, **given)["createRunFiles"]
            path = self.blobs.path(file["entity_id"], file["md5"])
            self.target.upload(answer["files"][0]["uploadUrl"], path, answer["uploadHeaders"])

    def _artifact(self, project: sqlite3.Row, artifact: sqlite3.Row) -> None:
        given = {
            "entityName": self.entity, "projectName": project["name"], "artifactTypeName": artifact["type"],
            "artifactCollectionNames": [artifact["collection"]], "runName": artifact["run"],
            "digest": artifact["digest"], "description": artifact["description"], "metadata": artifact["metadata"],
            "aliases": [
                {"artifactCollectionName": artifact["collection"], "alias": alias}
                for alias in self._aliases(artifact["id"], artifact["sequence_id"])
            ],
            "clientID": f"export-{artifact['client_id'] or artifact['id']}", "enableDigestDeduplication": True,
        }  # fmt: skip
        made = self.target.call(_ARTIFACT, input=given)["createArtifact"]["artifact"]
        if made["state"] != "COMMITTED":
            self._contents(project, artifact, made["id"])
        for usage in self.db.execute(
            "SELECT r.name, p.name AS project FROM usages u JOIN runs r ON r.id = u.run_id "
            "JOIN projects p ON p.id = r.project_id WHERE u.artifact_id = ? AND p.id = ?",
            (artifact["id"], project["id"]),
        ).fetchall():
            self.target.call(_USE, entity=self.entity, project=usage["project"], run=usage["name"], artifact=made["id"])
        self._links(artifact, made["id"])
        self.counts["artifacts"] += 1

    def _contents(self, project: sqlite3.Row, artifact: sqlite3.Row, artifact_id: str) -> None:
        entity = project["entity_id"]
        scope = {
            "artifact": artifact_id, "entity": self.entity, "project": project["name"], "run": artifact["run"] or "",
        }  # fmt: skip
        manifest = json.loads(self.blobs.path(entity, artifact["manifest_md5"]).read_bytes())
        own = self.db.execute("SELECT * FROM artifact_files WHERE artifact_id = ? ORDER BY name", (artifact["id"],))
        entries = manifest["contents"] = {row["name"]: manifest["contents"].get(row["name"], {}) for row in own}
        draft = self.target.call(_MANIFEST, **scope, digest="", upload=False)["createArtifactManifest"]
        stored = [name for name, entry in entries.items() if "ref" not in entry]
        wishes = [
            {"artifactID": artifact_id, "name": n, "md5": entries[n]["digest"],
             "artifactManifestID": draft["artifactManifest"]["id"]}
            for n in stored
        ]  # fmt: skip
        for start in range(0, len(wishes), 100):
            batch = wishes[start : start + 100]
            answer = self.target.call(_FILES, input={"artifactFiles": batch, "storageLayout": "V2"})
            for wish, edge in zip(batch, answer["createArtifactFiles"]["files"]["edges"], strict=True):
                node = edge["node"]
                entries[wish["name"]]["birthArtifactID"] = node["artifact"]["id"]
                if node["uploadUrl"]:
                    md5 = base64.b64decode(wish["md5"]).hex()
                    self.target.upload(node["uploadUrl"], self.blobs.path(entity, md5), node["uploadHeaders"])
        body = json.dumps(manifest).encode()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        final = self.target.call(_MANIFEST, **scope, digest=digest, upload=True)["createArtifactManifest"]
        file = final["artifactManifest"]["file"]
        self.target.upload(file["uploadUrl"], body, file["uploadHeaders"])
        self.target.call(_COMMIT, artifact=artifact_id)

    def _links(self, artifact: sqlite3.Row, artifact_id: str) -> None:
        for link in self.db.execute(
            "SELECT c.id, c.name, p.name AS project FROM memberships m JOIN collections c ON c.id = m.collection_id "
            "JOIN projects p ON p.id = c.project_id WHERE m.artifact_id = ? AND c.kind = 'portfolio' ORDER BY m.id",
            (artifact["id"],),
        ).fetchall():
            registry = link["project"].startswith(REGISTRY_PREFIX)
            given = {
                "artifactID": artifact_id,
                "artifactPortfolioName": link["name"],
                "entityName": self._organization() if registry else self.entity,
                "projectName": link["project"],
                "aliases": [
                    {"artifactCollectionName": link["name"], "alias": alias}
                    for alias in self._aliases(artifact["id"], link["id"])
                ],
            }
            self.target.call(_LINK, input=given)
            self.counts["links"] += 1

    def _aliases(self, artifact_id: int, collection_id: int) -> list[str]:
        rows = self.db.execute(
            "SELECT a.alias FROM aliases a JOIN memberships m ON m.id = a.membership_id "
            "WHERE m.artifact_id = ? AND m.collection_id = ? AND a.alias != 'latest' ORDER BY a.id",
            (artifact_id, collection_id),
        )
        return [row["alias"] for row in rows]

    def _organization(self) -> str:
        found: Any = self.target.call(_ORGANIZATION, entity=self.entity)["entity"] or {}
        organizations = [found.get("organization"), *((found.get("user") or {}).get("organizations") or [])]
        for organization in organizations:
            if organization and organization.get("orgEntity"):
                return str(organization["orgEntity"]["name"])
        return self.entity


def export(
    db: sqlite3.Connection, data: Path, target: WireClient, *, destination: str, entity: str, to_entity: str,
    projects: list[str],
) -> dict[str, int]:  # fmt: skip
    """Send an entity's projects (all if none are named); returns how many sweeps, runs, artifacts and links went over.

    Raises:
        ValueError: A named project does not exist.
        WireError: The other server refused or went away; calling again continues.
    """
    rows = db.execute(
        "SELECT p.* FROM projects p JOIN entities e ON e.id = p.entity_id WHERE e.name = ? ORDER BY p.id", (entity,)
    ).fetchall()
    unknown = set(projects) - {row["name"] for row in rows}
    if unknown:
        raise ValueError(f"entity {entity!r} has no project {', '.join(sorted(unknown))}")
    exporter = Exporter(db, BlobStore(data, limit=0), target, to_entity, destination)
    for row in rows:
        if not projects or row["name"] in projects:
            exporter.project(row)
    return exporter.counts


def _exitcode(run: sqlite3.Row) -> int:
    return run["exitcode"] if run["exitcode"] is not None else (0 if run["state"] == "finished" else 1)
