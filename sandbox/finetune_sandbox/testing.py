"""Pytest fixtures: a cluster for the session, a namespace for each test. Load with `pytest_plugins`.

By default the cluster is a sandbox. With KUBECONFIG in the environment it is that cluster, and with KUBEBUILDER_ASSETS
a sandbox around the kube-apiserver in that folder: the same tests run against all three. Tests that need the sandbox's
own abilities (images, GPUs, its processes) use `sandbox`, which never is a foreign cluster.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import pytest
import yaml

from finetune_sandbox.client import Access
from finetune_sandbox.kubelet.isolation import die_with_parent

T = TypeVar("T")
START_SECONDS = 30.0
SHELL = "registry.test/shell:1"
PYTHON = "registry.test/python:3"
DEFAULT_IMAGES: dict[str, dict[str, Any]] = {SHELL: {"command": ["/bin/sh"]}, PYTHON: {"command": [sys.executable]}}


class RequestFailedError(AssertionError):
    """The server refused a request that a test did not expect to be refused.

    Attributes:
        code: HTTP status code.
    """

    def __init__(self, code: int, status: Any) -> None:
        super().__init__(f"{code}: {status}")
        self.code, self.status = code, status


def eventually(check: Callable[[], T], seconds: float = 20.0, interval: float = 0.05) -> T:
    """Repeats a check until it neither raises nor returns something false, and returns its value.

    Raises:
        AssertionError: It still does after so many seconds; its last complaint is the cause.
    """
    deadline, problem = time.monotonic() + seconds, None
    while True:
        try:
            if value := check():
                return value
            problem = None
        except (AssertionError, KeyError, IndexError, OSError) as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {problem or check}") from problem
        time.sleep(interval)


@dataclass
class Cluster:
    """A cluster under test.

    Attributes:
        kubeconfig: Its administrator's kubeconfig.
        home: A HOME for kubectl, which caches types by address there.
        data: The sandbox's data folder; None for a foreign cluster.
        process: The sandbox's process; None for a foreign cluster.
    """

    kubeconfig: Path
    home: Path
    data: Path | None = None
    process: subprocess.Popen[str] | None = None
    _access: Access | None = field(default=None, repr=False)

    @property
    def access(self) -> Access:
        """Address and credentials."""
        if self._access is None:
            self._access = Access.from_kubeconfig(self.kubeconfig)
        return self._access

    def api(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """Makes one request.

        Raises:
            RequestFailedError: The answer is an error.
        """
        access = self.access
        server = urlsplit(access.url)
        assert server.hostname
        connection: http.client.HTTPConnection
        if access.tls:
            connection = http.client.HTTPSConnection(
                server.hostname, server.port or 443, context=access.tls, timeout=30
            )
        else:
            connection = http.client.HTTPConnection(server.hostname, server.port or 80, timeout=30)
        headers = {"Accept": "application/json", "Content-Type": content_type}
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        with contextlib.closing(connection):
            target = path + ("?" + urlencode(query) if query else "")
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        parsed: Any = json.loads(text) if is_json else text
        if answer.status >= 400:
            raise RequestFailedError(answer.status, parsed)
        return parsed

    def find(self, path: str) -> Any:
        """Reads an object; None when there is none."""
        try:
            return self.api("GET", path)
        except RequestFailedError as error:
            if error.code == 404:
                return None
            raise

    def kubectl(
        self, *args: str, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl with this cluster's kubeconfig.

        Raises:
            AssertionError: It failed and `check` is true.
        """
        result = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *args],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, "HOME": str(self.home)},
            check=False,
        )
        assert not check or result.returncode == 0, f"kubectl {' '.join(args)}: {result.stderr}"
        return result

    def fault(self, *args: str) -> None:
        """Makes something go wrong: the arguments of `finetune-sandbox fault`."""
        command = [sys.executable, "-m", "finetune_sandbox", "fault", "--kubeconfig", str(self.kubeconfig), *args]
        subprocess.run(command, check=True, timeout=60)

    def apply(self, *objects: Mapping[str, Any], namespace: str = "default") -> None:
        """Applies objects with kubectl."""
        self.kubectl("-n", namespace, "apply", "-f", "-", stdin="---\n".join(json.dumps(obj) + "\n" for obj in objects))


@contextlib.contextmanager
def start(
    folder: Path, *arguments: str, images: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Runs a sandbox with everything below one folder; ends it, and all pods, at the end.

    Raises:
        AssertionError: It is not ready in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image_file, kubeconfig = folder / "images.yaml", folder / "kubeconfig"
    image_file.write_text(yaml.safe_dump(dict(images if images is not None else DEFAULT_IMAGES)))
    command = [
        sys.executable,
        "-m",
        "finetune_sandbox",
        "up",
        "--data",
        str(folder / "data"),
        "--kubeconfig",
        str(kubeconfig),
    ]
    with (folder / "sandbox.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--images", str(image_file), *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
            env={**os.environ, **(environment or {})},
        )
    assert process.stdout
    watchdog = time.monotonic()
    try:
        line = process.stdout.readline().strip()
        waited = time.monotonic() - watchdog
        assert line == "ready", f"the sandbox did not start: {(folder / 'sandbox.log').read_text()[-2000:]}"
        assert waited < START_SECONDS, f"the sandbox took {waited:.1f} s to start"
        yield Cluster(kubeconfig, folder, folder / "data", process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def sandbox_images() -> dict[str, dict[str, Any]]:
    """Images of the session's sandbox; override it to add some."""
    return dict(DEFAULT_IMAGES)


@pytest.fixture(scope="session")
def sandbox_arguments() -> list[str]:
    """Further arguments of the session's sandbox; override it for other nodes or GPUs."""
    return ["--nodes", "1", "--gpus", "4"]


@pytest.fixture(scope="session")
def sandbox(
    tmp_path_factory: pytest.TempPathFactory, sandbox_images: dict[str, dict[str, Any]], sandbox_arguments: list[str]
) -> Iterator[Cluster]:
    """A sandbox for the session."""
    arguments = [*sandbox_arguments, *(["--control-plane", "envtest"] if os.environ.get("KUBEBUILDER_ASSETS") else [])]
    with start(tmp_path_factory.mktemp("sandbox"), *arguments, images=sandbox_images) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster in KUBECONFIG, else the session's sandbox."""
    if given := os.environ.get("KUBECONFIG"):
        return Cluster(Path(given), tmp_path_factory.mktemp("home"))
    sandbox: Cluster = request.getfixturevalue("sandbox")
    return sandbox


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of its own for the test; deleted afterwards, without waiting for it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.api("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    eventually(lambda: cluster.find(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
    yield name
    for pod in cluster.api("GET", f"/api/v1/namespaces/{name}/pods")["items"]:  # nobody waits for their grace periods
        with contextlib.suppress(RequestFailedError):
            options = {"gracePeriodSeconds": 1}
            cluster.api("DELETE", f"/api/v1/namespaces/{name}/pods/{pod['metadata']['name']}", options)
    cluster.api("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Callable[..., str]:
    """Kubectl in the test's namespace: `kubectl("get", "pods")` returns what it prints."""

    def run(*args: str, stdin: str | None = None) -> str:
        return cluster.kubectl("-n", namespace, *args, stdin=stdin).stdout

    return run
