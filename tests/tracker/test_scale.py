"""A project with 5,000 runs and a run with 100,000 rows stay quick to look at."""

import json
import os
import random
import sqlite3
import time

import pytest
from finetune_tracker.testing import running_tracker

from tests.tracker.client import Client

FULL = os.environ.get("FINETUNE_TESTS") == "full"
RUNS, ROWS = 5_000, 100_000
# The bound for a machine that does nothing else; beside other tests only its order of magnitude holds.
LIMIT = 0.5 if FULL else 4.0


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    folder = tmp_path_factory.mktemp("big")
    with running_tracker(folder) as server:
        client = Client(server.base_url, server.api_key, project="big")
        client.run("long")
        config = {"method": "random", "metric": {"name": "eval/wer"}, "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
        sweep = client.sweep(config)
        dice = random.Random(0)
        db = sqlite3.connect(folder / "tracker.sqlite3", timeout=30)
        (project,) = db.execute("SELECT id FROM projects WHERE name = 'big'").fetchone()
        (number,) = db.execute("SELECT id FROM sweeps").fetchone()
        (run,) = db.execute("SELECT id FROM runs WHERE name = 'long'").fetchone()
        values = [{f"m{k}": dice.random() for k in range(40)} | {"eval/wer": dice.random()} for _ in range(RUNS)]
        keys = json.dumps({k: {"number": 100} for k in values[0]})
        db.executemany(
            "INSERT INTO runs (project_id, name, display_name, state, config, summary, history_keys, user_id, "
            "sweep_id, created_at, updated_at, heartbeat_at) VALUES (?, ?, ?, 'finished', ?, ?, ?, 1, ?, ?, ?, ?)",
            [
                (project, f"r{i}", f"d{i}", json.dumps({k: {"value": v} for k, v in summary.items()}),
                 json.dumps(summary), keys, number, i, i, i)
                for i, summary in enumerate(values)
            ],
        )  # fmt: skip
        db.executemany(
            "INSERT INTO history (run_id, offset, step, line) VALUES (?, ?, ?, ?)",
            ((run, i, i, json.dumps({"_step": i, "loss": 1 / (i + 1), "lr": 0.1})) for i in range(ROWS)),
        )
        db.execute("UPDATE runs SET history_lines = ?, last_step = ? WHERE id = ?", (ROWS, ROWS - 1, run))
        db.commit()
        db.close()
        best = min(range(RUNS), key=lambda i: values[i]["eval/wer"])
        yield server, sweep, f"r{best}"


def quickest(action, attempts=3):
    times = []
    for _ in range(attempts):
        start = time.perf_counter()
        found = action()
        times.append(time.perf_counter() - start)
    print(f"{min(times) * 1e3:.0f} ms")
    return found, min(times)


@pytest.mark.slow
def test_first_page_best_run_and_history(sdk, big):
    server, sweep, best = big

    def api():
        return sdk.Api(overrides={"base_url": server.base_url}, api_key=server.api_key)

    api().viewer  # noqa: B018 - starts the SDK's service
    page, seconds = quickest(lambda: [r.name for r in api().runs("local/big", per_page=50)[:50]])
    assert len(page) == 50
    assert seconds < LIMIT
    found, seconds = quickest(lambda: api().sweep(f"local/big/{sweep['name']}").best_run().id)
    assert found == best
    assert seconds < LIMIT
    rows, seconds = quickest(lambda: api().run("local/big/long").history(samples=500, pandas=False))
    assert 490 <= len(rows) <= 500
    assert rows[-1]["_step"] == ROWS - 1
    assert seconds < LIMIT
