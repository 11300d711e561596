"""The command line and the process: start, stop, keys, metrics, export."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from finetune_tracker.testing import running_tracker

from tests.tracker.client import Client


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "finetune_tracker", *map(str, args)], capture_output=True, text=True, timeout=120
    )


def test_sigterm_ends_the_server_cleanly(tmp_path):
    with running_tracker(tmp_path) as server:
        Client(server.base_url, server.api_key).run("r")
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in server.log.read_text()


def test_keys_are_stored_as_hashes_and_logged_nowhere(tmp_path):
    with running_tracker(tmp_path) as server:
        Client(server.base_url, server.api_key).run("r")
        made = command("user", "add", "ann", "--data", tmp_path, "--team", "speech")
        assert made.returncode == 0, made.stderr
        key = made.stdout.strip()
        ann = Client(server.base_url, key, entity="speech")
        assert ann.run("r2")["bucket"]["project"]["entity"]["name"] == "speech"
        assert "ann\tspeech\t1 keys" in command("user", "list", "--data", tmp_path).stdout
        server.stop()
        for path in Path(tmp_path).rglob("*"):
            if path.is_file() and path.name != "api-key":
                assert key.encode() not in path.read_bytes(), path
                assert server.api_key.encode() not in path.read_bytes(), path


def test_a_key_the_sdk_would_refuse_is_refused_at_start(tmp_path):
    (tmp_path / "key").write_text("dummy")
    failed = command("serve", "--data", tmp_path / "data", "--api-key-file", tmp_path / "key")
    assert failed.returncode == 1
    assert "40 characters" in failed.stderr


def test_a_newer_database_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "tracker.sqlite3") as db:
        db.execute("PRAGMA user_version = 999")
    failed = command("serve", "--data", tmp_path)
    assert failed.returncode == 1
    assert "schema 999" in failed.stderr


def test_health_and_metrics(client, tracker):
    client.run("r")
    client.stream("r", [{"_step": 0}])
    assert requests.get(tracker.base_url + "/healthz", timeout=10).text == "ok\n"
    text = requests.get(tracker.base_url + "/metrics", timeout=10).text
    for name in ('finetune_tracker_runs{state="running"}', 'finetune_tracker_lines_total{stream="history"}'):
        assert name in text
    assert 'finetune_tracker_request_seconds_count{route="file_stream",status="200"}' in text


def test_prune_frees_what_nothing_refers_to(tmp_path):
    from finetune_tracker.database import connect
    from finetune_tracker.prune import prune

    create = """mutation($f: [String!]!) { createRunFiles(input: {entityName: "local", projectName: "p", runName: "r",
      files: $f}) { files { uploadUrl } } }"""
    with running_tracker(tmp_path) as server:
        client = Client(server.base_url, server.api_key, project="p")
        client.run("r")
        for name, data in (("kept", b"kept"), ("gone", b"gone!")):
            (file,) = client.call(create, f=[name])["createRunFiles"]["files"]
            client.http.put(file["uploadUrl"], data=data, timeout=10)
        db = connect(tmp_path / "tracker.sqlite3")
        db.execute("DELETE FROM run_files WHERE name = 'gone'")
        assert prune(db, tmp_path) == (0, 0), "touched a moment ago"
        assert prune(db, tmp_path, idle=-1) == (1, 5)
        db.close()
        assert command("prune", "--data", tmp_path).stdout == "0 files, 0 bytes\n"
        assert client.http.get(f"{server.base_url}/files/local/p/r/kept", timeout=10).content == b"kept"


def test_migrations_add_up_to_the_present_schema(tmp_path):
    from finetune_tracker.database import connect, migrate
    from finetune_tracker.migrations import MIGRATIONS

    db = connect(tmp_path / "x.sqlite3")
    assert migrate(db) == len(MIGRATIONS) == migrate(db)
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


@pytest.mark.slow
def test_export_hands_everything_over_and_can_be_repeated(sdk, tracker, tmp_path):
    import os

    project = os.environ["WANDB_PROJECT"]
    with sdk.init(config={"lr": 0.5}, name="one", tags=["t"], group="g") as run:
        for step in range(30):
            run.log({"loss": 1 / (step + 1)})
        model = sdk.Artifact("model", "model", metadata={"wer": 0.1})
        with model.new_file("w.txt") as f:
            f.write("weights")
        run.log_artifact(model, aliases=["best"]).wait()
        run.link_artifact(model, "wandb-registry-model/exported", aliases=["production"])
    with sdk.init() as user:
        user.use_artifact("model:best")
    client = Client(tracker.base_url, tracker.api_key, project=project)
    sweep = client.sweep({"method": "grid", "name": "s", "parameters": {"x": {"values": [1, 2]}}})
    client.agent(sweep).play(sweep)
    with running_tracker(tmp_path / "other") as other:
        (tmp_path / "key").write_text(other.api_key)
        args = ("export", "--data", tracker.data, "--to", other.base_url, "--api-key-file", tmp_path / "key")
        for _ in range(2):
            done = command(*args, "--project", project)
            assert done.returncode == 0, done.stderr
            assert done.stdout == "1 sweeps, 4 runs, 1 artifacts, 1 links\n"
        api = sdk.Api(overrides={"base_url": other.base_url}, api_key=other.api_key)
        found = api.run(f"local/{project}/{run.id}")
        assert (found.name, found.tags, found.group, found.state) == ("one", ["t"], "g", "finished")
        assert [row["loss"] for row in found.scan_history()] == [1 / (s + 1) for s in range(30)]
        assert dict(found.config) == {"lr": 0.5}
        artifact = api.artifact(f"local/{project}/model:best")
        assert (artifact.version, artifact.metadata, artifact.digest) == ("v0", {"wer": 0.1}, model.digest)
        assert artifact.logged_by().id == run.id
        assert [r.id for r in artifact.used_by()] == [user.id]
        assert (Path(artifact.download(root=str(tmp_path / "back"))) / "w.txt").read_text() == "weights"
        assert api.artifact("wandb-registry-model/exported:production").digest == model.digest
        (copied,) = api.project(project, "local").sweeps()
        assert (copied.name, copied.state, len(copied.runs)) == ("s", "FINISHED", 2)
