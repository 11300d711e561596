"""The file stream as a pure protocol: offsets make every retry harmless."""

import gzip
import json

import pytest
from finetune_tracker.database import connect, migrate
from finetune_tracker.errors import BadRequest, TooLarge
from finetune_tracker.filestream import apply, decompress, parse_post
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    found = connect(tmp_path_factory.mktemp("db") / "x.sqlite3", synchronous="OFF")
    migrate(found)
    found.execute("INSERT INTO entities VALUES (1, 'e', 'user', 0)")
    found.execute("INSERT INTO projects (id, entity_id, name, created_at, updated_at) VALUES (1, 1, 'p', 0, 0)")
    yield found
    found.close()


def new_run(db):
    db.execute("DELETE FROM runs")
    db.execute(
        "INSERT INTO runs (id, project_id, name, display_name, state, created_at, updated_at, heartbeat_at) "
        "VALUES (1, 1, 'r', 'd', 'running', 0, 0, 0)"
    )


def body(rows, offset, **more):
    content = [json.dumps(row) for row in rows]
    return json.dumps({"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}, **more}).encode()


def row_of(db):
    return dict(db.execute("SELECT * FROM runs").fetchone())


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    repeats=st.lists(st.integers(1, 3), min_size=8, max_size=8),
)
def test_repeated_posts_change_nothing(db, sizes, repeats):
    new_run(db)
    offset = 0
    for size, times in zip(sizes, repeats, strict=False):
        rows = [{"_step": offset + i, "x": offset + i} for i in range(size)]
        for _ in range(times):
            apply(db, 1, parse_post(body(rows, offset)), 1.0)
        offset += size
    lines = [json.loads(r["line"])["x"] for r in db.execute("SELECT line FROM history ORDER BY offset")]
    assert lines == list(range(offset))
    found = row_of(db)
    assert (found["history_lines"], found["last_step"]) == (offset, offset - 1)
    assert json.loads(found["history_keys"])["x"] == {"number": offset}


def test_a_run_that_starts_over_replaces_its_history_once(db):
    new_run(db)
    apply(db, 1, parse_post(body([{"_step": i, "x": 1} for i in range(5)], 0)), 1.0)
    db.execute("UPDATE runs SET restarted = 1")
    for _ in range(2):
        apply(db, 1, parse_post(body([{"_step": 0, "x": 2}], 5)), 2.0)
    apply(db, 1, parse_post(body([{"_step": 1, "x": 2}], 6)), 3.0)
    assert [json.loads(r["line"])["x"] for r in db.execute("SELECT line FROM history")] == [2, 2]
    found = row_of(db)
    assert (found["history_start"], found["history_lines"], found["last_step"]) == (5, 7, 1)


def test_a_resumed_run_keeps_its_history(db):
    new_run(db)
    apply(db, 1, parse_post(body([{"_step": i} for i in range(5)], 0)), 1.0)
    db.execute("UPDATE runs SET restarted = 1")
    apply(db, 1, parse_post(body([{"_step": 5}], 5)), 2.0)
    assert db.execute("SELECT count(*) FROM history").fetchone()[0] == 6


def test_what_json_cannot_say_is_stored_as_strings(db):
    new_run(db)
    apply(db, 1, parse_post(body([{"_step": 0, "a": float("nan"), "b": [float("-inf")]}], 0)), 1.0)
    (line,) = db.execute("SELECT line FROM history").fetchone()
    assert json.loads(line, parse_constant=pytest.fail) == {"_step": 0, "a": "NaN", "b": ["-Infinity"]}


@pytest.mark.parametrize("line", ["not json", "[1]", '"\\ud800"', "{", "nul\x00l", "[" * 5000, "\ud800"])
def test_odd_lines_are_kept_and_never_refused(db, line):
    new_run(db)
    post = {"files": {"wandb-history.jsonl": {"offset": 0, "content": [line]}, "output.log": {"content": [line]}}}
    apply(db, 1, parse_post(json.dumps(post).encode()), 1.0)
    assert row_of(db)["history_lines"] == 1
    assert db.execute("SELECT json_valid(line) FROM history").fetchone()[0] == 1


@pytest.mark.parametrize(
    ("post", "state", "exitcode"),
    [
        ({"complete": True, "exitcode": 0}, "finished", 0),
        ({"complete": True, "exitcode": 3}, "failed", 3),
        ({"complete": True}, "failed", 1),
        ({"complete": True, "exitcode": 143, "preempting": True}, "preempted", 143),
        ({"preempting": True}, "preempting", None),
        ({}, "running", None),
    ],
)
def test_states(db, post, state, exitcode):
    new_run(db)
    apply(db, 1, parse_post(json.dumps(post).encode()), 1.0)
    assert (row_of(db)["state"], row_of(db)["exitcode"]) == (state, exitcode)


def test_a_late_post_does_not_wake_a_finished_run(db):
    new_run(db)
    apply(db, 1, parse_post(b'{"complete": true, "exitcode": 0}'), 1.0)
    apply(db, 1, parse_post(body([{"_step": 0}], 0)), 2.0)
    assert row_of(db)["state"] == "finished"


def test_gzip():
    packed = gzip.compress(b"x" * 1000)
    assert decompress(packed, "gzip", 1000) == b"x" * 1000
    with pytest.raises(TooLarge):
        decompress(packed, "gzip", 999)
    with pytest.raises(BadRequest):
        decompress(b"no gzip", "gzip", 1000)
