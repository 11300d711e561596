"""How the operator learns of the dataset's size: from a manifest that it can read, or an artifact in a real tracker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from finetune_operator.actions import Problem
from finetune_operator.dataset import Datasets
from finetune_operator.facts import DatasetFacts
from finetune_operator.hub import ProjectPoller
from finetune_operator.trial import TrackerAddress
from finetune_operator.wandb import WandbClient
from finetune_tracker.testing import TrackerProcess

from tests.operator.support.trainer import Tracker

NOWHERE = Problem("SecretMissing", "no key")


def look(uri: str, datasets: Datasets | None = None) -> DatasetFacts:
    return asyncio.run((datasets or Datasets()).look(uri, NOWHERE))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_rows_of_a_manifest_are_counted_again_when_it_has_changed(tmp_path: Path, scheme: str):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"audio": "a"}\n\n{"audio": "b"}')
    datasets = Datasets()
    first = look(f"{scheme}{path}", datasets)
    assert (first.cases, first.problem) == (2, None)
    assert look(f"{scheme}{path}", datasets) == first
    path.write_text('{"audio": "a"}\n' * 5)
    grown = look(f"{scheme}{tmp_path}", datasets)  # the folder stands for its manifest
    assert grown.cases == 5
    assert grown.version != first.version
    (tmp_path / "other.jsonl").write_text("{}")
    assert look(str(tmp_path), datasets).cases == 5
    path.rename(tmp_path / "more.jsonl")
    assert "JSONL manifests alone" in str(look(str(tmp_path), datasets).problem)  # two, and none is the manifest


@pytest.mark.parametrize("uri", ["s3://bucket/m.jsonl", "/nowhere/manifest.jsonl", "/data/m.parquet", "hf://a/b"])
def test_what_cannot_be_counted_says_how_to_tell(uri: str):
    found = look(uri)
    assert found.cases is None
    assert "finetune.dev/error-cases" in str(found.problem)


def test_an_artifact_tells_by_its_metadata(tracker: TrackerProcess, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", tracker.api_key)
    where = {"baseURL": tracker.base_url, "entity": tracker.entity, "project": "datasets"}
    writer = Tracker({"tracking": where})

    def version(run: str, metadata: str) -> None:
        writer.start_run(run, {}, None)
        writer.log_artifact("corrections", run, "dataset", metadata)

    async def ask() -> DatasetFacts:
        async with aiohttp.ClientSession() as session:
            client = WandbClient(session, tracker.base_url, tracker.api_key, lambda operation, outcome: None)
            address = TrackerAddress(tracker.base_url, "datasets", None)
            project = ProjectPoller(client, address, lambda key: None, 1.0)
            return await Datasets().look("wandb-artifact://datasets/corrections:latest", project)

    assert "does not exist" in str(asyncio.run(ask()).problem)
    version("first", '{"error_cases": 1200}')
    first = asyncio.run(ask())
    assert (first.version, first.cases, first.problem) == ("v0", 1200, None)
    version("second", "{}")
    assert "has no metadata error_cases" in str(asyncio.run(ask()).problem)
