"""A cluster with the CRDs, a tracker and an operator for the tests of this folder; a namespace for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from finetune_sandbox.testing import Cluster, eventually, start
from finetune_tracker.testing import TrackerProcess, running_tracker

from tests.operator.support.process import IMAGES, Lab, OperatorProcess, graphql, running_operator
from tests.operator.support.seen import Seen

CRDS = sorted((Path(__file__).parents[2] / "manifests" / "crds").glob("finetune.dev_*.yaml"))
QUICK = {
    "FINETUNE_TRACKER_RUN_TIMEOUT": "4",
    "FINETUNE_TRACKER_AGENT_TIMEOUT": "4",
    "FINETUNE_TRACKER_RUN_GRACE": "3",
}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start(tmp_path_factory.mktemp("operator-sandbox"), "--nodes", "1", "--gpus", "4", images=IMAGES) as cluster:
        install_crds(cluster)
        yield cluster


def install_crds(cluster: Cluster) -> None:
    for path in CRDS:
        manifest = yaml.safe_load(path.read_text())
        cluster.api("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", manifest)
        plural = manifest["spec"]["names"]["plural"]
        eventually(lambda plural=plural: cluster.find(f"/apis/finetune.dev/v1alpha1/{plural}") is not None)


@pytest.fixture(scope="session")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackerProcess]:
    with running_tracker(tmp_path_factory.mktemp("operator-tracker"), env=QUICK) as server:
        warm_up(server)
        yield server


def warm_up(server: TrackerProcess) -> None:
    """The first sweep loads the search engine, which takes seconds that no test is about."""
    create = (
        "mutation U($config: String, $project: String, $entity: String) { upsertSweep(input: {config: $config, "
        "projectName: $project, entityName: $entity}) { sweep { name } } }"
    )
    config = "{method: random, parameters: {epochs: {values: [1, 2]}}}"
    graphql(server, create, config=config, project="warm-up", entity=server.entity)


@pytest.fixture(scope="session")
def operator(
    cluster: Cluster, tracker: TrackerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with running_operator(cluster.kubeconfig, tracker.base_url, log) as process:
        yield process
        text = log.read_text()
        assert tracker.api_key not in text
        assert "Traceback" not in text


@pytest.fixture
def lab(cluster: Cluster, namespace: str, tracker: TrackerProcess, operator: OperatorProcess) -> Lab:
    lab = Lab(cluster, namespace, tracker)
    lab.secret()
    return lab


@pytest.fixture(autouse=True)
def provoked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sees to it that a test provokes the reasons that its `provokes` marks name: a watch has shown each of them."""
    named = {reason for mark in request.node.iter_markers("provokes") for reason in mark.args}
    if not named:
        yield
        return
    seen = Seen(request.getfixturevalue("cluster"), request.getfixturevalue("namespace"))

    def all_shown() -> bool:
        assert not named - set(seen.reasons), f"not provoked: {named - set(seen.reasons)}"
        return True

    with seen.watching():
        yield
        eventually(all_shown, 5)
