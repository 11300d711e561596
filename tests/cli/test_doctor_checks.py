"""The doctor's checks alone: facts in, findings out."""

from __future__ import annotations

import base64

import pytest
from finetune_cli.doctor import checks
from finetune_cli.doctor.facts import RIGHTS, Facts, ProbeAnswer, TrackerAnswer, Unknown

from tests.cli.support import KEY, ended, job, resource, running, sweep


def verdicts(facts: Facts) -> dict[str, tuple[str, str]]:
    return {f.check: (f.level, f.message) for f in checks.judge(facts)}


def test_rights_that_are_lacking_are_named():
    assert "create sweepruns (to submit sweeps)" in verdicts(Facts("team", missing_rights=RIGHTS[:1]))["rights"][1]


def test_what_may_not_be_read_is_no_fault():
    hidden = Unknown("forbidden")
    facts = Facts(
        "team",
        hidden,
        hidden,
        {},
        hidden,
        hidden,
        resource(sweep()),
        5.0,
        hidden,
        hidden,
        hidden,
        hidden,
        hidden,
        {},
        hidden,
    )
    assert {level for level, _ in verdicts(facts).values()} == {"unknown"}


def test_a_silent_operator_is_a_fault_after_a_while():
    silent = resource(sweep())
    assert verdicts(Facts("team", resource=silent, submitted=5))["operator"][0] == "unknown"
    level, message = verdicts(Facts("team", resource=silent, submitted=90))["operator"]
    assert level == "fault"
    assert "for 90 s" in message


def test_a_service_address_is_not_judged_from_outside():
    answer = TrackerAnswer("http://tracker.finetune.svc:8080", "unreachable", "no such host")
    assert verdicts(Facts("team", tracker=answer))["tracker"][0] == "unknown"
    assert verdicts(Facts("team", tracker=answer, resource=resource(sweep())))["tracker"][0] == "unknown"
    seen = resource(sweep(), running("TrackerUnreachable", "no route"))
    assert verdicts(Facts("team", tracker=answer, resource=seen))["tracker"][0] == "fault"


@pytest.mark.parametrize(
    ("key", "problem"),
    [(KEY, None), ("short", "at least 40"), (KEY + "\n", "white space"), (" " + KEY, "white space")],
)
def test_keys(key, problem):
    found = checks.key_problem(base64.b64encode(key.encode()).decode())
    assert (found is None) if problem is None else (problem in (found or ""))
    assert checks.key_problem("%%%") == "it is not text"


def test_the_datasets_state():
    done = resource(
        job(),
        ended(complete=False, reason="BadData", message="no rows", failure={"class": "BadData", "message": "no rows"}),
    )
    assert verdicts(Facts("team", resource=done))["dataset"] == ("fault", "no rows")
    assert verdicts(Facts("team", resource=done, dataset=ProbeAnswer(True, "12 rows")))["dataset"] == ("ok", "12 rows")


@pytest.mark.parametrize(
    ("served", "level"), [([], "ok"), (["team"], "ok"), (["other"], "fault"), (["other", "team"], "ok")]
)
def test_an_operator_that_serves_other_namespaces_is_a_fault(served, level):
    arguments = ["run", *(f"--namespace={name}" for name in served)]
    deployment = {
        "metadata": {"namespace": "system", "name": "operator"},
        "spec": {"template": {"spec": {"containers": [{"args": arguments}]}}},
        "status": {"availableReplicas": 1},
    }
    found = [f for f in checks.judge(Facts("team", operators=[deployment])) if f.check == "operator"]
    assert [f.level for f in found] == [level]
    assert level == "ok" or "serves other, not team" in found[0].message


@pytest.mark.parametrize(
    ("data", "first"), [({"token": "eA=="}, "set spec.wandb.apiKeySecretRef.key"), ({}, "kubectl -n team delete")]
)
def test_a_secret_without_the_key(data, first):
    facts = Facts("team", secret={"data": data}, resource=resource(sweep()))
    (found,) = [f for f in checks.judge(facts) if f.check == "secret"]
    assert found.fix.startswith(first)
    assert "create secret generic wandb --from-literal=api-key=" in found.fix
