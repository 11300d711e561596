"""Filters: the compiled SQL agrees with a plain reading of the Mongo-like conditions."""

import json
import math

import pytest
from finetune_tracker.database import connect, migrate
from finetune_tracker.errors import BadRequest
from finetune_tracker.filters import RUNS, order_by, where
from hypothesis import given, settings
from hypothesis import strategies as st

STATES = ["running", "finished", "failed"]
TAGS = ["a", "b", "c"]
RUN = st.fixed_dictionaries(
    {
        "state": st.sampled_from(STATES),
        "config": st.dictionaries(st.sampled_from(["lr", "bs"]), st.integers(-3, 3)),
        "summary": st.dictionaries(st.sampled_from(["eval/wer", "x"]), st.floats(-2, 2) | st.just("NaN")),
        "tags": st.lists(st.sampled_from(TAGS), unique=True),
    }
)
NUMBER = st.integers(-3, 3)
LEAF = st.one_of(
    st.fixed_dictionaries({"state": st.sampled_from(STATES)}),
    st.fixed_dictionaries({"state": st.fixed_dictionaries({"$in": st.lists(st.sampled_from(STATES), max_size=2)})}),
    st.fixed_dictionaries({"state": st.fixed_dictionaries({"$ne": st.sampled_from(STATES)})}),
    st.fixed_dictionaries({"tags": st.sampled_from(TAGS)}),
    st.fixed_dictionaries({"tags": st.fixed_dictionaries({"$nin": st.lists(st.sampled_from(TAGS), max_size=2)})}),
    st.fixed_dictionaries({"config.lr": NUMBER}),
    st.fixed_dictionaries({"config.bs.value": st.fixed_dictionaries({"$gte": NUMBER})}),
    st.fixed_dictionaries({"summary_metrics.x": st.fixed_dictionaries({"$exists": st.booleans()})}),
)
FILTER = st.recursive(
    LEAF,
    lambda inner: (
        st.fixed_dictionaries({"$and": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"$or": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"$not": inner})
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    found = connect(tmp_path_factory.mktemp("db") / "x.sqlite3", synchronous="OFF")
    migrate(found)
    found.execute("INSERT INTO entities VALUES (1, 'e', 'user', 0)")
    found.execute("INSERT INTO projects (id, entity_id, name, created_at, updated_at) VALUES (1, 1, 'p', 0, 0)")
    yield found
    found.close()


def fill(db, runs):
    db.execute("DELETE FROM runs")
    db.executemany(
        "INSERT INTO runs (id, project_id, name, display_name, state, config, summary, tags, created_at, updated_at, "
        "heartbeat_at) VALUES (?, 1, ?, 'd', ?, ?, ?, ?, ?, 0, 0)",
        [
            (i, f"r{i}", r["state"], json.dumps({k: {"value": v} for k, v in r["config"].items()}),
             json.dumps(r["summary"]), json.dumps(r["tags"]), i)
            for i, r in enumerate(runs)
        ],
    )  # fmt: skip


def holds(filters, run):
    return all(_clause(key, value, run) for key, value in filters.items())


def _clause(key, value, run):
    if key == "$and":
        return all(holds(v, run) for v in value)
    if key == "$or":
        return any(holds(v, run) for v in value)
    if key == "$not":
        return not holds(value, run)
    ((op, operand),) = value.items() if isinstance(value, dict) else (("$eq", value),)
    if key == "tags":
        found = any(t == operand if op == "$eq" else t in operand for t in run["tags"])
        return found if op == "$eq" else not found
    name = key.split(".")[1] if "." in key else None
    actual = run["state"] if key == "state" else run["config" if key[0] == "c" else "summary"].get(name)
    if op == "$exists":
        return (actual is not None) == operand
    tests = {"$eq": lambda: actual == operand, "$ne": lambda: actual != operand, "$in": lambda: actual in operand}
    return tests[op]() if op in tests else actual is not None and actual >= operand


@settings(deadline=None)
@given(runs=st.lists(RUN, max_size=6), filters=FILTER)
def test_sql_means_what_the_filter_says(db, runs, filters):
    fill(db, runs)
    sql, params = where(filters, RUNS)
    found = [r["id"] for r in db.execute(f"SELECT id FROM runs WHERE {sql} ORDER BY id", params)]
    assert found == [i for i, run in enumerate(runs) if holds(filters, run)]


@settings(deadline=None)
@given(runs=st.lists(RUN, max_size=8), descending=st.booleans())
def test_runs_without_the_metric_come_last_in_both_directions(db, runs, descending):
    fill(db, runs)
    sql, params = order_by(("-" if descending else "+") + "summary_metrics.eval/wer", RUNS, "runs.id")
    order = [r["id"] for r in db.execute(f"SELECT id FROM runs ORDER BY {sql}", params)]
    metric = [runs[i]["summary"].get("eval/wer") for i in order]
    numbers = [m for m in metric if isinstance(m, float)]
    assert all(not isinstance(m, float) for m in metric[len(numbers) :])
    assert numbers == sorted(numbers, reverse=descending) or any(math.isnan(n) for n in numbers)


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"state": {"$near": 1}}, r"\$near"),
        ({"$and": {"state": "x"}}, r"\$and"),
        ({"state": {"$in": "x"}}, r"\$in"),
        ({'config.a"b': 1}, "must not contain"),
        ({"created_at": {"$gt": "yesterday"}}, "ISO 8601"),
    ],
)
def test_wrong_filters_are_refused_with_what_is_wrong(filters, named):
    with pytest.raises(BadRequest, match=named):
        where(filters, RUNS)


def test_injection_stays_a_value(db):
    fill(db, [{"state": "running", "config": {}, "summary": {}, "tags": []}])
    sql, params = where({"state": "x' OR '1'='1", "config.a') OR 1=1 --": 1}, RUNS)
    assert db.execute(f"SELECT count(*) FROM runs WHERE {sql}", params).fetchone()[0] == 0
