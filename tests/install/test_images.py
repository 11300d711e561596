"""The built images run as `restricted` pods: `make test-images`, after `make images`; it needs buildah and runc."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator

import pytest
from finetune_trainer.contract import DatasetRef, ModelRef, Tracking, TrialConfig, TrialResult

from tests.install.oci import Image, run
from tests.install.support import ROOT
from tests.trainer.material import make_ctc, write_manifest

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PREFIX = os.environ.get("FINETUNE_IMAGE_PREFIX", "localhost/")
CHOSEN_BY_THE_PLATFORM = 1000690000  # as OpenShift does; /etc/passwd does not know it

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("FINETUNE_TEST_IMAGES" not in os.environ, reason="builds are tested by `make test-images`"),
]


@pytest.fixture(scope="module", params=["operator", "tracker", "trainer"])
def image(request: pytest.FixtureRequest) -> Iterator[Image]:
    with Image.mounted(f"{PREFIX}finetune-{request.param}:{VERSION}") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def trainer() -> Iterator[Image]:
    with Image.mounted(f"{PREFIX}finetune-trainer:{VERSION}") as mounted:
        yield mounted


def test_configuration(image):
    assert image.config["User"] == "65532:65532"
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.title"] in image.name
    assert len(labels["org.opencontainers.image.revision"]) == 40


def test_nothing_that_builds_is_left(image):
    for tool in ("gcc", "cc", "make", "pip", "pip3"):
        assert not [
            place for place in ("usr/bin", "usr/local/bin", "opt/venv/bin") if (image.root / place / tool).exists()
        ]
    assert not (image.root / "src").exists()
    assert not (image.root / "opt/pip").exists()


def test_packages_are_listed_for_an_sbom(image):
    names = {path.name.split("-")[0].lower() for path in (image.root / "opt").rglob("*.dist-info")}
    assert {"finetune_operator", "pydantic"} <= names
    assert ("torch" in names) is ("trainer" in image.name)


def test_size(image, record_property):
    added = image.megabytes("/opt/venv", "/opt/app")
    record_property("megabytes", round(added))
    print(f"{image.name} adds {added:.0f} MB to its base")
    if "operator" in image.name:
        assert added < 150


@pytest.mark.parametrize("user", [65532, CHOSEN_BY_THE_PLATFORM])
def test_entrypoint_starts(image, tmp_path, user):
    done = run(image.bundle(tmp_path, ["--help"], {}, (), user), timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.parametrize("user", [65532, CHOSEN_BY_THE_PLATFORM])
def test_a_short_training(trainer, tmp_path, user):
    data, model = tmp_path / "data", tmp_path / "model"
    write_manifest(data, rows=48)
    make_ctc(model)
    subprocess.run(["chmod", "-R", "a+rX", tmp_path], check=True)  # the owner of the files is not the pod's user
    document = tmp_path / "trial.json"
    config = TrialConfig(
        mode="train",
        tracking=Tracking(mode="offline", run_id="smoke"),
        hyperparameters={"learning_rate": 1e-3, "batch_size": 8, "max_steps": 10},
        model=ModelRef(name="/model"),
        dataset=DatasetRef(uri="/data/manifest.jsonl"),
        artifact="smoke",
    )
    document.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    log = tmp_path / "bundle" / "scratch-0" / "termination-log"
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    trainer.bundle(
        bundle,
        ["train"],
        {"/data": data, "/model": model, "/etc/finetune/trial.json": document},
        ("/run/finetune",),
        user,
        FINETUNE_CONFIG="/etc/finetune/trial.json",
        FINETUNE_TERMINATION_LOG="/run/finetune/termination-log",
        WANDB_API_KEY="0" * 40,
        OMP_NUM_THREADS="1",
    )
    done = run(bundle, timeout=280)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{log.read_text() if log.exists() else ''}"
    result = TrialResult.model_validate(json.loads(log.read_text()))
    assert result.state == "finished"
    assert result.metrics is not None
    assert (bundle / "scratch-0" / "wandb").is_dir()
