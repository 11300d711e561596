"""Counts what went wrong, from the API, the tracker's database and the logs alone. Shares no code with the operator."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.chaos.stage import Stage

ENDED = ("finished", "failed", "crashed", "killed")


class JobLog:
    """Every Job that ever was, noted while it goes on: a Job made twice is seen even after the first is gone."""

    def __init__(self) -> None:
        self.uids: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.together: Counter[str] = Counter()

    def note(self, jobs: list[dict[str, Any]]) -> None:
        running: Counter[str] = Counter()
        for job in jobs:
            metadata = job["metadata"]
            owner = metadata["labels"]["finetune.dev/uid"]
            self.uids[(owner, metadata["name"])].add(metadata["uid"])
            ended = any(
                c["type"] in ("Complete", "Failed") and c["status"] == "True"
                for c in job.get("status", {}).get("conditions", ())
            )
            if not ended and "deletionTimestamp" not in metadata:
                running[owner] += 1
        self.together |= running

    def duplicates(self) -> int:
        """Jobs that were made a second time, and Jobs that ran beside another one of the same resource."""
        again = sum(len(uids) - 1 for uids in self.uids.values())
        return again + sum(number - 1 for number in self.together.values() if number > 1)


def condition(body: dict[str, Any], kind: str) -> bool:
    found = [c for c in body.get("status", {}).get("conditions", ()) if c["type"] == kind]
    return bool(found) and found[0]["status"] == "True"


def reason(body: dict[str, Any]) -> str:
    return next((c["reason"] for c in body.get("status", {}).get("conditions", ()) if c["type"] == "Ready"), "")


def finished(body: dict[str, Any]) -> bool:
    """Whether a resource has reached an end, right or wrong."""
    return any(condition(body, kind) for kind in ("Complete", "Failed", "Stalled"))


def runs_by_sweep(database: Path) -> tuple[dict[str, list[str]], dict[str, str], Counter[str]]:
    """Run states by sweep, sweep name by description, and how many runs bear each name without a sweep."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        sweeps = dict(connection.execute("SELECT id, name FROM sweeps"))
        descriptions = list(connection.execute("SELECT name, description FROM sweeps"))
        states: dict[str, list[str]] = defaultdict(list)
        plain: Counter[str] = Counter()
        for sweep, name, state in connection.execute("SELECT sweep_id, name, state FROM runs"):
            if sweep is None:
                plain[name] += 1
            else:
                states[sweeps[sweep]].append(state)
    return states, {name: text or "" for name, text in descriptions}, plain


def of_stages(body: dict[str, Any], states: dict[str, list[str]]) -> list[str]:
    """States of all runs in the sweeps of a search's stages."""
    sweeps = [stage.get("sweep", "") for stage in body["status"].get("stages", ())]
    return [state for sweep in sweeps for state in states.get(sweep, [])]


def wrong_ends(sweep_runs: list[dict[str, Any]], jobs: list[dict[str, Any]], states: dict[str, list[str]]) -> list[str]:
    """Resources that did not end as the script of their trainer says they must."""
    wrong = []
    for body in [*sweep_runs, *jobs]:
        name, wanted = body["metadata"]["name"], body["metadata"]["labels"]["expect"]
        if wanted == "Complete" and body["kind"] == "SweepRun" and "finished" not in of_stages(body, states):
            wanted = "NoFinishedTrial"
        right = {
            "Complete": condition(body, "Complete") and condition(body, "Ready") and not condition(body, "Failed"),
            "BadConfig": condition(body, "Failed") and reason(body) == "BadConfig",
            "InvalidSpec": condition(body, "Stalled") and reason(body) == "InvalidSpec",
            "NoFinishedTrial": condition(body, "Failed"),
        }[wanted]
        if not right or condition(body, "Reconciling"):
            wrong.append(f"{body['kind']}/{name}: wanted {wanted}, is {reason(body)}")
    return wrong


def secrets_in(stage: Stage) -> list[str]:
    """Places where the API key can be read, plain or in base64: logs of operator and pods, every object but Secrets."""
    key = stage.tracker.api_key
    needles = [key, base64.b64encode(key.encode()).decode(), base64.b64encode(f"api:{key}".encode()).decode()]
    places = {"operator.log": (stage.folder / "operator.log").read_text(errors="replace")}
    for path in (
        "/api/v1/pods",
        "/api/v1/configmaps",
        "/api/v1/events",
        "/apis/batch/v1/jobs",
        "/apis/finetune.dev/v1alpha1/sweepruns",
        "/apis/finetune.dev/v1alpha1/finetunejobs",
    ):
        places[path] = json.dumps(stage.cluster.api("GET", path))
    for log in (stage.folder / "data").rglob("*.log"):
        places[str(log)] = log.read_text(errors="replace")
    return [where for where, text in places.items() if any(needle in text for needle in needles)]


def judge(stage: Stage, job_log: JobLog) -> tuple[dict[str, int], dict[str, list[str]]]:
    """All counts of the report, and the details behind those that are not zero."""
    api = stage.cluster.api
    sweep_runs = [{**b, "kind": "SweepRun"} for b in api("GET", "/apis/finetune.dev/v1alpha1/sweepruns")["items"]]
    jobs = [{**b, "kind": "FinetuneJob"} for b in api("GET", "/apis/finetune.dev/v1alpha1/finetunejobs")["items"]]
    states, descriptions, plain = runs_by_sweep(next((stage.folder / "tracker").glob("*.sqlite3")))
    by_owner = Counter(text.split(":")[1] for text in descriptions.values() if text.startswith("finetune.dev:"))
    wanted = {body["metadata"]["uid"]: max(1, len(body["spec"].get("stages", ()))) for body in sweep_runs}
    lost, twice = [], []
    for body in sweep_runs:
        if not condition(body, "Complete"):
            continue
        name, cap = body["metadata"]["name"], body["spec"]["trials"]
        real = Counter(of_stages(body, states))
        ended, told = sum(real[state] for state in ENDED), body["status"]["trials"]
        counted = told["succeeded"] + told["failed"] + told["stopped"]
        if ended < cap or counted < ended or told["succeeded"] < real["finished"]:
            lost.append(f"{name}: cap {cap}, tracker {dict(real)}, status {told}")
        if ended > cap or counted > ended or told["total"] > cap or told["succeeded"] > real["finished"]:
            twice.append(f"{name}: cap {cap}, tracker {dict(real)}, status {told}")
    for body in jobs:
        if condition(body, "Complete") and plain[body["status"]["run"]["id"]] != 1:
            (lost if plain[body["status"]["run"]["id"]] == 0 else twice).append(body["metadata"]["name"])
    wrong, found = wrong_ends(sweep_runs, jobs, states), secrets_in(stage)
    numbers = {
        "sweep_runs": len(sweep_runs),
        "finetune_jobs": len(jobs),
        "duplicate_sweeps": sum(max(0, number - wanted[uid]) for uid, number in by_owner.items()),
        "duplicate_jobs": job_log.duplicates(),
        "lost_trials": len(lost),
        "double_counted_trials": len(twice),
        "wrong_end_state": len(wrong),
        "secrets_found": len(found),
    }
    return numbers, {
        "lost_trials": lost,
        "double_counted_trials": twice,
        "wrong_end_state": wrong,
        "secrets_found": found,
    }
