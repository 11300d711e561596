"""A SIGKILL of the server loses nothing that was acknowledged, and the clients' retries make the rest whole."""

import functools
import json
import os
import random
import resource
import threading
import time

import pytest
import requests
from finetune_tracker.testing import running_tracker

from tests.tracker.client import Client, Refused

FULL = os.environ.get("FINETUNE_TESTS") == "full"


class Writer(threading.Thread):
    """A run that logs, with the SDK's way of retrying: the same chunk at the same offset until it is acknowledged."""

    def __init__(self, client, number, halt):
        super().__init__(daemon=True)
        self.client, self.name_, self.halt = client, f"writer-{number}", halt
        self.acknowledged, self.total, self.retries, self.error = 0, 0.0, 0, None

    def run(self):
        try:
            self._insist(lambda: self.client.run(self.name_))
            while not self.halt.is_set():
                rows = [{"_step": self.acknowledged + i, "x": random.random()} for i in range(random.randint(1, 20))]
                self._insist(functools.partial(self.client.stream, self.name_, rows, self.acknowledged, timeout=10))
                self.acknowledged += len(rows)
                self.total += sum(row["x"] for row in rows)
            self._insist(lambda: self.client.finish(self.name_))
        except Exception as e:
            self.error = e

    def _insist(self, request):
        deadline = time.monotonic() + 60
        while True:
            try:
                return request()
            except (requests.RequestException, Refused) as e:
                if (isinstance(e, Refused) and e.status < 500) or time.monotonic() > deadline:
                    raise
                self.retries += 1
                time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.parametrize("kills", [50 if FULL else 3])
def test_nothing_acknowledged_is_lost(tmp_path, kills):
    with running_tracker(tmp_path) as server:
        client = Client(server.base_url, server.api_key, project="durable")
        halt = threading.Event()
        writers = [Writer(client, n, halt) for n in range(64 if FULL else 8)]
        for writer in writers:
            writer.start()
        sweep = client.sweep({"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}})
        handed_out = client.agent(sweep).next()
        for _ in range(kills):
            seen = [(w, w.acknowledged) for w in writers]
            time.sleep(random.uniform(0.1, 0.6))
            server.kill()
            server.start()
            assert handed_out["run_id"] in {r["name"] for r in client.get_sweep(sweep)["runs"]}
            for writer, count in seen:
                assert _lines(client, writer.name_) >= count
        halt.set()
        for writer in writers:
            writer.join(90)
            assert writer.error is None
        assert sum(w.retries for w in writers) > 0
        for writer in writers:
            node = _node(client, writer.name_)
            assert (node["state"], node["historyLineCount"]) == ("finished", writer.acknowledged)
            rows = _history(client, writer.name_)
            assert [row["_step"] for row in rows] == list(range(writer.acknowledged))
            assert sum(row["x"] for row in rows) == pytest.approx(writer.total)


def test_an_upload_cut_off_by_a_kill_leaves_no_half_file(tmp_path):
    with running_tracker(tmp_path) as server:
        client = Client(server.base_url, server.api_key, project="durable")
        client.run("r")
        query = (
            'mutation($f: [String!]!) { createRunFiles(input: {entityName: "local", projectName: "durable", '
            'runName: "r", files: $f}) { files { name uploadUrl } } }'
        )
        url = client.call(query, f=["big.bin"])["createRunFiles"]["files"][0]["uploadUrl"]

        def endless():
            while True:
                yield bytes(1 << 16)

        killer = threading.Timer(0.3, server.kill)
        killer.start()
        with pytest.raises(requests.RequestException):
            client.http.put(url, data=endless(), timeout=30)
        killer.join()
        server.start()
        assert not list((tmp_path / "tmp").iterdir())
        body = b"whole" * 1000
        assert client.http.put(url, data=body, timeout=30).status_code == 200, "the link outlives the server"
        read = (
            '{ project(name: "durable", entityName: "local") '
            '{ run(name: "r") { files { edges { node { directUrl sizeBytes } } } } } }'
        )
        (edge,) = client.call(read)["project"]["run"]["files"]["edges"]
        assert requests.get(edge["node"]["directUrl"], timeout=30).content == body


def test_a_full_disk_asks_clients_to_come_back(tmp_path):
    """A limit on file sizes fails writes as a full disk does; when it is lifted, the same posts go through."""
    with running_tracker(tmp_path) as server:
        client = Client(server.base_url, server.api_key, project="durable")
        client.run("r")
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))

        def post(number):
            return client.stream("r", [{"_step": number * 100 + i, "x": "y" * 300} for i in range(100)], number * 100)

        number = 0
        with pytest.raises(Refused) as refused:  # noqa: PT012 - which post meets the limit is not known
            while number < 100:
                post(number)
                number += 1
        assert refused.value.status == 503
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        post(number)
        assert _lines(client, "r") == (number + 1) * 100


def _node(client, name):
    return client.runs({"name": name})["runs"]["edges"][0]["node"]


def _lines(client, name):
    edges = client.runs({"name": name})["runs"]["edges"]
    return edges[0]["node"]["historyLineCount"] if edges else 0


def _history(client, name):
    query = (
        'query($n: String!) { project(name: "durable", entityName: "local") { run(name: $n) '
        "{ history(minStep: 0, maxStep: 10000000, samples: 100000) } } }"
    )
    return [json.loads(line) for line in client.call(query, n=name)["project"]["run"]["history"]]
