"""What is shown and decided, without any cluster."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from finetune_cli import decisions, documents, figures, statusview
from finetune_cli.commands import best
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.progress import Progress
from finetune_cli.reasons import REASONS
from finetune_cli.resources import split
from finetune_cli.scaffold import Answers, render
from finetune_cli.significance import paired_bootstrap
from finetune_cli.tracker import CLOUD, Run, address
from finetune_operator.api import FinetuneJobSpec, SweepRunSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.support import BEST, METRICS, TRIALS, ended, job, promotion, resource, running, sweep

AT = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (61, "1m1s"), (3600, "1h"), (3661, "1h1m"), (90061, "1d1h"), (-5, "0s")],
)
def test_durations_have_at_most_two_units(seconds, text):
    assert figures.duration(timedelta(seconds=seconds)) == text


def test_the_time_left_follows_the_pace_so_far():
    assert figures.eta(AT, AT + timedelta(minutes=30), 3, 12) == timedelta(minutes=90)
    assert figures.eta(AT, AT, 0, 12) is None
    assert figures.eta(None, AT, 3, 12) is None


def test_a_running_sweep_shows_trials_time_best_and_cost():
    status = running(trials=TRIALS, bestRun=BEST, usage={"gpuHours": "1.5"}, activeAgents=2)
    text = statusview.text(resource(sweep(budget={"gpuHours": "40"}), status), AT)
    assert "Running" in text
    assert "4 of 8 ended: 2 running, 3 succeeded, 1 failed" in text
    assert "30m, about 30m to go" in text
    assert "eval/wer 0.12 (baseline 0.3, 60.0% better)" in text
    assert "1.50 of 40" in text
    assert "learning_rate=3.2e-05" in text


def test_a_resource_that_nobody_looked_at_says_so():
    text = statusview.text(resource(sweep()), AT)
    assert "Waiting for the operator" in text
    assert "finetune doctor" in text


def test_a_status_of_an_earlier_spec_is_no_outcome():
    status = ended()
    status["observedGeneration"] = 0
    assert resource(sweep(), status).outcome is None
    assert resource(sweep(), ended()).outcome is True
    assert resource(sweep(), ended(complete=False, reason="BadData")).outcome is False


def test_a_job_shows_scores_gates_and_failure():
    shown = statusview.text(resource(job(promotion={}), ended(metrics=METRICS, promotion=promotion("Rejected"))), AT)
    assert "14.0% (baseline 32.0%, 56.2% better, p = 0.001)" in shown
    assert "MISSED  minImprovement: 0.56, bound 0.05" in shown
    failure = {"class": "BadData", "message": "no rows"}
    assert "BadData: no rows" in statusview.text(resource(job(), running(failure=failure)), AT)


def test_a_training_tells_how_far_it_is():
    summary = {"train/progress": 0.25, "_runtime": 60.0, "_timestamp": (AT - timedelta(seconds=10)).timestamp()}
    progress = Progress.of(Run("r", "r", "running", {}, summary, ""))
    assert progress.left(AT) == timedelta(seconds=170)
    assert progress.left(AT + timedelta(days=1)) == timedelta()
    text = statusview.text(resource(job(), running()), AT, progress)
    assert "about 2m50s of training to go" in text
    assert "Trained  25%" in text


@pytest.mark.parametrize("summary", [{}, {"train/progress": 0.0, "_runtime": 1, "_timestamp": 1}, {"_runtime": 1}])
def test_before_its_first_step_nobody_knows(summary):
    assert Progress.of(Run("r", "r", "running", {}, summary, "")) is None


def test_best_without_a_result_names_the_reason():
    with pytest.raises(CliError, match="SecretMissing") as error:
        best.document(resource(sweep(), running("SecretMissing", "no Secret")))
    assert error.value.exit_code == ExitCode.NOT_FOUND


@pytest.mark.parametrize(
    ("reference", "found"),
    [("errors", (None, "errors")), ("swr/errors", ("SweepRun", "errors")), ("FinetuneJob/a", ("FinetuneJob", "a"))],
)
def test_references(reference, found):
    assert split(reference) == found


@pytest.mark.parametrize("reference", ["pod/a", "swr/"])
def test_references_to_nothing_of_ours(reference):
    with pytest.raises(CliError, match="names no kind"):
        split(reference)


WAITS = resource(job(promotion={"approval": "Manual"}), ended(promotion=promotion("AwaitingApproval")))
IN_SERVICE = resource(job(promotion={}), ended(promotion=promotion("Promoted", version="v2", previous="v1")))
FIRST = resource(job(promotion={}), ended(promotion=promotion("Promoted", version="v1")))
REJECTED = resource(job(promotion={}), ended(promotion=promotion("Rejected")))
PLAIN = resource(job(), ended(metrics=METRICS))


def test_approval_goes_to_what_awaits_it():
    assert decisions.approve(WAITS, "kim") == {"metadata": {"annotations": {"finetune.dev/approved-by": "kim"}}}
    for other in (IN_SERVICE, REJECTED, PLAIN):
        with pytest.raises(CliError, match="awaits no approval"):
            decisions.approve(other, "kim")


def test_an_approver_who_has_approved_before_is_named_with_the_run():
    before = [{"artifact": "a:v1", "version": "v1", "at": "2026-11-01T10:00:00Z", "by": "kim", "action": "Promoted"}]
    waits = promotion("AwaitingApproval", run="abc", history=before)
    later = resource(job(promotion={"approval": "Manual"}), ended(promotion=waits))
    assert decisions.approve(later, "kim") == {"metadata": {"annotations": {"finetune.dev/approved-by": "kim for abc"}}}
    assert decisions.approve(later, "lee") == {"metadata": {"annotations": {"finetune.dev/approved-by": "lee"}}}


def test_rollback_needs_something_to_return_to():
    wish = {"metadata": {"annotations": {"finetune.dev/rollback": "kim 2026-11-01T10:30:00Z"}}}
    assert decisions.rollback(IN_SERVICE, "kim", AT) == wish
    with pytest.raises(CliError, match="no earlier version"):
        decisions.rollback(FIRST, "kim", AT)
    with pytest.raises(CliError, match="nothing in service"):
        decisions.rollback(REJECTED, "kim", AT)


def test_promote():
    assert decisions.promote(IN_SERVICE, None, (), "kim", {}) is None
    assert decisions.promote(WAITS, None, (), "kim", {}) == {
        "metadata": {"annotations": {"finetune.dev/approved-by": "kim"}}
    }
    asked = decisions.promote(PLAIN, "stt", ("production",), "kim", {})
    assert asked == {"spec": {"promotion": {"registry": {"model": "stt", "aliases": ["production"]}}}}
    assert decisions.promote(REJECTED, None, (), "kim", {"minImprovement": "0.01"}) == {
        "spec": {"promotion": {"gates": {"minImprovement": "0.01"}}}
    }
    for refused, why in (
        (REJECTED, "was rejected"),
        (PLAIN, "asks for no promotion"),
        (resource(job(), running()), "not complete"),
    ):
        with pytest.raises(CliError, match=why) as error:
            decisions.promote(refused, None, (), "kim", {})
        assert error.value.exit_code == ExitCode.REFUSED
    with pytest.raises(CliError, match="--alias needs --model"):
        decisions.promote(PLAIN, None, ("production",), "kim", {})


def test_a_wish_is_settled_by_a_new_answer_only():
    assert not decisions.settled(WAITS, WAITS.parsed.status.promotion)
    assert decisions.settled(IN_SERVICE, WAITS.parsed.status.promotion)
    assert not decisions.settled(resource(job(), ended(promotion=promotion("Pending"))), None)


def test_numbers_are_read_as_kubectl_reads_them():
    (document,) = documents.load("a: 1e-5\nb: -2.5E+3\nc: 1e-5x\nd: '1e-5'", "test")
    assert document == {"a": 1e-5, "b": -2500.0, "c": "1e-5x", "d": "1e-5"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"trials": 0}}, "spec.trials: input should be greater than or equal to 1"),
        ({"spec": {"trails": 5}}, "spec.trails: there is no such field, did you mean trials?"),
        ({"spec": {"parameters": {"lerning_rate": {"value": 1}}}}, "spec.parameters.lerning_rate"),
        ({"spec": {"trainer": {"dataset": {}}}}, "trainer.dataset.uri: field required"),
        ({"kind": "Sweep"}, "not a kind of this project"),
        ({"metadata": {"name": "Errors"}}, "metadata.name: 'Errors' is not a name"),
    ],
)
def test_a_wrong_document_names_its_field(change, message):
    body = sweep()
    for key, value in change.items():
        body[key] = body[key] | value if isinstance(value, dict) else value
    with pytest.raises(CliError, match=message) as error:
        documents.check("a.yaml", body)
    assert error.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("text", ["a: [", "- 1", "just text"])
def test_a_file_that_is_no_document_says_so(text):
    with pytest.raises(CliError, match=r"a\.yaml"):
        documents.load(text, "a.yaml")


names = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
free = st.text(min_size=1, max_size=40).filter(str.strip)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["SweepRun", "FinetuneJob"]), names, free, free, st.none() | names, st.integers(0, 8))
def test_whatever_is_answered_init_writes_a_valid_document(kind, name, model, dataset, sweep_name, gpus):
    text = render(
        Answers(kind, name, model, dataset, gpus=gpus, sweep=sweep_name, suite=dataset, base_url="http://t.test:8")
    )
    (document,) = documents.load(text, "new")
    documents.check("new", document)
    assert document["spec"]["trainer"]["model"]["name"] == model
    assert document["spec"]["trainer"]["dataset"]["uri"] == dataset
    (SweepRunSpec if kind == "SweepRun" else FinetuneJobSpec).model_validate(yaml.safe_load(text)["spec"])


def test_the_bootstrap_sees_a_difference_and_does_not_invent_one():
    words = [10] * 60
    source = random.Random(1)
    a = [source.choice([2, 3, 4]) for _ in words]
    better = paired_bootstrap(a, [x - 1 for x in a], words)
    assert better.p_value < 0.01
    assert better.low == pytest.approx(0.1)
    assert better.a - better.b == pytest.approx(0.1)
    same = paired_bootstrap(a, a, words)
    assert same.p_value == 1.0  # never better than itself
    shuffled = paired_bootstrap(a, source.sample(a, len(a)), words)
    assert 0.02 < shuffled.p_value < 0.98


def test_the_bootstrap_refuses_what_is_no_pair():
    with pytest.raises(ValueError, match="same utterances"):
        paired_bootstrap([1], [1, 2], [3])


@pytest.mark.parametrize(
    ("url", "spec", "linked", "environment", "expected"),
    [
        (None, None, None, {}, (CLOUD, "stt-finetuning", None)),
        ("http://here:1/", "http://svc:2", "http://svc:2/team/p/sweeps/s", {}, ("http://here:1", "p", "team")),
        (None, "http://svc:2", None, {"WANDB_BASE_URL": "http://other"}, ("http://svc:2", "stt-finetuning", None)),
        (None, None, "https://wandb.ai/team/p/sweeps/s", {}, (CLOUD, "p", "team")),
        (None, None, "http://t:9/team/p/sweeps/s", {}, ("http://t:9", "p", "team")),
        (
            None,
            None,
            None,
            {"WANDB_BASE_URL": "http://env", "WANDB_ENTITY": "me"},
            ("http://env", "stt-finetuning", "me"),
        ),
    ],
)
def test_the_tracker_is_found(url, spec, linked, environment, expected):
    body = sweep(wandb={"baseURL": spec}) if spec else sweep()
    status = running(sweep={"id": "s", "url": linked, "stage": 0}) if linked else None
    found = address(resource(body, status), url, environment)
    assert (found.base_url, found.project, found.entity) == expected


def test_every_reason_to_wait_or_fail_has_a_fix():
    assert [name for name, reason in REASONS.items() if reason.kind in ("waits", "failed") and not reason.fix] == []
