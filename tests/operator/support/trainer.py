"""A scripted trainer: obeys the trial contract, speaks W&B's protocol, trains nothing, needs the standard library only.

What it does is in `dataset.uri`, as a query string: `script:?seconds=0.2&exit=3`.

    seconds=S     duration of a trial
    exit=N        end the process with this code (class and message as the contract says)
    class=C       ... with this failure class instead of the code's own
    after=N       ... but only after so many finished trials
    fail=N        every Nth trial fails; the agent goes on
    attempt=N     do `exit` only in pods of the Nth attempt
    round=N       do `exit` and `fail` only in pods of the Nth round
    linger=S      seconds between an agent's last trial and its end
    alloc=MB      hold so much memory
    wer=X         word error rate of a `train`; the baseline is 0.4
    suites=P/T    regression suites passed, of all
    hang          ignore SIGTERM (`hang=1`)
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

CLASSES = {1: "Error", 2: "BadConfig", 3: "OutOfMemory", 75: "TrackerUnavailable", 143: "Preempted"}
BASELINE = 0.4


class Preempted(BaseException):
    pass


class Tracker:
    def __init__(self, config: dict[str, Any]) -> None:
        self.tracking = config["tracking"]
        self.url = self.tracking.get("baseURL") or os.environ["WANDB_BASE_URL"]
        token = base64.b64encode(f"api:{os.environ['WANDB_API_KEY']}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self.entity, self.project = self.tracking["entity"], self.tracking["project"]

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + float(os.environ.get("FINETUNE_TRACKER_PATIENCE", "90"))
        while True:
            request = urllib.request.Request(self.url + path, json.dumps(body).encode(), self.headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as response:
                    return json.loads(response.read() or b"{}")
            except urllib.error.HTTPError as error:
                if error.code in (401, 403):
                    end(1, "TrackerUnauthorized", "the tracker refuses the API key")
                if error.code < 500 and error.code != 429:
                    raise RuntimeError(f"{path}: {error.code} {error.read()[:500]!r}") from None
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            if time.monotonic() > deadline:
                end(75, "TrackerUnavailable", "the tracker stayed unreachable")
            time.sleep(0.3)

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.post("/graphql", {"query": query, "variables": variables})
        if answer.get("errors"):
            raise RuntimeError(str(answer["errors"]))
        return answer["data"]

    def start_run(self, name: str, config: dict[str, Any], sweep: str | None) -> None:
        self.query(
            "mutation UpsertBucket($name: String, $entity: String, $project: String, $config: JSONString, "
            "$sweep: String, $state: String) { upsertBucket(input: {name: $name, entityName: $entity, "
            "modelName: $project, config: $config, sweep: $sweep, state: $state}) { bucket { id name } inserted } }",
            name=name,
            entity=self.entity,
            project=self.project,
            config=json.dumps(
                {key: {"value": value} for key, value in config.items()} | {"_wandb": {"value": {"t": {}}}}
            ),
            sweep=sweep,
            state="running",
        )
        self.stream(name, {})

    def stream(self, run: str, body: dict[str, Any], summary: dict[str, Any] | None = None) -> dict[str, Any]:
        if summary is not None:
            body["files"] = {"wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]}}
        return self.post(f"/files/{self.entity}/{self.project}/{run}/file_stream", body)

    def log_artifact(self, name: str, run: str, kind: str = "model", metadata: str | None = None) -> str | None:
        digest = hashlib.md5(f"{name}{run}".encode()).hexdigest()
        made = self.query(
            "mutation CreateArtifact($entity: String!, $project: String!, $type: String!, $name: String!, "
            "$run: String!, $digest: String!, $metadata: JSONString) { "
            "createArtifact(input: {entityName: $entity, projectName: $project, artifactTypeName: $type, "
            "artifactCollectionName: $name, runName: $run, digest: $digest, metadata: $metadata, "
            'digestAlgorithm: MANIFEST_MD5, aliases: [{artifactCollectionName: $name, alias: "latest"}], '
            "enableDigestDeduplication: true}) { artifact { id state } } }",
            entity=self.entity,
            project=self.project,
            type=kind,
            metadata=metadata,
            name=name,
            run=run,
            digest=digest,
        )["createArtifact"]["artifact"]
        if made["state"] != "COMMITTED":
            body = json.dumps({"version": 1, "storagePolicy": "wandb-storage-policy-v1", "contents": {}}).encode()
            manifest = self.query(
                "mutation CreateArtifactManifest($id: ID!, $digest: String!, $entity: String!, $project: String!, "
                "$run: String!) { "
                'createArtifactManifest(input: {artifactID: $id, name: "wandb_manifest.json", digest: $digest, '
                "entityName: $entity, projectName: $project, runName: $run, includeUpload: true, type: FULL}) "
                "{ artifactManifest { id file { id uploadUrl uploadHeaders } } } }",
                id=made["id"],
                digest=base64.b64encode(hashlib.md5(body).digest()).decode(),
                entity=self.entity,
                project=self.project,
                run=run,
            )["createArtifactManifest"]["artifactManifest"]
            upload = urllib.request.Request(manifest["file"]["uploadUrl"], body, self.headers, method="PUT")
            urllib.request.urlopen(upload, timeout=20).close()
            self.query(
                "mutation CommitArtifact($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }",
                id=made["id"],
            )
        version = self.query("query Artifact($id: ID!) { artifact(id: $id) { id versionIndex } }", id=made["id"])[
            "artifact"
        ]["versionIndex"]
        return f"{self.entity}/{self.project}/{name}:v{version}"


def end(code: int, failure: str | None, message: str = "", **fields: Any) -> None:
    state = "finished" if code == 0 else "preempted" if code == 143 else "failed"
    result = {"version": "v1", "state": state, "message": message, **fields}
    if failure:
        result["failureClass"] = failure
    Path(os.environ.get("FINETUNE_TERMINATION_LOG", "/dev/termination-log")).write_text(json.dumps(result))
    sys.stdout.flush()
    os._exit(code)


def scores(learning_rate: float) -> dict[str, float]:
    wer = min(0.9, 0.1 + 0.08 * abs(math.log10(learning_rate) + 4))
    return {
        "eval/wer": wer,
        "eval/cer": wer / 2,
        "baseline/wer": BASELINE,
        "baseline/cer": BASELINE / 2,
        "test/wer": wer,
        "test/cer": wer / 2,
        "test/baseline_wer": BASELINE,
        "test/baseline_cer": BASELINE / 2,
        "test/p_value": 0.001,
        "test/relative_improvement": (BASELINE - wer) / BASELINE,
    }


def by_type(learning_rate: float) -> dict[str, Any]:
    """Scores per error type, which are best at different learning rates."""
    values: dict[str, Any] = {}
    for kind, best in (("accent", -4), ("noise", -3)):
        wer = min(0.9, 0.1 + 0.2 * abs(math.log10(learning_rate) - best))
        errors = [int(10 * wer + place / 40) for place in range(40)]
        values[f"eval/wer_by_type/{kind}"] = wer
        values[f"test/utterance_errors/{kind}"] = " ".join(map(str, errors))
        values[f"test/utterance_words/{kind}"] = " ".join(["10"] * 40)
    return values


class Script:
    def __init__(self, uri: str) -> None:
        options = urllib.parse.parse_qs(uri.partition("?")[2])
        self.options = {key: values[0] for key, values in options.items()}
        self.seconds = float(self.options.get("seconds", "0.1"))
        name = re.search(r"-[st]([0-9]+)-([0-9]+)-", os.environ.get("HOSTNAME", ""))
        self._round, self._attempt = (name[1], name[2]) if name else ("", "")

    def misbehave(self, finished: int) -> None:
        if "exit" not in self.options or finished < int(self.options.get("after", "0")):
            return
        if not self.here or self.options.get("attempt", self._attempt) != self._attempt:
            return
        code = int(self.options["exit"])
        if code == 137:
            os.kill(os.getpid(), signal.SIGKILL)
        failure = self.options.get("class") or CLASSES.get(code, "Error")
        end(code, failure if code else None, f"scripted to end with exit code {code}")

    @property
    def here(self) -> bool:
        """Whether this is a pod of the round that is to fail."""
        return self.options.get("round", self._round) == self._round


def agent(config: dict[str, Any], tracker: Tracker, script: Script) -> None:
    sweep = config["tracking"]["sweepID"]
    made = tracker.query(
        "mutation CreateAgent($host: String!, $project: String!, $entity: String!, $sweep: String!) { "
        "createAgent(input: {host: $host, projectName: $project, entityName: $entity, sweep: $sweep}) "
        "{ agent { id } } }",
        host=os.environ.get("HOSTNAME", "pod"),
        project=tracker.project,
        entity=tracker.entity,
        sweep=sweep,
    )
    identity, finished = made["createAgent"]["agent"]["id"], 0
    current = None

    def beat() -> list[dict[str, Any]]:
        answer = tracker.query(
            "mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) { "
            "agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands } }",
            id=identity,
            metrics="{}",
            runState=json.dumps({current: True} if current else {}),
        )
        commands = answer["agentHeartbeat"]["commands"]
        return json.loads(commands) if isinstance(commands, str) else commands

    try:
        while True:
            script.misbehave(finished)
            commands = beat()
            work = next((command for command in commands if command["type"] in ("run", "resume")), None)
            if any(command["type"] == "exit" for command in commands):
                time.sleep(float(script.options.get("linger", "0")))
                break
            if work is None:
                time.sleep(0.3)
                continue
            current = work["run_id"]
            values = {key: item["value"] for key, item in (work.get("args") or {}).items()}
            tracker.start_run(current, values, sweep)
            deadline = time.monotonic() + script.seconds
            stopped = False
            while time.monotonic() < deadline and not stopped:
                time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
                if time.monotonic() < deadline:
                    commands = beat()
                    stopped = any(c["type"] == "stop" or c["type"] == "exit" for c in commands)
            every = int(script.options.get("fail", "0")) if script.here else 0
            if stopped or (every and (finished + 1) % every == 0):
                tracker.stream(current, {"complete": True, "exitcode": 1})
            else:
                learning_rate = float(values.get("learning_rate", 1e-5))
                summary = scores(learning_rate) | by_type(learning_rate)
                tracker.log_artifact(config.get("artifact") or "model", current)
                tracker.stream(current, {"complete": True, "exitcode": 0}, summary)
            finished += 1
            current = None
    except Preempted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if current:
            tracker.stream(current, {"preempting": True})
            tracker.stream(current, {"preempting": True, "complete": True, "exitcode": 143})
        end(143, "Preempted", "SIGTERM")
    end(0, None, trials={"finished": finished})


def train(config: dict[str, Any], tracker: Tracker, script: Script) -> None:
    run = config["tracking"]["runID"]
    tracker.start_run(run, config.get("hyperparameters", {}), None)
    try:
        deadline = time.monotonic() + script.seconds
        while time.monotonic() < deadline:
            time.sleep(min(0.2, script.seconds))
        script.misbehave(0)
    except Preempted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tracker.stream(run, {"preempting": True})
        end(143, "Preempted", "SIGTERM", runID=run)
    wer = float(
        script.options.get("wer", scores(float(config["hyperparameters"].get("learning_rate", 1e-5)))["eval/wer"])
    )
    artifact = tracker.log_artifact(config.get("artifact") or "model", run)
    summary = {
        **scores(1e-4),
        "test/wer": wer,
        "eval/wer": wer,
        "test/relative_improvement": (BASELINE - wer) / BASELINE,
    }
    tracker.stream(run, {"complete": True, "exitcode": 0}, summary)
    passed, _, total = script.options.get("suites", "").partition("/")
    regression = {"passed": int(passed), "total": int(total)} if total else None
    metrics = {
        "wer": wer,
        "cer": wer / 2,
        "baselineWer": BASELINE,
        "baselineCer": BASELINE / 2,
        "pValue": 0.001,
        "relativeImprovement": (BASELINE - wer) / BASELINE,
    }
    fields = {"runID": run, "runURL": f"{tracker.url}/{run}", "metrics": metrics, "artifact": artifact}
    end(0, None, **fields, **({"regression": regression} if regression else {}))


def main() -> None:
    config = json.loads(Path(os.environ["FINETUNE_CONFIG"]).read_text())
    script = Script(config["dataset"]["uri"])
    held = bytearray(int(script.options.get("alloc", "0")) << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    if "hang" in script.options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:

        def preempt(*_: Any) -> None:
            raise Preempted

        signal.signal(signal.SIGTERM, preempt)
    try:
        tracker = Tracker(config)
        script.misbehave(-1 if "after" in script.options or sys.argv[-1] == "train" else 0)
        (agent if sys.argv[-1] == "agent" else train)(config, tracker, script)
    except Preempted:
        end(143, "Preempted", "SIGTERM before the first trial")


if __name__ == "__main__":
    main()
