"""What the operator does with each of its rights: one short story for each, which cannot come to its end without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.install.site import API, Site, holds, ready
from tests.install.support import Json

Right = tuple[str, str]
"""Verb and resource, such as (`patch`, `sweepruns/status`)."""
NOWHERE: Json = {"resources": {"gpus": 64}}
"""No node can take its pods, so that nothing runs."""
PAIR: Json = {"metadata": {"name": "x-t1-1"}, "spec": {"ports": [{"port": 1}]}}
IDLE: Json = {"containers": [{"name": "x", "image": "x"}], "restartPolicy": "Never"}


@dataclass(frozen=True)
class Story:
    """What a user does, and what comes of it where the operator has every right.

    Attributes:
        tell: Does it, in a namespace of its own.
        turn: The point from which on it goes on, where that takes two steps; then `then` is done.
        ended: Whether the end is reached.
    """

    tell: Callable[[Site], object]
    ended: Callable[[Site], object]
    turn: Callable[[Site], object] | None = None
    then: Callable[[Site], object] | None = None


def reason(site: Site, kind: str = "FinetuneJob") -> str:
    return str(ready(site.status(kind, "x")).get("reason", ""))


def foreign(plural: str, body: Json, group: str = "/api/v1") -> Callable[[Site], object]:
    """Somebody else's object has the name that a child should get: the operator looks whose it is, and says so."""

    def tell(site: Site) -> None:
        site.cluster.api("POST", f"{group}/namespaces/{site.namespace}/{plural}", body)
        site.create("FinetuneJob", "x", trainer={**NOWHERE, "nodes": 2})

    return tell


def no_quota(site: Site) -> None:
    """Why a Job has no pods is in its Events alone."""
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    site.cluster.api("POST", f"/api/v1/namespaces/{site.namespace}/resourcequotas", quota)
    site.create("FinetuneJob", "x")


def own_map(site: Site) -> None:
    """A ConfigMap of the sweep's own, out of date."""
    uid = site.get(site.path("SweepRun", "x"))["metadata"]["uid"]
    owner = {"apiVersion": API.removeprefix("/apis/"), "kind": "SweepRun", "name": "x", "uid": uid}
    body = {"metadata": {"name": "x-best", "ownerReferences": [owner]}, "data": {"stale": "yes"}}
    site.cluster.api("POST", f"/api/v1/namespaces/{site.namespace}/configmaps", body)
    site.patch("SweepRun", "x", suspend=False)


def best(site: Site) -> Json:
    found = site.cluster.find(f"/api/v1/namespaces/{site.namespace}/configmaps/x-best") or {}
    data: Json = found.get("data", {})
    return data


def told(site: Site) -> bool:
    return any(event["involvedObject"]["kind"] == "FinetuneJob" for event in site.items("/api/v1", "events"))


def job(site: Site, name: str) -> bool:
    return any(item["metadata"]["name"] == name for item in site.items("/apis/batch/v1", "jobs"))


TRAINING = Story(lambda s: s.create("FinetuneJob", "x"), lambda s: holds(s.status("FinetuneJob", "x"), "Complete"))
SEARCH = Story(
    lambda s: s.create("SweepRun", "x", trials=1), lambda s: holds(s.status("SweepRun", "x"), "Complete") and best(s)
)
BLOCKED = Story(lambda s: s.create("FinetuneJob", "x", trainer=NOWHERE), lambda s: reason(s) == "Unschedulable")
SUSPENDED = Story(
    BLOCKED.tell,
    lambda s: holds(s.status("FinetuneJob", "x"), "Suspended"),
    BLOCKED.ended,
    lambda s: s.patch("FinetuneJob", "x", suspend=True),
)
CHANGED = Story(
    BLOCKED.tell,
    lambda s: job(s, "x-t2-1") and not job(s, "x-t1-1"),
    BLOCKED.ended,
    lambda s: s.patch("FinetuneJob", "x", hyperparameters={"learning_rate": 1e-4}),
)
REWRITTEN = Story(
    lambda s: s.create("SweepRun", "x", trials=1, suspend=True),
    lambda s: best(s) and "stale" not in best(s),
    lambda s: holds(s.status("SweepRun", "x"), "Suspended"),
    own_map,
)
RENDEZVOUS = Story(lambda s: s.create("FinetuneJob", "x", trainer={**NOWHERE, "nodes": 2}), lambda s: job(s, "x-t1-1"))
TAKEN = {
    "services": Story(foreign("services", PAIR), lambda s: reason(s) == "NameTaken"),
    "jobs": Story(
        foreign(
            "jobs",
            {"metadata": {"name": "x-t1-1"}, "spec": {"suspend": True, "template": {"spec": IDLE}}},
            "/apis/batch/v1",
        ),
        lambda s: reason(s) == "NameTaken",
    ),
}
SQUEEZED = Story(no_quota, lambda s: reason(s) == "QuotaExceeded")
HEARD = Story(BLOCKED.tell, told)

STORIES: dict[Right, Story] = {
    ("list", "finetunejobs"): BLOCKED,
    ("watch", "finetunejobs"): SUSPENDED,
    ("patch", "finetunejobs/status"): BLOCKED,
    ("list", "sweepruns"): SEARCH,
    ("watch", "sweepruns"): REWRITTEN,
    ("patch", "sweepruns"): SEARCH,
    ("patch", "sweepruns/status"): SEARCH,
    ("list", "jobs"): BLOCKED,
    ("create", "jobs"): BLOCKED,
    ("get", "jobs"): TAKEN["jobs"],
    ("watch", "jobs"): TRAINING,
    ("patch", "jobs"): SUSPENDED,
    ("delete", "jobs"): CHANGED,
    ("list", "pods"): BLOCKED,
    ("watch", "pods"): BLOCKED,
    ("create", "configmaps"): SEARCH,
    ("get", "configmaps"): REWRITTEN,
    ("patch", "configmaps"): REWRITTEN,
    ("create", "services"): RENDEZVOUS,
    ("get", "services"): TAKEN["services"],
    ("list", "events"): SQUEEZED,
    ("create", "events"): HEARD,
    ("get", "secrets"): BLOCKED,
}
"""Right -> what shows that it is needed. A new verb of the chart wants an entry here."""
