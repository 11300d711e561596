"""What must be refused, and with which status."""

import base64
import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
from urllib.parse import quote, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracker.client import UPSERT_RUN, Client, Refused

FULL = os.environ.get("FINETUNE_TESTS") == "full"
# 2,500 examples of each of the four kinds are well over five minutes of fuzzing.
FUZZ_EXAMPLES = 2_500 if FULL else 60
pytestmark = pytest.mark.timeout(3600 if FULL else 300)
CREATE_FILES = """mutation($f: [String!]!, $p: String!) { createRunFiles(input: {entityName: "local", projectName: $p,
  runName: "r", files: $f}) { runID files { name uploadUrl } } }"""


def status_of(action, *args, **kwargs):
    with pytest.raises(Refused) as refused:
        action(*args, **kwargs)
    return refused.value.status


@pytest.fixture(scope="module")
def stranger(tracker):
    """A user of the same server who is not a member of `local`."""
    command = [sys.executable, "-m", "finetune_tracker", "user", "add", "eve", "--data", str(tracker.data)]
    added = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = Client(tracker.base_url, added.stdout.strip(), entity="local", project="secret")
    yield found
    found.close()


def test_no_key_and_wrong_keys(tracker):
    url = tracker.base_url + "/graphql"
    assert requests.post(url, json={"query": "{ viewer { id } }"}, timeout=10).status_code == 401
    for header in (
        "Basic",
        "Basic !!!",
        "Bearer",
        "Digest x",
        "Basic " + base64.b64encode(b"api:" + b"0" * 40).decode(),
    ):
        answer = requests.post(url, json={"query": "{ viewer { id } }"}, headers={"authorization": header}, timeout=10)
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["message"]
    assert status_of(Client(tracker.base_url, "0" * 40).stream, "r", [{"x": 1}]) == 401


def test_other_entities_are_out_of_reach(client, stranger):
    client.project = "secret"
    bucket = client.run("hidden")["bucket"]
    sweep = client.sweep({"method": "random", "parameters": {"x": {"value": 1}}})
    agent = client.agent(sweep)
    assert stranger.runs() is None, "what is not yours looks as if it did not exist"
    assert status_of(stranger.run, "mine") == 403
    assert status_of(stranger.stream, "hidden", [{"x": 1}]) == 403
    assert status_of(stranger.call, UPSERT_RUN, id=bucket["id"], displayName="stolen") == 404
    assert status_of(stranger.set_sweep, sweep, "CANCELED") == 404
    assert status_of(stranger.agent, sweep) == 403
    agent.client = stranger
    assert status_of(agent.beat) == 404
    for mutation in ("deleteRun", "stopRun"):
        query = f"mutation($id: ID!) {{ {mutation}(input: {{id: $id}}) {{ clientMutationId }} }}"
        assert status_of(stranger.call, query, id=bucket["id"]) == 404
    assert client.runs()["runCount"] == 1


def test_another_entitys_content_cannot_be_claimed_by_its_digest(client, stranger):
    client.project, data = "secret", b"confidential weights"
    client.run("r")
    link = client.call(CREATE_FILES, f=["w.bin"], p="secret")["createRunFiles"]["files"][0]["uploadUrl"]
    assert client.http.put(link, data=data, timeout=10).status_code == 200
    create = """mutation { createArtifact(input: {entityName: "eve", projectName: "p", artifactTypeName: "t",
      artifactCollectionName: "c", digest: "d", clientID: "1"}) { artifact { id } } }"""
    artifact = stranger.call(create)["createArtifact"]["artifact"]["id"]
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    files = """mutation($a: ID!, $m: String!) { createArtifactFiles(input: {artifactFiles: [
      {artifactID: $a, name: "w.bin", md5: $m}]}) { files { edges { node { uploadUrl } } } } }"""
    (edge,) = stranger.call(files, a=artifact, m=md5)["createArtifactFiles"]["files"]["edges"]
    assert edge["node"]["uploadUrl"] is not None, "uploaded for another entity does not count"


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "..", "a\\..\\x", "", "x\x00y", "C:\\x", "n" * 5000]
)
def test_file_names_that_climb_out(client, name):
    client.run("r")
    assert status_of(client.call, CREATE_FILES, f=[name], p=client.project) == 400


def test_links_are_bound_to_what_they_were_issued_for(client):
    client.run("r")
    (file,) = client.call(CREATE_FILES, f=["a.txt"], p=client.project)["createRunFiles"]["files"]
    url = file["uploadUrl"]
    put = lambda u: requests.put(u, data=b"x", timeout=10).status_code  # noqa: E731
    assert put(url.replace("a.txt", "b.txt")) == 403
    assert put(url.split("?")[0]) == 403
    assert put(url.replace("token=", "token=9")) == 403
    assert put(url.replace("a.txt", quote("../a.txt", safe=""))) in (400, 404)
    assert put(url) == 200


def test_paths_over_a_bare_socket(tracker):
    address = urlsplit(tracker.base_url)
    for path in (
        "/storage/1/../../tracker.sqlite3/x",
        "/files/local/p/r/../../../api-key",
        "//etc/passwd",
        "/%2e%2e/x",
    ):
        with socket.create_connection((address.hostname, address.port), timeout=10) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = s.makefile("rb").read()
        assert answer.split()[1] in (b"400", b"401", b"403", b"404")


def test_oversized_bodies(tracker, tmp_path):
    from finetune_tracker.testing import running_tracker

    limits = {"MAX_GRAPHQL_BYTES": "2000", "MAX_STREAM_BYTES": "2000", "MAX_UPLOAD_BYTES": "2000"}
    with running_tracker(tmp_path, env={f"FINETUNE_TRACKER_{k}": v for k, v in limits.items()}) as small:
        client = Client(small.base_url, small.api_key, project="p")
        client.run("r")
        assert status_of(client.call, "{ viewer { id } }", x="y" * 3000) == 413
        assert status_of(client.stream, "r", [{"x": "y" * 3000}]) == 413
        url = f"{small.base_url}/files/local/p/r/file_stream"
        bomb = gzip.compress(b"0" * 1_000_000)
        assert client.http.post(url, data=bomb, headers={"content-encoding": "gzip"}, timeout=10).status_code == 413
        (file,) = client.call(CREATE_FILES, f=["a"], p="p")["createRunFiles"]["files"]
        assert client.http.put(file["uploadUrl"], data=bytes(3000), timeout=10).status_code == 413
        assert client.http.put(file["uploadUrl"], data=bytes(1000), timeout=10).status_code == 200


def test_gzip_streams(client):
    client.run("r")
    rows = [json.dumps({"_step": i}) for i in range(100)]
    body = json.dumps({"files": {"wandb-history.jsonl": {"offset": 0, "content": rows}}}).encode()
    url = f"{client.base_url}/files/local/{client.project}/r/file_stream"
    answer = client.http.post(url, data=gzip.compress(body), headers={"content-encoding": "gzip"}, timeout=10)
    assert answer.status_code == 200
    assert client.runs()["runs"]["edges"][0]["node"]["historyLineCount"] == 100


def test_large_files_arrive_in_parts(client):
    """The SDK does so from 2 GiB on; parts are numbered, checked as a whole, and may be sent again."""
    parts = [b"a" * 1000, b"b" * 1000, b"c" * 10]
    md5 = base64.b64encode(hashlib.md5(b"".join(parts)).digest()).decode()
    create = """mutation($p: String!) { createArtifact(input: {entityName: "local", projectName: $p,
      artifactTypeName: "t", artifactCollectionName: "c", digest: "d", clientID: "1"}) { artifact { id } } }"""
    artifact = client.call(create, p=client.project)["createArtifact"]["artifact"]["id"]
    files = """mutation($a: ID!, $m: String!, $p: [P!]!) { createArtifactFiles(input: {artifactFiles: [{artifactID: $a,
      name: "w", md5: $m, uploadPartsInput: $p}]}) { files { edges { node { storagePath uploadUrl
      uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }"""
    wish = [{"partNumber": n, "hexMD5": hashlib.md5(p).hexdigest()} for n, p in enumerate(parts, 1)]
    (edge,) = client.call(files, a=artifact, m=md5, p=wish)["createArtifactFiles"]["files"]["edges"]
    upload = edge["node"]["uploadMultipartUrls"]
    complete = """mutation($a: ID!, $s: String!, $u: String!, $p: [P!]!) { completeMultipartUploadArtifact(input: {
      artifactID: $a, storagePath: $s, uploadID: $u, completedParts: $p, completeMultipartAction: Complete}) {
      digest } }"""
    given = {"a": artifact, "s": edge["node"]["storagePath"], "u": upload["uploadID"], "p": wish}
    assert status_of(client.call, complete, **given) == 400, "nothing was uploaded yet"
    for part, link in zip(parts, upload["uploadUrlParts"], strict=True):
        answer = client.http.put(link["uploadUrl"], data=part, timeout=10)
        assert answer.headers["etag"].strip('"') == hashlib.md5(part).hexdigest()
    assert client.call(complete, **given)["completeMultipartUploadArtifact"]["digest"]
    (edge,) = client.call(files, a=artifact, m=md5, p=wish)["createArtifactFiles"]["files"]["edges"]
    assert edge["node"]["uploadUrl"] is None, "it is here now"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "{",
        "query { viewer { id }",
        "{ viewer }",
        "subscription { x }",
        "query A { viewer { id } } query B { viewer { id } }",
        "{ viewer { ...F } } fragment F on User { ...F }",
        "{ viewer { ...Missing } }",
        "query($x: ID!) { artifact(id: $x) { id } }",
        '{ artifact(id: "nonsense") { id } }',
        "mutation { noSuchThing(input: {}) { id } }",
        "{ a" * 5000,
        '{ project(name: "p", entityName: "local") { runs(filters: "[1]") { edges { cursor } } } }',
        '{ project(name: "p", entityName: "local") { runs(order: "+nonsense") { edges { cursor } } } }',
        '{ project(name: "p", entityName: "local") { runs(first: "many") { edges { cursor } } } }',
    ],
)
def test_malformed_graphql_is_400_with_a_reason(client, query):
    client.project = "p"
    client.run("r")
    answer = client.http.post(client.base_url + "/graphql", json={"query": query}, timeout=10)
    assert answer.status_code == 400
    assert len(answer.json()["errors"][0]["message"]) > 5


def test_a_field_nobody_knows_is_null(client):
    assert client.call("{ viewer { id inventedField } }")["viewer"]["inventedField"] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
ROOTS = (
    "agentHeartbeat addAliases commitArtifact createAgent createArtifact createArtifactFiles createArtifactManifest "
    "createRunFiles deleteArtifact deleteRun linkArtifact markRunFilesUploaded rewindRun stopRun updateArtifact "
    "updateArtifactPortfolio upsertBucket upsertModel upsertSweep useArtifact completeMultipartUploadArtifact"
)
KEYS = (
    "id name entityName projectName modelName runName config state sweep tags files aliases artifactID digest metadata "
    "artifactFiles artifactCollectionName artifactTypeName runState summaryMetrics priorRunsFilters metricName "
    "metricValue storagePath uploadID completedParts historyStep artifactPortfolioName clientID"
)
IDS = ["UnVuOjE=", "U3dlZXA6MQ==", "QWdlbnQ6MQ==", "QXJ0aWZhY3Q6MQ==", "local", "fuzz", "r", "{}", "[]", "-1"]


@settings(max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    root=st.sampled_from(ROOTS.split()),
    values=st.dictionaries(st.sampled_from(KEYS.split()), JSON | st.sampled_from(IDS)),
)
def test_fuzzed_mutations(tracker, fuzzer, root, values):
    query = f"mutation($input: I!) {{ {root}(input: $input) {{ __typename success artifact {{ id }} }} }}"
    body = json.dumps({"query": query, "variables": {"input": values}})
    assert fuzzer.post(tracker.base_url + "/graphql", data=body, timeout=60).status_code in (200, 400, 401, 403, 404)


@settings(max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(filters=JSON, order=st.text(max_size=10) | st.just("-summary_metrics.x"), first=JSON, after=JSON)
def test_fuzzed_queries(tracker, fuzzer, filters, order, first, after):
    query = """query($f: J, $o: J, $n: J, $a: J) { project(name: "fuzz", entityName: "local") {
      runs(filters: $f, order: $o, first: $n, after: $a) { edges { node { config history(samples: $n)
      sampledHistory(specs: $f) files(names: $f, first: $n) { edges { cursor } } } } }
      sweeps(filters: $f) { totalCount } } }"""
    variables = {"f": json.dumps(filters), "o": order, "n": first, "a": after}
    body = json.dumps({"query": query, "variables": variables})
    assert fuzzer.post(tracker.base_url + "/graphql", data=body, timeout=60).status_code in (200, 400)


@settings(max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=JSON | st.fixed_dictionaries({"files": st.dictionaries(
    st.sampled_from(["wandb-history.jsonl", "wandb-events.jsonl", "output.log", "wandb-summary.json", "x"]),
    JSON | st.fixed_dictionaries({"offset": JSON, "content": JSON | st.lists(JSON.map(json.dumps), max_size=3)}),
)}, optional={"complete": JSON, "exitcode": JSON, "preempting": JSON, "uploaded": JSON}))  # fmt: skip
def test_fuzzed_streams_are_never_refused_by_accident(tracker, fuzzer, body):
    answer = fuzzer.post(f"{tracker.base_url}/files/local/fuzz/r/file_stream", data=json.dumps(body), timeout=60)
    # Only a body that is no object at all is a client's defect; anything inside is stored or left out.
    assert answer.status_code == (200 if isinstance(body, dict) else 400)


@settings(max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(method=st.sampled_from(["GET", "POST", "PUT"]), path=st.text(max_size=60), data=st.binary(max_size=200))
def test_fuzzed_paths_and_bodies(tracker, fuzzer, method, path, data):
    for url in (f"/{quote(path)}", f"/storage/{quote(path)}", f"/upload/run/1/{quote(path)}", "/graphql"):
        assert fuzzer.request(method, tracker.base_url + url, data=data, timeout=60).status_code < 500


@pytest.fixture(scope="module")
def fuzzer(tracker):
    client = Client(tracker.base_url, tracker.api_key, project="fuzz")
    client.run("r")
    yield client.http
    client.close()
    # Whatever the server could not explain is a defect of its own, though clients see a 400.
    assert "Traceback" not in tracker.log.read_text()
