"""The CRDs: generated, structural, described, bounded; every example passes model and plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from finetune_operator import crdgen

from tests.operator.support.world import World

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "manifests" / "examples").glob("*.yaml"))
CRDS = crdgen.crds()


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


def schema(crd: dict[str, Any]) -> dict[str, Any]:
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_the_files_are_what_the_models_say():
    assert crdgen.main(["--check", str(ROOT / "manifests" / "crds")]) == 0


@pytest.mark.parametrize("name", CRDS)
def test_structure(name: str):
    crd = CRDS[name]
    assert len(json.dumps(crd)) < 100_000
    for path, node in nodes(schema(crd)):
        preserved = node.get("x-kubernetes-preserve-unknown-fields")
        assert node.get("type"), path
        assert node.get("description") or path == "" or path.endswith(("[]", "metadata")), f"{path} is not described"
        assert not {"anyOf", "oneOf", "allOf", "$ref", "title", "const"} & set(node), path
        if node["type"] == "object" and path.startswith(".spec"):
            assert "properties" in node or preserved, f"{path} takes anything"
        if node["type"] == "array":
            assert "items" in node, path
        if "default" in node:
            assert "null" not in json.dumps(node["default"]), path


@pytest.mark.parametrize("name", CRDS)
def test_rules_have_static_messages_and_bounded_operands(name: str):
    for path, node in nodes(schema(CRDS[name])):
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"], path
            assert set(rule) == {"rule", "message"}, path
        if path.startswith(".spec"):
            assert node["type"] != "array" or "maxItems" in node, path
            if node["type"] == "string":
                assert "maxLength" in node or "enum" in node, path
            if node.get("x-kubernetes-preserve-unknown-fields"):
                assert "maxProperties" in node, path


@pytest.mark.parametrize("name", CRDS)
def test_names_and_subresources(name: str):
    spec = CRDS[name]["spec"]
    assert spec["names"]["shortNames"] == ["swr" if "sweepruns" in name else "ftj"]
    assert spec["names"]["categories"] == ["finetune"]
    version = spec["versions"][0]
    assert "status" in version["subresources"]
    assert ("scale" in version["subresources"]) == ("sweepruns" in name)
    columns = {column["name"]: column.get("priority", 0) for column in version["additionalPrinterColumns"]}
    assert {"State", "GPU-hours", "Age"} <= {name for name, priority in columns.items() if priority == 0}
    assert {"URL", "Model"} <= {name for name, priority in columns.items() if priority == 1}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_sound(path: Path):
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] not in ("SweepRun", "FinetuneJob"):
            continue
        spec = document["spec"]
        spec["trainer"].setdefault("image", "trainer")
        world = World(document["kind"], spec)
        world.settle()
        assert not world.holds("Stalled"), world.status
        assert world.ready_reason in ("Starting", "SweepRunNotFound")
