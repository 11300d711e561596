"""Artifacts and registries through the unmodified SDK."""

import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def log(sdk, name, text, aliases=None, run=None, **given):
    artifact = sdk.Artifact(name, type="model", **given)
    with artifact.new_file("weights.txt") as f:
        f.write(text)
    return run.log_artifact(artifact, aliases=aliases).wait()


def path(name):
    return f"local/{os.environ['WANDB_PROJECT']}/{name}"


def test_versions_aliases_and_dedup(sdk, tmp_path):
    with sdk.init() as run:
        first = log(sdk, "m", "one", ["best"], run, metadata={"wer": 0.5}, description="the first")
        second = log(sdk, "m", "two", ["best"], run)
        same = log(sdk, "m", "two", ["again"], run)
    assert [a.version for a in (first, second, same)] == ["v0", "v1", "v1"]
    api = sdk.Api()
    assert api.artifact(path("m:v0")).aliases == []
    assert set(api.artifact(path("m:latest")).aliases) == {"best", "latest", "again"}
    found = api.artifact(path("m:v0"))
    assert (found.metadata, found.description, found.size, found.state) == ({"wer": 0.5}, "the first", 3, "COMMITTED")
    folder = found.download(root=str(tmp_path / "v0"))
    assert (tmp_path / "v0" / "weights.txt").read_text() == "one"
    assert found.verify(root=folder) is None
    assert [a.version for a in api.artifacts("model", path("m"))] == ["v1", "v0"]
    assert api.artifact_exists(path("m:v1"))
    assert not api.artifact_exists(path("m:v7"))


def test_one_content_announced_by_several_at_once_is_one_version(sdk, client):
    """Agents that start together: all announce before any commits, each goes on with the id that it was given."""
    client.project = os.environ["WANDB_PROJECT"]
    create = """mutation($e: String!, $p: String!, $c: ID!, $a: [ArtifactAliasInput!], $d: String!) {
      createArtifact(input: {entityName: $e, projectName: $p, artifactTypeName: "dataset", digest: $d, clientID: $c,
        artifactCollectionName: "cases", aliases: $a, enableDigestDeduplication: true}) { artifact { id state } } }"""
    with sdk.init() as run:  # the SDK's own content, whose announcement others have overtaken
        artifact = sdk.Artifact("cases", type="dataset")
        with artifact.new_file("rows.txt") as f:
            f.write("rows")
        manifest = json.dumps(artifact.manifest.to_manifest_json())
        others = [
            client.call(create, e="local", p=client.project, c=name, d=artifact.digest,
                        a=[{"artifactCollectionName": "cases", "alias": name}])["createArtifact"]["artifact"]
            for name in ("one", "two")
        ]  # fmt: skip
        assert {other["state"] for other in others} == {"PENDING"}
        logged = run.log_artifact(artifact, aliases=["third"]).wait()
    announce = """mutation($a: ID!, $d: String!) { createArtifactManifest(input: {artifactID: $a, digest: $d,
      name: "wandb_manifest.json", entityName: "local", projectName: "p", type: FULL}) {
      artifactManifest { file { uploadUrl } } } }"""
    commit = "mutation($a: ID!) { commitArtifact(input: {artifactID: $a}) { artifact { id digest } } }"
    md5 = base64.b64encode(hashlib.md5(manifest.encode()).digest()).decode()
    for other in others * 2:  # a retried commit too
        made = client.call(announce, a=other["id"], d=md5)["createArtifactManifest"]["artifactManifest"]
        assert client.http.put(made["file"]["uploadUrl"], data=manifest, timeout=30).status_code == 200
        assert client.call(commit, a=other["id"])["commitArtifact"]["artifact"]["id"] == logged.id
    (only,) = sdk.Api().artifacts("dataset", path("cases"))
    assert (only.version, set(only.aliases)) == ("v0", {"one", "two", "third", "latest"})
    query = "query($a: ID!) { artifact(id: $a) { id state } }"
    assert {client.call(query, a=other["id"])["artifact"]["id"] for other in others} == {logged.id}
    with sdk.init() as run:
        use = """mutation($a: ID!, $p: String, $r: String) { useArtifact(input: {artifactID: $a, entityName: "local",
          projectName: $p, runName: $r}) { artifact { id } } }"""
        client.call(use, a=others[1]["id"], p=client.project, r=run.id)
    assert [user.id for user in only.used_by()] == [run.id]
    only.delete(delete_aliases=True)
    assert client.call(query, a=others[0]["id"])["artifact"] is None


def test_runs_that_log_one_content_together_share_a_version(sdk, tmp_path):
    """The same through the SDK alone: processes that wait for one another before they log."""
    script = tmp_path / "agent.py"
    script.write_text(
        "import sys, wandb\nrun = wandb.init()\nartifact = wandb.Artifact('shared', 'dataset')\n"
        "for part in range(20):\n    with artifact.new_file(f'{part}.txt') as f:\n        f.write('rows')\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "print(run.log_artifact(artifact, aliases=[sys.argv[1]]).wait().version, flush=True)\nrun.finish()\n"
    )
    with contextlib.ExitStack() as stack:
        agents = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, script, f"agent-{i}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    cwd=tmp_path, env={k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"},
                )
            )
            for i in range(2)
        ]  # fmt: skip
        assert [agent.stdout.readline() for agent in agents] == ["ready\n"] * 2
        for agent in agents:
            agent.stdin.write("go\n")
            agent.stdin.flush()
        assert [agent.communicate(timeout=120)[0] for agent in agents] == ["v0\n"] * 2
    (only,) = sdk.Api().artifacts("dataset", path("shared"))
    assert set(only.aliases) == {"agent-0", "agent-1", "latest"}


def test_edits(sdk):
    with sdk.init() as run:
        log(sdk, "m", "one", None, run)
    found = sdk.Api().artifact(path("m:v0"))
    found.aliases.append("production")
    found.tags = ["asr", "small"]
    found.description, found.metadata["wer"] = "edited", 0.25
    found.save()
    again = sdk.Api().artifact(path("m:production"))
    assert (again.description, again.metadata["wer"], again.tags) == ("edited", 0.25, ["asr", "small"])
    again.aliases.remove("production")
    again.save()
    with pytest.raises(sdk.errors.CommError):
        sdk.Api().artifact(path("m:production"))
    collection = sdk.Api().artifact_collection("model", path("m"))
    collection.description = "all of them"
    collection.tags = ["team"]
    collection.save()
    again = sdk.Api().artifact_collection("model", path("m"))
    assert (again.description, again.tags) == ("all of them", ["team"])


def test_lineage(sdk, tmp_path):
    with sdk.init() as producer:
        log(sdk, "data", "rows", None, producer)
    with sdk.init() as consumer:
        used = consumer.use_artifact("data:latest")
        assert Path(used.get_entry("weights.txt").download(root=str(tmp_path))).read_text() == "rows"
        log(sdk, "model", "weights", None, consumer)
    api = sdk.Api()
    data = api.artifact(path("data:v0"))
    assert data.logged_by().id == producer.id
    assert [r.id for r in data.used_by()] == [consumer.id]
    run = api.run(path(consumer.id))
    assert [a.name for a in run.used_artifacts()] == ["data:v0"]
    assert "model:v0" in [a.name for a in run.logged_artifacts()]


def test_deleting(sdk):
    with sdk.init() as run:
        log(sdk, "m", "one", None, run)
        log(sdk, "m", "two", None, run)
    sdk.Api().artifact(path("m:v0")).delete()
    with pytest.raises(sdk.errors.CommError, match="alias"):
        sdk.Api().artifact(path("m:v1")).delete()
    sdk.Api().artifact(path("m:v1")).delete(delete_aliases=True)
    assert list(sdk.Api().artifacts("model", path("m"))) == []


def test_linking_into_a_portfolio_and_a_registry(sdk):
    with sdk.init() as run:
        first = log(sdk, "m", "one", None, run)
        second = log(sdk, "m", "two", None, run)
        run.link_artifact(second, "stt-models", aliases=["candidate"])
        linked = run.link_artifact(second, "wandb-registry-model/stt", aliases=["production"])
        run.link_artifact(first, "wandb-registry-model/stt", aliases=["previous"])
    assert linked.version == "v0"
    api = sdk.Api()
    found = api.artifact("wandb-registry-model/stt:production")
    assert (found.version, found.source_name, found.digest) == ("v0", "m:v1", second.digest)
    assert api.artifact("wandb-registry-model/stt:previous").source_name == "m:v0"
    assert api.artifact(path("stt-models:candidate")).source_version == "v1"
    found.aliases.append("blessed")
    found.save()
    assert "blessed" in sdk.Api().artifact("wandb-registry-model/stt:v0").aliases
    registry = sdk.Api().registry("model", organization="local-org")
    assert "stt" in {c.name for c in registry.collections()}
    assert {v.version for v in registry.collections(filter={"name": "stt"}).versions()} == {"v0", "v1"}
    found.unlink()
    with pytest.raises(sdk.errors.CommError):
        sdk.Api().artifact("wandb-registry-model/stt:production")
    assert sdk.Api().artifact(path("m:v1")).digest == second.digest, "the source stays"


def test_creating_a_registry(sdk):
    made = sdk.Api().create_registry("speech", visibility="organization", organization="local-org", description="d")
    assert (made.full_name, made.description) == ("wandb-registry-speech", "d")
    assert "speech" in {r.name for r in sdk.Api().registries(organization="local-org")}


def test_log_model_and_references(sdk, tmp_path):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(range(256)) * 5000)
    with sdk.init() as run:
        run.log_model(str(weights), name="net", aliases=["staging"])
        reference = sdk.Artifact("cases", "dataset")
        reference.add_reference("https://example.invalid/cases.jsonl", checksum=False)
        run.log_artifact(reference).wait()
    with sdk.init() as run:
        assert Path(run.use_model("net:staging")).read_bytes() == weights.read_bytes()
    assert list(sdk.Api().artifact(path("cases:latest")).manifest.entries) == ["cases.jsonl"]


def test_incremental_artifacts_keep_the_files_of_their_base(sdk):
    with sdk.init() as run:
        base = sdk.Artifact("inc", "model")
        with base.new_file("a.txt") as f:
            f.write("a")
        run.log_artifact(base).wait()
        draft = base.new_draft()
        with draft.new_file("b.txt") as f:
            f.write("b")
        run.log_artifact(draft).wait()
    assert set(sdk.Api().artifact(path("inc:v1")).manifest.entries) == {"a.txt", "b.txt"}
