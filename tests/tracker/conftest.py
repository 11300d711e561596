import functools
import os

import pytest
from finetune_tracker.testing import running_tracker

from tests.tracker.client import Client
from tests.wandb_client import wandb_client

# Silence becomes a crash after seconds instead of minutes.
IMPATIENT = {
    "FINETUNE_TRACKER_RUN_TIMEOUT": "2",
    "FINETUNE_TRACKER_RUN_GRACE": "0.5",
    "FINETUNE_TRACKER_AGENT_TIMEOUT": "1.5",
    "FINETUNE_TRACKER_STOP_INTERVAL": "0.1",
}


@pytest.fixture(scope="session")
def tracker(tmp_path_factory):
    with running_tracker(tmp_path_factory.mktemp("tracker")) as server:
        yield server


@pytest.fixture(scope="session")
def impatient_tracker(tmp_path_factory):
    with running_tracker(tmp_path_factory.mktemp("impatient"), env=IMPATIENT) as server:
        yield server


@pytest.fixture
def client(tracker, request):
    found = Client(tracker.base_url, tracker.api_key, project=request.node.originalname[:60])
    yield found
    found.close()


@pytest.fixture
def impatient(impatient_tracker, request):
    found = Client(impatient_tracker.base_url, impatient_tracker.api_key, project=request.node.name[:60])
    yield found
    found.close()


@pytest.fixture(scope="package")
def _wandb_process(tracker, tmp_path_factory):
    """This process as a W&B client: one wandb-core for the tests of this folder."""
    import wandb

    with wandb_client(tracker, tmp_path_factory.mktemp("client")):
        yield wandb


@pytest.fixture
def sdk(_wandb_process, request, monkeypatch):
    """The wandb module, pointed at the tracker, with a project of the test's own."""
    wandb, project = _wandb_process, request.node.name[:60]
    # The variable is for child processes; in this one the SDK has long since read its environment.
    monkeypatch.setenv("WANDB_PROJECT", project)
    for name in ("init", "sweep"):
        monkeypatch.setattr(wandb, name, functools.partial(getattr(wandb, name), project=project))
    yield wandb
    if wandb.run is not None:
        wandb.finish()
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        os.environ.pop(name, None)
