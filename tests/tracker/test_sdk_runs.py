"""Runs through the unmodified SDK and its public API."""

import json
import os
import subprocess
import sys

import pytest
from finetune_tracker.testing import running_tracker, wait_until


def api(sdk):
    """A fresh public API: its objects are cached per instance."""
    return sdk.Api()


def fetch(sdk, run):
    return api(sdk).run(f"local/{os.environ['WANDB_PROJECT']}/{run.id}")


def test_login(sdk, tracker):
    assert sdk.login(key=tracker.api_key, host=tracker.base_url, verify=True)
    viewer = api(sdk).viewer
    assert (viewer.username, viewer.entity) == ("local", "local")


def test_wrong_key(sdk, tracker):
    with pytest.raises(sdk.errors.AuthenticationError):
        sdk.login(key="0" * 40, host=tracker.base_url, verify=True, relogin=True)
    assert sdk.login(key=tracker.api_key, host=tracker.base_url, verify=True, relogin=True)


def test_everything_a_run_logs_arrives(sdk, tmp_path):
    config = {"lr": 1e-5, "nested": {"a": [1, 2]}, "none": None}
    with sdk.init(config=config, name="first", tags=["a", "b"], notes="why", group="g", job_type="train") as run:
        for step in range(300):
            run.log({"loss": 1 / (step + 1), "eval/wer": 0.5})
        run.log({"odd": float("nan"), "big": float("inf")})
        run.summary["best"] = {"wer": 0.25}
        saved = tmp_path / "notes.txt"
        saved.write_text("saved")
        run.save(str(saved), base_path=str(tmp_path))
        run.alert("done", "all of it")
        print("a console line")
    found = fetch(sdk, run)
    assert found.state == "finished"
    assert (found.name, found.tags, found.notes) == ("first", ["a", "b"], "why")
    assert (found.group, found.job_type) == ("g", "train")
    assert dict(found.config) == config
    assert found.summary["best"]["wer"] == 0.25
    assert found.summary["loss"] == pytest.approx(1 / 300)
    rows = list(found.scan_history())
    assert [row["_step"] for row in rows] == list(range(301))
    assert sum(row["loss"] for row in rows[:300]) == pytest.approx(sum(1 / (s + 1) for s in range(300)))
    assert len(found.history(samples=100, pandas=False)) <= 100
    assert found.history(keys=["eval/wer"], pandas=False)[0]["eval/wer"] == 0.5
    assert list(found.scan_history(keys=["eval/wer"], page_size=7))[-1]["eval/wer"] == 0.5
    assert found.lastHistoryStep == 300
    with found.file("notes.txt").download(root=str(tmp_path / "back")) as f:
        assert f.read() == "saved"
    assert "notes.txt" in {f.name for f in found.files(pattern="%.txt")}


def test_media_and_tables(sdk):
    import numpy as np

    with sdk.init() as run:
        table = sdk.Table(columns=["text", "wer"], data=[["a", 0.1], ["b", 0.2]])
        run.log({"table": table, "audio": sdk.Audio(np.zeros(800), sample_rate=8000), "html": sdk.Html("<b>x</b>")})
        run.log({"images": [sdk.Image(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 255)]})
        run.log({"histogram": sdk.Histogram([1, 2, 3]), "bar": sdk.plot.bar(table, "text", "wer")})
    found = fetch(sdk, run)
    names = {f.name for f in found.files(per_page=5)}
    assert {n.split("/")[1] for n in names if n.startswith("media/")} == {"table", "audio", "html", "images"}
    assert found.summary["images"]["count"] == 2
    path = found.summary["table"]["path"]
    data = json.loads(found.file(path).download(root=os.environ["WANDB_DIR"], exist_ok=True).read())
    assert data["data"] == [["a", 0.1], ["b", 0.2]]
    assert any(a.type == "run_table" for a in found.logged_artifacts())


def test_resume_continues_where_the_run_stopped(sdk):
    with sdk.init(config={"lr": 1}) as run:
        for _ in range(5):
            run.log({"x": 1})
    with sdk.init(id=run.id, resume="must") as again:
        assert again.resumed
        assert again.starting_step == 5
        again.log({"x": 2})
    found = fetch(sdk, run)
    assert [row["_step"] for row in found.scan_history()] == list(range(6))
    assert found.state == "finished"
    with pytest.raises(sdk.errors.UsageError):
        sdk.init(id="never-seen", resume="must")


def test_a_run_id_started_over_replaces_the_former_history(sdk):
    with sdk.init(id="over") as run:
        for _ in range(9):
            run.log({"x": 1})
    with sdk.init(id="over") as run:
        run.log({"x": 2})
    assert [row["x"] for row in fetch(sdk, run).scan_history()] == [2]


def test_rewind(sdk):
    with sdk.init() as run:
        for step in range(10):
            run.log({"x": step})
    with sdk.init(resume_from=f"{run.id}?_step=4") as again:
        again.log({"x": -1})
    assert [row["x"] for row in fetch(sdk, run).scan_history()] == [0, 1, 2, 3, 4, -1]


def test_a_failing_run_is_failed(sdk):
    with pytest.raises(ZeroDivisionError), sdk.init() as run:
        raise ZeroDivisionError
    assert fetch(sdk, run).state == "failed"


def test_public_api_edits(sdk):
    with sdk.init() as run:
        run.log({"x": 1})
    found = fetch(sdk, run)
    found.display_name, found.config["extra"] = "renamed", 7
    found.tags.append("late")
    found.summary["judged"] = True
    found.update()
    again = fetch(sdk, run)
    assert (again.name, again.config["extra"], again.tags, again.summary["judged"]) == ("renamed", 7, ["late"], True)
    again.delete()
    with pytest.raises(Exception, match="Could not find run"):
        fetch(sdk, run)


def test_run_filters_and_order(sdk):
    project = os.environ["WANDB_PROJECT"]
    for i in range(5):
        with sdk.init(config={"lr": i / 10, "model": {"size": i}}, tags=["even"] if i % 2 == 0 else ["odd"]) as run:
            if i:
                run.log({"eval/wer": 1 / i})
    runs = api(sdk).runs(f"local/{project}", order="+summary_metrics.eval/wer", per_page=2)
    assert [r.config["lr"] for r in runs] == [0.4, 0.3, 0.2, 0.1, 0.0], "without the metric last"
    runs = api(sdk).runs(f"local/{project}", order="-summary_metrics.eval/wer")
    assert [r.config["lr"] for r in runs][-1] == 0.0, "last in both directions"
    assert len(api(sdk).runs(f"local/{project}", filters={"config.lr": {"$gte": 0.2}, "tags": "even"})) == 2
    assert len(api(sdk).runs(f"local/{project}", filters={"config.model.value.size": 3})) == 1
    either = {"$or": [{"state": "failed"}, {"tags": {"$in": ["odd"]}}]}
    assert len(api(sdk).runs(f"local/{project}", filters=either)) == 2
    assert project in {p.name for p in api(sdk).projects("local")}


@pytest.mark.slow
def test_stop_reaches_the_process(sdk, tracker, tmp_path):
    script = "import time, wandb\nrun = wandb.init()\nwhile True:\n    run.log({'x': 1})\n    time.sleep(0.1)\n"
    env = tracker.client_env(tmp_path) | {
        "WANDB_PROJECT": os.environ["WANDB_PROJECT"], "WANDB_RUN_ID": "stopme",
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.5",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", script], env=env, stderr=subprocess.DEVNULL)
    try:
        path = f"local/{os.environ['WANDB_PROJECT']}/stopme"

        def known():
            try:
                return api(sdk).run(path).historyLineCount > 0
            except Exception:
                return False

        wait_until(known, 60, 0.5)
        api(sdk).run(path).stop()
        assert process.wait(60) != 0
        wait_until(lambda: api(sdk).run(path).state == "killed", 30, 0.5)
    finally:
        process.kill()
        process.wait()


def test_offline_runs_sync_later(sdk, tracker, tmp_path):
    env = tracker.client_env(tmp_path) | {"WANDB_PROJECT": os.environ["WANDB_PROJECT"], "WANDB_RUN_ID": "offline"}
    script = "import wandb\nwith wandb.init(mode='offline') as run:\n    [run.log({'x': i}) for i in range(20)]\n"
    subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, timeout=120)
    (folder,) = (tmp_path / "dir" / "wandb").glob("offline-run-*")
    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", str(folder)], env=env, check=True, capture_output=True, timeout=120
    )
    found = api(sdk).run(f"local/{os.environ['WANDB_PROJECT']}/offline")
    assert [row["x"] for row in found.scan_history()] == list(range(20))


@pytest.mark.slow
def test_a_run_outlives_the_server(sdk, tmp_path):
    """The server dies twice while the SDK logs; the SDK's retries make the run whole."""
    script = (
        "import sys, wandb\nwith wandb.init(project='p', id='r') as run:\n    for line in sys.stdin:\n"
        "        for _ in range(50):\n            run.log({'x': run.step})\n        print('logged', flush=True)\n"
        "    artifact = wandb.Artifact('m', 'model')\n    with artifact.new_file('w') as f:\n        f.write('x')\n"
        "    run.log_artifact(artifact).wait()\n"
    )
    with running_tracker(tmp_path / "server") as server:
        env = server.client_env(tmp_path) | {
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.2",
            "WANDB_X_STATS_SAMPLING_INTERVAL": "1",
            "WANDB_CONSOLE": "wrap",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            for _ in range(2):
                print("go", file=process.stdin, flush=True)
                assert process.stdout.readline() == "logged\n"
                server.kill()
                print("go", file=process.stdin, flush=True)
                assert process.stdout.readline() == "logged\n"
                server.start()
            process.stdin.close()
            assert process.wait(120) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        found = sdk.Api(overrides={"base_url": server.base_url}, api_key=server.api_key).run("local/p/r")
        assert [row["x"] for row in found.scan_history()] == list(range(200))
        assert found.state == "finished"
        assert [a.name for a in found.logged_artifacts()] == ["m:v0"]
        assert sum(line.content.strip() == "logged" for line in found.console_logs()) == 4
        assert found.history(stream="system", pandas=False)[0]["_runtime"] > 0
