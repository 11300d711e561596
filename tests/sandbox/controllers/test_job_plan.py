"""The Job controller's decisions, as tables over a Job and its pods, and what must hold whatever pods do."""

import copy
import itertools

import pytest
from finetune_sandbox.controllers.job_backoff import NO_FAILURES, Backoff
from finetune_sandbox.controllers.job_plan import is_finished, plan
from finetune_sandbox.controllers.job_rules import FAILURE_COUNT, FINALIZER, INDEX, format_indexes, judge, parse_indexes
from finetune_sandbox.objects import condition, text_time
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1_800_000_000.0


def a_job(status=None, **spec):
    spec = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "template": {"spec": {"restartPolicy": "Never"}},
        **spec,
    }
    spec = {name: value for name, value in spec.items() if value is not None}
    return {
        "metadata": {"name": "j", "namespace": "n", "uid": "u", "generation": 1},
        "spec": spec,
        "status": status or {},
    }


_uids = itertools.count()


def a_pod(
    phase="Running",
    *,
    index=None,
    tracked=True,
    deleting=False,
    ready=False,
    code=None,
    age=100.0,
    failures=None,
    conditions=(),
):
    annotations = (
        {} if index is None else {INDEX: str(index), **({FAILURE_COUNT: str(failures)} if failures is not None else {})}
    )
    meta = {
        "name": f"j-{next(_uids)}",
        "namespace": "n",
        "uid": f"p{next(_uids)}",
        "annotations": annotations,
        "finalizers": [FINALIZER],
        "creationTimestamp": text_time(NOW - age),
    }
    if deleting:
        meta |= {"deletionTimestamp": text_time(NOW), "deletionGracePeriodSeconds": 30}
    status = {"phase": phase, "conditions": [*conditions]}
    if ready:
        status["conditions"].append({"type": "Ready", "status": "True", "lastTransitionTime": text_time(NOW - age)})
    if code is not None:
        ended = {"exitCode": code, "finishedAt": text_time(NOW - age)}
        status["containerStatuses"] = [{"name": "main", "restartCount": 0, "state": {"terminated": ended}}]
    return {"metadata": meta, "spec": {"nodeName": "a"}, "status": status}


def conditions(decided):
    return [(c["type"], c["status"], c["reason"]) for c in decided.status.get("conditions", [])]


def test_a_new_job_gets_its_pods_and_a_start_time():
    decided = plan(a_job(parallelism=3, completions=5), [], NOW)
    assert len(decided.create) == 3
    assert decided.status == {
        "startTime": text_time(NOW),
        "active": 3,
        "ready": 0,
        "terminating": 0,
        "uncountedTerminatedPods": {},
    }


@pytest.mark.parametrize(
    ("spec", "pods", "creates", "deletes"),
    [
        ({"parallelism": 2, "completions": 4}, ["Running", "Running"], 0, 0),
        ({"parallelism": 2, "completions": 4}, ["Running", "Succeeded"], 1, 0),
        ({"parallelism": 4, "completions": 4}, ["Running", "Succeeded", "Succeeded"], 1, 0),
        ({"parallelism": 1, "completions": 4}, ["Running", "Running", "Pending"], 0, 2),
        ({"parallelism": 0, "completions": 4}, ["Running"], 0, 1),
        ({"parallelism": 3, "completions": None}, ["Running"], 2, 0),
        ({"parallelism": 3, "completions": None}, ["Running", "Succeeded"], 0, 0),
        ({"suspend": True, "parallelism": 2, "completions": 2}, ["Running", "Running"], 0, 2),
    ],
)
def test_how_many_pods_run(spec, pods, creates, deletes):
    decided = plan(a_job(**spec), [a_pod(phase) for phase in pods], NOW)
    assert (len(decided.create), len(decided.delete)) == (creates, deletes)
    assert not deletes or decided.untrack, "pods that are not needed are not counted"


def test_the_least_useful_pods_go_first():
    young, old, pending = a_pod(age=5), a_pod(age=50), a_pod("Pending", age=60)
    assert plan(a_job(parallelism=1, completions=9), [young, pending, old], NOW).delete == [pending, young]


def test_indexes_are_filled_lowest_first():
    pods = [a_pod("Succeeded", index=0), a_pod(index=2)]
    decided = plan(a_job(completionMode="Indexed", parallelism=3, completions=5), pods, NOW)
    assert [new.completion_index for new in decided.create] == [1, 3]
    assert (decided.status["completedIndexes"], decided.status["succeeded"]) == ("0", 1)


@pytest.mark.parametrize(("failures", "delay"), [(1, 10), (2, 20), (3, 40), (9, 600)])
def test_failures_in_a_row_delay_the_next_pod(failures, delay):
    backoff = Backoff(failures - 1, NOW - 1000)
    decided = plan(a_job(backoffLimit=99), [a_pod("Failed", code=1, age=1)], NOW, backoff)
    assert (decided.create, decided.again_in) == ([], pytest.approx(delay - 1))
    assert decided.backoff == Backoff(failures, NOW - 1)


def test_a_success_ends_the_series_of_failures():
    pods = [a_pod("Succeeded", code=0, age=1)]
    decided = plan(a_job(completions=2, backoffLimit=99), pods, NOW, Backoff(5, NOW - 2))
    assert (len(decided.create), decided.backoff) == (1, NO_FAILURES)


def test_counting_takes_two_passes_so_that_a_crash_loses_nothing():
    pod = a_pod("Failed", code=1, age=50)
    first = plan(a_job(), [pod], NOW)
    assert first.status["uncountedTerminatedPods"] == {"failed": [pod["metadata"]["uid"]]}
    assert "failed" not in first.status
    assert first.release == [pod]
    again = plan(a_job(first.status), [pod], NOW)
    assert again.status["uncountedTerminatedPods"] == first.status["uncountedTerminatedPods"], "not counted twice"
    pod["metadata"]["finalizers"] = []
    second = plan(a_job(first.status), [pod], NOW)
    assert (second.status["failed"], second.status["uncountedTerminatedPods"]) == (1, {})


def exits(action, operator, value, container=None):
    wanted = {"operator": operator, "values": [value], **({"containerName": container} if container else {})}
    return {"action": action, "onExitCodes": wanted}


@pytest.mark.parametrize(
    ("rule", "pod", "action", "counts"),
    [
        (
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
            a_pod("Failed", code=42),
            "FailJob",
            True,
        ),
        (exits("FailJob", "In", 42), a_pod("Failed", code=1), None, True),
        (
            {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}},
            a_pod("Failed", code=2),
            "Ignore",
            False,
        ),
        (
            {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}},
            a_pod("Succeeded", code=0),
            None,
            True,
        ),
        (exits("Count", "In", 1, container="side"), a_pod("Failed", code=1), None, True),
        (
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            a_pod("Failed", code=137, conditions=[{"type": "DisruptionTarget", "status": "True"}]),
            "Ignore",
            False,
        ),
        (
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            a_pod("Failed", code=137, conditions=[{"type": "DisruptionTarget", "status": "False"}]),
            None,
            True,
        ),
    ],
)
def test_failure_policy(rule, pod, action, counts):
    verdict = judge(a_job(podFailurePolicy={"rules": [rule]}), pod)
    assert (verdict.action, verdict.counts) == (action, counts)


def test_with_a_failure_policy_a_terminating_pod_is_replaced_only_when_it_has_stopped():
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}
    terminating = a_pod(deleting=True)
    assert plan(a_job(podFailurePolicy=policy), [terminating], NOW).create == []
    assert plan(a_job(podReplacementPolicy="Failed"), [terminating], NOW).create == []
    after = plan(a_job(podReplacementPolicy="TerminatingOrFailed"), [terminating], NOW + 60)
    assert len(after.create) == 1


def test_an_index_carries_its_failures_to_its_next_pod():
    spec = {
        "completionMode": "Indexed",
        "parallelism": 2,
        "completions": 2,
        "backoffLimitPerIndex": 2,
        "backoffLimit": None,
    }
    failed = a_pod("Failed", index=1, code=1, age=50, failures=1)
    decided = plan(a_job(**spec), [a_pod(index=0), failed], NOW)
    assert [(new.completion_index, new.annotations[FAILURE_COUNT]) for new in decided.create] == [(1, "2")]
    assert failed not in decided.release, "it keeps its finalizer until it is replaced"
    replaced = plan(a_job(**spec), [a_pod(index=0), failed, a_pod(index=1, failures=2)], NOW)
    assert failed in replaced.release


def test_success_policy_stops_the_rest_without_counting_it_as_failed():
    spec = {"completionMode": "Indexed", "parallelism": 3, "completions": 3}
    policy = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    leader, worker = a_pod("Succeeded", index=0, code=0), a_pod(index=1, ready=True)
    decided = plan(a_job(**spec, successPolicy=policy), [leader, worker], NOW)
    assert conditions(decided) == [("SuccessCriteriaMet", "True", "SuccessPolicy")]
    assert decided.delete == [worker]
    assert decided.status["uncountedTerminatedPods"] == {}


def test_a_failed_job_waits_for_its_pods_to_stop():
    failing = a_job(backoffLimit=0, parallelism=2, completions=2)
    bad, other = a_pod("Failed", code=1), a_pod(ready=True)
    first = plan(failing, [bad, other], NOW)
    assert (first.delete, conditions(first)) == ([other], [("FailureTarget", "True", "BackoffLimitExceeded")])
    stopping = copy.deepcopy(other)
    stopping["metadata"] |= {"deletionTimestamp": text_time(NOW), "finalizers": []}
    bad["metadata"]["finalizers"] = []
    second = plan({**failing, "status": first.status}, [bad, stopping], NOW)
    assert [kind for kind, *_ in conditions(second)] == ["FailureTarget"]
    assert second.status["terminating"] == 1
    third = plan({**failing, "status": second.status}, [bad], NOW)
    assert [kind for kind, *_ in conditions(third)] == ["FailureTarget", "Failed"]
    assert third.status["failed"] == 2
    assert [event.reason for event in third.announce] == ["BackoffLimitExceeded"]


def test_a_deleted_job_lets_its_pods_go_and_makes_none():
    job = a_job(parallelism=2, completions=2)
    job["metadata"]["deletionTimestamp"] = text_time(NOW)
    pod = a_pod(deleting=True)
    decided = plan(job, [pod], NOW)
    assert (decided.create, decided.delete, decided.release) == ([], [], [pod])


@pytest.mark.parametrize(("indexes", "text"), [([], ""), ([1, 3, 4, 5, 7], "1,3-5,7"), ([0, 1], "0,1"), ([2], "2")])
def test_indexes_as_text(indexes, text):
    assert format_indexes(indexes) == text
    assert parse_indexes(text) == set(indexes)


@given(st.sets(st.integers(0, 50)))
def test_indexes_survive_their_text(indexes):
    assert parse_indexes(format_indexes(indexes)) == indexes


class World:
    """Carries plans out, while pods run, succeed, fail and vanish as they like."""

    def __init__(self, **spec):
        self.job, self.pods, self.now, self.backoff = a_job(**spec), [], NOW, NO_FAILURES

    def step(self):
        decided = plan(self.job, self.pods, self.now, self.backoff)
        self.job["status"], self.backoff = decided.status, decided.backoff
        for pod in decided.delete:
            pod["metadata"] |= {"deletionTimestamp": text_time(self.now), "deletionGracePeriodSeconds": 0}
            if decided.untrack:
                pod["metadata"]["finalizers"] = []
        for pod in decided.release:
            pod["metadata"]["finalizers"] = []
        for new in decided.create:
            pod = a_pod("Pending", index=new.completion_index)
            pod["metadata"]["annotations"].update(new.annotations)
            self.pods.append(pod)
        return decided

    def settle(self):
        for _ in range(20):
            before = copy.deepcopy((self.job["status"], self.pods))
            self.step()
            self.pods = [
                p for p in self.pods if not ("deletionTimestamp" in p["metadata"] and not p["metadata"]["finalizers"])
            ]
            if (self.job["status"], self.pods) == before:
                return
        raise AssertionError("plans go on for ever")

    def end(self, choice, code):
        running = [pod for pod in self.pods if pod["status"]["phase"] in ("Pending", "Running")]
        if running:
            pod = running[choice % len(running)]
            pod["status"]["phase"] = "Failed" if code else "Succeeded"
            ended = {"exitCode": code, "finishedAt": text_time(self.now)}
            pod["status"]["containerStatuses"] = [{"name": "main", "restartCount": 0, "state": {"terminated": ended}}]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 3),
    st.sampled_from(["NonIndexed", "Indexed"]),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 0, 1])), max_size=25),
)
def test_whatever_pods_do_the_job_keeps_its_promises(parallelism, completions, limit, mode, ends):
    world = World(parallelism=parallelism, completions=completions, backoffLimit=limit, completionMode=mode)
    failed = succeeded = 0
    for choice, code in ends:
        world.settle()
        status = world.job["status"]
        assert status.get("active", 0) <= parallelism
        assert status.get("succeeded", 0) <= completions
        if is_finished(world.job):
            break
        before = sum(pod["status"]["phase"] in ("Failed", "Succeeded") for pod in world.pods)
        world.end(choice, code)
        if sum(pod["status"]["phase"] in ("Failed", "Succeeded") for pod in world.pods) > before:
            failed, succeeded = failed + (code != 0), succeeded + (code == 0)
        world.now += 1000
    world.settle()
    status = world.job["status"]
    assert status.get("uncountedTerminatedPods") in ({}, None)
    assert status.get("succeeded", 0) == succeeded
    assert status.get("failed", 0) >= failed
    if condition(world.job, "Complete"):
        assert succeeded == completions
    if condition(world.job, "Failed"):
        assert failed > limit
    if is_finished(world.job):
        assert not any(pod["status"]["phase"] in ("Pending", "Running") for pod in world.pods)
        assert not any(pod["metadata"]["finalizers"] for pod in world.pods)
