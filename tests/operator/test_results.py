"""Counts, the best run, and gates."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from finetune_operator import names, plan_finetune, promotion, results
from finetune_operator.actions import Promoted
from finetune_operator.api.shared import GatesSpec, PromotionSpec, RegistrySpec
from finetune_operator.api.status import PromotionStatus
from finetune_operator.api.sweeprun import MetricSpec
from finetune_operator.facts import JobFacts, PodFacts, RunFacts
from finetune_trainer.contract import FailureClass, TrialResult

WER = MetricSpec()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = promotion.Evidence(0.3, 0.01, 2, 2)
CANDIDATE = promotion.Candidate("run1", "e/p/a:v0")
REGISTRY = RegistrySpec(model="stt")


def run(name: str, value: object, state: str = "finished", created: str = "1", **config: object) -> RunFacts:
    return RunFacts(name, state, config=config, summary={"eval/wer": value}, created_at=created)


@pytest.mark.parametrize(
    ("runs", "best"),
    [
        pytest.param([], None, id="none"),
        pytest.param([run("a", 0.3), run("b", 0.2)], "b", id="smallest"),
        pytest.param([run("a", 0.1, "crashed"), run("b", 0.2)], "b", id="a crashed run never wins"),
        pytest.param([run("a", 0.1, "running"), run("b", 0.2)], "b", id="a running one neither"),
        pytest.param([run("a", float("nan")), run("b", 0.2)], "b", id="nan"),
        pytest.param([run("a", "NaN"), run("b", 0.2)], "b", id="nan as W&B writes it"),
        pytest.param([run("a", float("-inf")), run("b", 0.2)], "b", id="infinity"),
        pytest.param([run("a", None), run("b", True)], None, id="no number"),
        pytest.param([run("b", 0.2, created="1"), run("a", 0.2, created="2")], "b", id="tie: the earlier"),
        pytest.param([run("b", 0.2), run("a", 0.2)], "a", id="tie at the same time: the smaller id"),
        pytest.param([run("a", {"min": 0.15}), run("b", 0.2)], "a", id="define_metric(summary=min)"),
    ],
)
def test_best(runs: list[RunFacts], best: str | None):
    found = results.best(runs, WER)
    assert (found.id if found else None) == best


def test_best_of_a_maximised_metric():
    found = results.best([run("a", 0.3), run("b", 0.2)], MetricSpec(name="eval/wer", goal="maximize"))
    assert found
    assert found.id == "a"


def test_counts_and_duplicates():
    runs = [
        run("a", 1, lr=1),
        run("b", 1, "failed", lr=1),
        run("c", 1, "crashed", lr=2),
        run("d", 1, "killed", lr=3),
        run("e", 1, "pending"),
        run("f", 1, "running", lr=2),
        run("g", 1, "preempted", lr=4),
    ]
    counts = results.count(runs, ["lr"])
    assert counts.model_dump() == {
        "total": 7, "running": 2, "succeeded": 1, "failed": 2, "stopped": 1, "preempted": 1, "duplicates": 2,
    }  # fmt: skip
    assert results.ended(counts) == 4


@pytest.mark.parametrize(
    ("value", "baseline", "goal", "gain"),
    [
        (0.2, 0.4, "minimize", 0.5),
        (0.5, 0.4, "minimize", -0.25),
        (0.6, 0.4, "maximize", 0.5),
        (0.2, 0.0, "minimize", None),
    ],
)
def test_relative_improvement(value: float, baseline: float, goal: str, gain: float | None):
    found = results.relative_improvement(value, baseline, goal)
    assert found == (gain if gain is None else pytest.approx(gain))


@pytest.mark.parametrize(
    ("gates", "evidence", "missed"),
    [
        pytest.param({}, GOOD, set(), id="good"),
        pytest.param({"min_improvement": "0.4"}, GOOD, {"minImprovement"}, id="too small a gain"),
        pytest.param({}, promotion.Evidence(0.0, 0.01, 0, 0), {"minImprovement"}, id="no gain at all"),
        pytest.param({}, promotion.Evidence(0.3, 0.06, 0, 0), {"significance"}, id="may be chance"),
        pytest.param({}, promotion.Evidence(None, None, 0, 0), {"minImprovement", "significance"}, id="not measured"),
        pytest.param({}, promotion.Evidence(0.3, 0.01, 1, 2), {"minRegressionPassRate"}, id="a suite got worse"),
        pytest.param(
            {"min_regression_pass_rate": "0.5"}, promotion.Evidence(0.3, 0.01, 1, 2), set(), id="half will do"
        ),
        pytest.param(
            {"max_error_type_degradation": "0.05"},
            promotion.Evidence(0.3, 0.01, 0, 0, 0.06),
            {"maxErrorTypeDegradation"},
            id="one error type got worse",
        ),
        pytest.param(
            {"max_error_type_degradation": "0.05"}, GOOD, {"maxErrorTypeDegradation"}, id="error types not measured"
        ),
    ],
)
def test_gates(gates: dict[str, str], evidence: promotion.Evidence, missed: set[str]):
    verdicts = promotion.evaluate(PromotionSpec(gates=GatesSpec(**gates)), evidence)
    assert {verdict.name for verdict in verdicts if not verdict.passed} == missed


def decide(spec: PromotionSpec, current: PromotionStatus | None = None, promoted: Promoted | None = None, **marks: str):
    return promotion.step(spec, current, CANDIDATE, GOOD, marks, promoted, NOW)


def test_an_automatic_promotion_asks_the_registry_first():
    spec = PromotionSpec(registry=REGISTRY)
    first = decide(spec)
    assert first.status.state == "Pending"
    assert first.action is not None
    done = decide(spec, first.status, Promoted("v3", "v2"))
    assert done.action is None
    assert (done.status.state, done.status.version, done.status.previous) == ("Promoted", "v3", "v2")
    assert decide(spec, done.status) == promotion.Step(done.status)


def test_without_a_registry_the_promotion_is_the_record():
    assert decide(PromotionSpec()).status.state == "Promoted"


def test_manual_approval_waits_and_names_the_approver():
    spec = PromotionSpec(approval="Manual")
    waiting = decide(spec)
    assert waiting.status.state == "AwaitingApproval"
    assert decide(spec, waiting.status).status == waiting.status
    approved = decide(spec, waiting.status, None, **{names.APPROVED_BY_ANNOTATION: "ada"})
    assert (approved.status.state, approved.status.approved_by) == ("Promoted", "ada")


def test_an_approval_holds_for_one_model():
    spec, ada = PromotionSpec(approval="Manual"), {names.APPROVED_BY_ANNOTATION: "ada"}
    first = decide(spec, None, None, **ada).status
    later = promotion.Candidate("a-later-run", None)
    waiting = promotion.step(spec, first, later, GOOD, ada, None, NOW).status
    assert waiting.state == "AwaitingApproval"
    assert "'ada'" in waiting.reason
    assert promotion.step(spec, waiting, later, GOOD, ada, None, NOW).status == waiting
    again = {names.APPROVED_BY_ANNOTATION: "ada for a-later-run"}
    assert promotion.step(spec, waiting, later, GOOD, again, None, NOW).status.state == "Promoted"


def test_rollback_is_done_once_per_request():
    spec = PromotionSpec(registry=REGISTRY)
    done = decide(spec, None, Promoted("v3", "v2")).status
    mark = {names.ROLLBACK_ANNOTATION: "ada 1"}
    asked = decide(spec, done, None, **mark)
    assert asked.action is not None
    assert asked.action.version == "v2"
    back = decide(spec, done, Promoted("v2", "v3"), **mark).status
    assert (back.state, back.version, back.previous) == ("RolledBack", "v2", "v3")
    assert decide(spec, back, None, **mark).action is None
    again = decide(spec, back, None, **{names.ROLLBACK_ANNOTATION: "ada 2"})
    assert again.action is not None
    assert again.action.version == "v3"


def test_history_is_bounded():
    spec, status = PromotionSpec(), None
    for number in range(30):
        status = promotion.step(spec, status, promotion.Candidate(f"run{number}", None), GOOD, {}, None, NOW).status
    assert status
    assert len(status.history) == 10


def pod_that_ended(name: str, code: int, second: int, said: FailureClass | None = None) -> PodFacts:
    body = {
        "metadata": {"name": name, "labels": {"job-name": "j"}},
        "status": {
            "phase": "Failed",
            "containerStatuses": [
                {
                    "name": "trainer",
                    "state": {
                        "terminated": {
                            "exitCode": code,
                            "finishedAt": f"2026-01-01T00:00:{second:02}Z",
                            "message": TrialResult(state="failed", failure_class=said, message=name).model_dump_json(
                                by_alias=True
                            ),
                        }
                    },
                }
            ],
        },
    }
    return PodFacts.from_object(body)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([(3, 1, None), (1, 2, None), (143, 3, None)], (FailureClass.OUT_OF_MEMORY, "pod-0")),
        ([(143, 3, None), (1, 2, None)], (FailureClass.ERROR, "pod-1")),
        ([(143, 1, None), (143, 2, None)], (FailureClass.PREEMPTED, "pod-1")),
        ([(1, 1, FailureClass.DIVERGED), (1, 2, FailureClass.ERROR)], (FailureClass.DIVERGED, "pod-0")),
    ],
)
def test_of_several_pods_that_trained_together_the_one_with_a_reason_of_its_own_tells(
    pods: list[tuple[int, int, FailureClass | None]], expected: tuple[FailureClass, str]
):
    ended = [pod_that_ended(f"pod-{i}", *pod) for i, pod in enumerate(pods)]
    job = JobFacts.from_object({"metadata": {"name": "j", "uid": "u"}})
    assert plan_finetune._verdict(job, ended) == expected
