"""`make chaos`: hundreds of resources live through kills, restarts and outages; the end is counted, not asserted away.

`python -m tests.chaos.run --out build/chaos.json [--seed N] [--scale S]`: 1.0 is the full run, 0.05 a test of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.chaos.count import JobLog, finished, judge
from tests.chaos.stage import ROOT, Stage, save, stage

NAMESPACE = "chaos"
FULL = {"sweep_runs": 200, "finetune_jobs": 200, "operator_kills": 200, "api_restarts": 5, "tracker_outages": 2}
OUTAGE_SECONDS = 60.0
POD_SHARE = 0.3


STAGES = [
    {"name": "explore", "method": "random", "trials": 2},
    {"name": "refine", "method": "random", "trials": 1, "refine": {}},
]
"""A third of the searches has two stages, with the same three trials in all."""


def resources(place: Stage, sweep_runs: int, finetune_jobs: int) -> list[dict[str, Any]]:
    """Resources with short scripted trials; nine in ten must complete, the others must fail in their own way."""
    made = []
    for kind, number in (("SweepRun", sweep_runs), ("FinetuneJob", finetune_jobs)):
        for index in range(number):
            expect = place.chance.choices(["Complete", "BadConfig", "InvalidSpec"], [18, 1, 1])[0]
            seconds = round(place.chance.uniform(1.0, 2.5), 2)
            script = f"script:?seconds={seconds}" + ("&exit=2" if expect == "BadConfig" else "")
            spec: dict[str, Any] = {
                "trainer": {"model": {"name": "tiny"}, "dataset": {"uri": script}, "resources": {"gpus": 1}}
            }
            if kind == "SweepRun":
                space = {"values": [1e-5, 1e-4, 1e-3]} if expect != "InvalidSpec" else {"vals": []}
                spec |= {"preset": "none", "parameters": {"learning_rate": space}, "trials": 3}
                spec["parallelism"] = place.chance.choice([1, 2])
                if index % 3 == 0:
                    spec["stages"] = STAGES
            else:
                spec |= {"hyperparameters": {"learning_rate" if expect != "InvalidSpec" else "lr": 1e-4}}
                spec["retry"] = {"limit": 50}
            metadata = {"name": f"{kind.lower()}-{index:03}", "namespace": NAMESPACE, "labels": {"expect": expect}}
            made.append({"apiVersion": "finetune.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    place.chance.shuffle(made)
    return made


def patiently(call: Any, seconds: float = 60) -> Any:
    """Repeats a call to the API server while it is away."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def create_all(place: Stage, bodies: list[dict[str, Any]], over: float) -> None:
    pause = over / max(1, len(bodies))
    for body in bodies:
        path = f"/apis/finetune.dev/v1alpha1/namespaces/{NAMESPACE}/{body['kind'].lower()}s"
        patiently(lambda path=path, body=body: _create(place, path, body))
        time.sleep(pause)


def _create(place: Stage, path: str, body: dict[str, Any]) -> None:
    if place.cluster.find(f"{path}/{body['metadata']['name']}") is None:
        place.cluster.api("POST", path, body)


def disasters(place: Stage, restarts: int, outages: int, outage: float, span: float, stop: threading.Event) -> None:
    """API restarts and tracker outages, spread over the run in random order."""
    events = ["api"] * restarts + ["tracker"] * outages
    place.chance.shuffle(events)
    for event in events:
        if stop.wait(span / (len(events) + 1) * place.chance.uniform(0.5, 1.5)):
            return
        if event == "api":
            place.restart_api()
        else:
            place.take_tracker_down(outage, stop)


def watch(place: Stage, log: JobLog, total: int, deadline: float, progress: bool, disasters: threading.Thread) -> None:
    """Notes the Jobs until every resource has ended and every disaster has been, or the time is up."""
    path = f"/apis/finetune.dev/v1alpha1/namespaces/{NAMESPACE}"
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, AssertionError):
            log.note(place.cluster.api("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs")["items"])
            bodies = [
                b
                for plural in ("sweepruns", "finetunejobs")
                for b in place.cluster.api("GET", f"{path}/{plural}")["items"]
            ]
            done = sum(finished(body) for body in bodies)
            if progress:
                print(f"\r{done}/{total} ended  {json.dumps(place.counts)}", end="", file=sys.stderr, flush=True)
            if done == total and place.calm.is_set() and not disasters.is_alive():
                return
        time.sleep(0.5)


def run(folder: Path, seed: int, scale: float, minutes: float, progress: bool) -> dict[str, Any]:
    """One chaos run; returns the report."""
    wanted = {key: max(1, round(value * scale)) for key, value in FULL.items()}
    outage = OUTAGE_SECONDS * min(1.0, scale * 2)
    began = time.monotonic()
    with stage(folder, seed, gpus=16) as place:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        place.cluster.api("POST", "/api/v1/namespaces", namespace)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wandb"}}
        place.cluster.apply(secret | {"stringData": {"api-key": place.tracker.api_key}}, namespace=NAMESPACE)
        bodies, log, stop = resources(place, wanted["sweep_runs"], wanted["finetune_jobs"]), JobLog(), threading.Event()
        mean = 6.0
        span = mean * wanted["operator_kills"]
        threads = [
            threading.Thread(target=place.torment_operator, args=(wanted["operator_kills"], mean, stop)),
            threading.Thread(target=place.kill_pods, args=(POD_SHARE, stop)),
            threading.Thread(
                target=disasters,
                args=(place, wanted["api_restarts"], wanted["tracker_outages"], outage, span * 0.7, stop),
            ),
            threading.Thread(target=create_all, args=(place, bodies, span * 0.3)),
        ]
        for thread in threads:
            thread.start()
        try:
            watch(place, log, len(bodies), time.monotonic() + minutes * 60, progress, threads[2])
            time.sleep(2)  # what comes after the end, if anything comes
            numbers, details = judge(place, log)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    report = {"seed": seed, **place.counts, **numbers, "seconds": round(time.monotonic() - began)}
    return report | {"details": {key: value[:20] for key, value in details.items() if value}}


def bad(report: dict[str, Any]) -> list[str]:
    """Counts that must be zero and are not."""
    zero = (
        "duplicate_sweeps",
        "duplicate_jobs",
        "lost_trials",
        "double_counted_trials",
        "wrong_end_state",
        "secrets_found",
    )
    return [key for key in zero if report[key]]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "chaos.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full run")
    parser.add_argument("--minutes", type=float, default=45, help="give up after so long")
    parser.add_argument("--keep", type=Path, help="folder for data and logs, kept; default: a temporary one")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        report = run(folder, arguments.seed, arguments.scale, arguments.minutes, sys.stderr.isatty())
    save(arguments.out, report)
    print(json.dumps(report, indent=2))
    return 1 if bad(report) else 0


if __name__ == "__main__":
    raise SystemExit(main())
