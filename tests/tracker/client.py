"""A plain W&B client for tests that need the wire itself: the SDK's own operations over HTTP."""

import base64
import json
import threading

import requests

UPSERT_RUN = """mutation UpsertBucket($name: String, $project: String, $entity: String, $config: JSONString,
  $sweep: String, $displayName: String, $tags: [String!], $state: String, $summaryMetrics: JSONString, $id: String) {
  upsertBucket(input: {id: $id, name: $name, modelName: $project, entityName: $entity, config: $config, sweep: $sweep,
    displayName: $displayName, tags: $tags, state: $state, summaryMetrics: $summaryMetrics}) {
    bucket { id name displayName state config sweepName historyLineCount project { name entity { name } } }
    inserted } }"""
UPSERT_SWEEP = """mutation UpsertSweep($id: ID, $config: String, $entityName: String, $projectName: String,
  $state: String, $priorRunsFilters: JSONString, $displayName: String, $description: String) {
  upsertSweep(input: {id: $id, config: $config, entityName: $entityName, projectName: $projectName, state: $state,
    priorRunsFilters: $priorRunsFilters, displayName: $displayName, description: $description}) {
    sweep { id name state } configValidationWarnings } }"""
CREATE_AGENT = """mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
    agent { id } } }"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands } }"""
SWEEP = """query Sweep($entity: String, $project: String, $sweep: String!, $order: String) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) {
    id name state bestLoss runCount runCountExpected
    runs(order: $order) { edges { node { id name state config summaryMetrics exitcode stopped sweepName } } } } } }"""
RUNS = """query Runs($entity: String!, $project: String!, $filters: JSONString, $order: String, $first: Int,
  $after: String) { project(name: $project, entityName: $entity) { runCount(filters: $filters)
    runs(filters: $filters, order: $order, first: $first, after: $after) {
      edges { node { id name state displayName summaryMetrics historyLineCount } cursor }
      pageInfo { endCursor hasNextPage } } } }"""


class Refused(Exception):  # noqa: N818
    """An answer that is not 200."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Client:
    def __init__(self, base_url, api_key, entity="local", project="wire"):
        self.base_url, self.entity, self.project = base_url, entity, project
        token = base64.b64encode(f"api:{api_key}".encode()).decode()
        self.headers = {"authorization": f"Basic {token}"}
        self._local = threading.local()

    @property
    def http(self):
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers.update(self.headers)
        return self._local.session

    def close(self):
        if hasattr(self._local, "session"):
            self._local.session.close()

    def call(self, query, **variables):
        answer = self.http.post(
            self.base_url + "/graphql", json={"query": query, "variables": variables, "operationName": ""}, timeout=60
        )
        if answer.status_code != 200:
            raise Refused(answer.status_code, answer.text)
        return answer.json()["data"]

    def run(self, name, **given):
        data = self.call(UPSERT_RUN, **({"name": name, "project": self.project, "entity": self.entity} | given))
        return data["upsertBucket"]

    def stream(self, run, history=(), offset=0, timeout=60, **body):
        files = {}
        if history:
            files["wandb-history.jsonl"] = {"offset": offset, "content": [json.dumps(row) for row in history]}
        summary = body.pop("summary", None)
        if summary is not None:
            files["wandb-summary.json"] = {"offset": 0, "content": [json.dumps(summary)]}
        files |= body.pop("files", {})
        answer = self.http.post(
            f"{self.base_url}/files/{self.entity}/{self.project}/{run}/file_stream",
            json={"files": files, **body},
            timeout=timeout,
        )
        if answer.status_code != 200:
            raise Refused(answer.status_code, answer.text)
        return answer.json()

    def finish(self, run, exitcode=0, **body):
        return self.stream(run, complete=True, exitcode=exitcode, **body)

    def sweep(self, config, **given):
        given = {"entityName": self.entity, "projectName": self.project, "config": json.dumps(config)} | given
        return self.call(UPSERT_SWEEP, **given)["upsertSweep"]["sweep"]

    def set_sweep(self, sweep, state):
        return self.call(UPSERT_SWEEP, id=sweep["id"], state=state)["upsertSweep"]["sweep"]

    def get_sweep(self, sweep, order=None):
        found = self.call(SWEEP, entity=self.entity, project=self.project, sweep=sweep["name"], order=order)
        found = found["project"]["sweep"]
        found["runs"] = [edge["node"] for edge in found["runs"]["edges"]]
        return found

    def agent(self, sweep):
        given = {"host": "test", "projectName": self.project, "entityName": self.entity, "sweep": sweep["name"]}
        return Agent(self, self.call(CREATE_AGENT, **given)["createAgent"]["agent"]["id"])

    def runs(self, filters=None, order=None, first=None, after=None):
        given = {"entity": self.entity, "project": self.project, "filters": json.dumps(filters or {})}
        return self.call(RUNS, **given, order=order, first=first, after=after)["project"]


class Agent:
    """One sweep agent, without processes: a test decides what its trials do."""

    def __init__(self, client, agent_id):
        self.client, self.id = client, agent_id

    def beat(self, *live):
        state = json.dumps(dict.fromkeys(live, True))
        answer = self.client.call(HEARTBEAT, id=self.id, metrics="{}", runState=state)
        return json.loads(answer["agentHeartbeat"]["commands"])

    def next(self):
        """The single command of an idle beat, or None."""
        commands = self.beat()
        assert len(commands) <= 1, commands
        return commands[0] if commands else None

    def play(self, sweep, score=lambda params: 0.0):
        """Run trials until told to exit; returns the parameters of each."""
        done = []
        while (command := self.next()) is None or command["type"] != "exit":
            if command is None:
                continue
            name, params = command["run_id"], {k: v["value"] for k, v in command["args"].items()}
            self.client.run(name, sweep=sweep["name"])
            self.beat(name)
            self.client.finish(name, summary={"loss": score(params)})
            done.append(params)
        return done
