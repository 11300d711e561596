from __future__ import annotations

import copy
import json
from importlib import resources
from string import Template

import pytest
import yaml
from finetune_demo.snapshot import Snapshot, describe, settled
from finetune_demo.summary import Outcome, Scores, scores_of
from finetune_operator import stages, sweepconfig
from finetune_operator.api import FinetuneJob, SweepRun
from rich.console import Console


def resource(kind, name, conditions=(), spec=None, **status):
    listed = [{"type": each, "status": "True", "reason": each, "message": ""} for each in conditions]
    metadata = {"name": name, "namespace": "speech"}
    return {"kind": kind, "metadata": metadata, "spec": spec or {}, "status": {"conditions": listed, **status}}


SWEEP = resource("SweepRun", "accent", ["Complete"], {"trials": 8}, trials={"total": 8, "succeeded": 8})
JOB = resource("FinetuneJob", "accent-model", ["Complete", "Promoted"], promotion={"state": "Promoted"})


def outcome(**changes):
    values = {
        "sweep": SWEEP,
        "job": JOB,
        "baseline": Scores(0.4, 0.3, {"accent": 0.5}, 0.06),
        "default": Scores(0.3, 0.2, {"accent": 0.4}, 0.08),
        "best": Scores(0.1, 0.1, {"accent": 0.2}, 0.05),
        "promoted": Scores(0.12, 0.1, {"accent": 0.2}),
        "peak": 2,
        "seconds": {"setup": 1.23, "base": 2, "sweep": 3, "finetune": 4},
    }
    return Outcome(**{**values, **changes})


def more_trials():
    sweep = copy.deepcopy(SWEEP)
    sweep["status"]["trials"]["total"] = 9
    return sweep


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        pytest.param({}, [], id="all hold"),
        pytest.param({"sweep": more_trials()}, [0], id="a ninth trial"),
        pytest.param({"peak": 1}, [1], id="never two at once"),
        pytest.param({"best": Scores(0.25)}, [2], id="best only 17 % below default"),
        pytest.param({"promoted": Scores(0.4)}, [3], id="promoted as bad as baseline"),
        pytest.param({"job": resource("FinetuneJob", "x", ["Complete"])}, [5], id="not promoted"),
        pytest.param({"job": resource("FinetuneJob", "x", ["Failed"])}, [4, 5], id="failed"),
    ],
)
def test_claims(changes, broken):
    assert [i for i, (_, held) in enumerate(outcome(**changes).claims()) if not held] == broken


def test_the_document_is_json_with_the_four_rates_and_times():
    document = json.loads(json.dumps(outcome().document()))
    assert document["wer"] == {"baseline": 0.4, "default": 0.3, "best": 0.1, "promoted": 0.12}
    assert document["seconds"] == {"setup": 1.2, "base": 2, "sweep": 3, "finetune": 4}
    assert document["sweepRun"]["metadata"]["name"] == "accent"


def test_the_table_fits_a_narrow_terminal_and_says_what_is_not_known():
    console = Console(width=80, record=True)
    console.print(outcome().table())
    text = console.export_text()
    assert "default hyperparameters" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert [line for line in text.splitlines() if "promoted" in line and line.rstrip().endswith("-")]


def test_scores_are_read_from_a_runs_summary():
    summary = {
        "test/wer": 0.1, "test/cer": 0.05, "test/wer_by_type/accent": 0.2, "regression/known/wer": 0.04,
        "test/baseline_wer": 0.4, "test/baseline_cer": 0.3, "test/baseline_wer_by_type/accent": 0.5,
        "regression/known/baseline_wer": 0.06,
    }  # fmt: skip
    assert scores_of(summary, "known") == Scores(0.1, 0.05, {"accent": 0.2}, 0.04)
    assert scores_of(summary, "known", baseline=True) == Scores(0.4, 0.3, {"accent": 0.5}, 0.06)


@pytest.mark.parametrize(
    ("thing", "done"),
    [
        pytest.param(resource("SweepRun", "x"), False, id="just applied"),
        pytest.param(resource("SweepRun", "x", ["Complete"]), True, id="complete"),
        pytest.param(resource("FinetuneJob", "x", ["Failed"]), True, id="failed"),
        pytest.param(resource("FinetuneJob", "x", ["Complete"], {"promotion": {}}), False, id="promotion to come"),
        pytest.param(
            resource("FinetuneJob", "x", ["Complete"], {"promotion": {}}, promotion={"state": "Rejected"}),
            True,
            id="rejected",
        ),
    ],
)
def test_settled(thing, done):
    assert settled(thing) is done


def test_a_snapshot_sorts_what_kubectl_lists_and_describes_it():
    best = {"metric": "eval/wer", "value": 0.05, "hyperparameters": {"learning_rate": 1e-3}}
    running = resource("SweepRun", "accent", (), {"trials": 8}, trials={"succeeded": 3, "running": 2}, bestRun=best)
    snapshot = Snapshot.of([running, JOB, resource("Pod", "p")])
    assert list(snapshot.resources()) == ["sweeprun/accent", "finetunejob/accent-model"]
    line = describe("sweeprun/accent", snapshot.sweep)
    assert line == "sweeprun/accent: 3/8 trials done, 2 running, best eval/wer 0.050 (learning rate 1.0e-03), applied"
    assert describe("finetunejob/accent-model", JOB).endswith("Promoted")
    assert describe("pod/new", {"kind": "Pod"}) == "pod/new: applied"


def manifest(name):
    text = (resources.files("finetune_demo") / "manifests" / name).read_text()
    values = {"tracker": "http://127.0.0.1:8080", "base": "/b", "task": "/t", "seed": "7"}
    return yaml.safe_load(Template(text).substitute(values))


def test_the_manifests_are_what_the_operator_accepts():
    sweep = manifest("sweeprun.yaml")
    parsed = SweepRun.model_validate(sweep)
    assert sweepconfig.problem(parsed.spec) is None
    assert (parsed.spec.trials, parsed.spec.parallelism) == (8, 2)
    assert {"learning_rate"} < stages.parameters(parsed.spec).keys()
    default, model = (manifest(name) for name in ("default.yaml", "finetunejob.yaml"))
    for job in (default, model):
        FinetuneJob.model_validate(job)
        assert job["spec"]["trainer"] == sweep["spec"]["trainer"], "the comparison is fair only on the same terms"
    assert "hyperparameters" not in default["spec"]
    assert model["spec"]["hyperparametersFrom"]["sweepRunRef"]["name"] == sweep["metadata"]["name"]
