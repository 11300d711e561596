"""Every command and every YAML block of the documentation is run, or held to its program or schema."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from finetune_cli import documents

from tests.cli.conftest import definitions  # noqa: F401  # a fixture
from tests.docs.blocks import PAGES, ROOT, blocks, check, commands

ALL = list(blocks())
SHELLS = {"bash", "console", "sh"}
FOREIGN = (
    "argoproj.io/",
    "monitoring.coreos.com/",
    "kueue.x-k8s.io/",
    "toolkit.fluxcd.io/",
    "kustomize.config.k8s.io/",
)


def named(chosen):
    return pytest.mark.parametrize("block", chosen, ids=[block.name for block in chosen])


def test_the_documentation_has_blocks_of_known_kinds():
    assert {block.language for block in ALL} <= SHELLS | {"yaml", "text", "json", "", "promql"}
    assert sum(block.run for block in ALL) >= 8


@named([block for block in ALL if block.language in SHELLS])
def test_a_command_is_one_that_exists(block):
    for command in commands(block.text):
        check(command)


@named([block for block in ALL if block.language == "yaml"])
def test_yaml_is_valid(block):
    text = block.text
    if text.startswith("# values.yaml"):
        schema = json.loads((ROOT / "charts" / "finetune-operator" / "values.schema.json").read_text())
        jsonschema.validate(yaml.safe_load(text), schema)
        return
    for document in documents.load(text, block.name):
        version = document.get("apiVersion", "")
        if version.startswith("finetune.dev/"):
            documents.check(block.name, document)
        elif any(group in version for group in FOREIGN):
            assert document["kind"]
            assert document["metadata"]["name"]
        else:
            kubernetes_validate.validate(document, "1.33", strict=True)


RUN = [page for page in PAGES if any(block.page == page and block.run for block in ALL)]


@pytest.mark.parametrize("page", RUN, ids=[str(page.relative_to(ROOT)) for page in RUN])
def test_a_page_runs_from_top_to_bottom(page, definitions, namespace, tmp_path):  # noqa: F811
    """The `bash run` blocks of a page, in order; `page.yaml` holds the page's YAML so far."""
    config = json.loads(definitions.kubeconfig.read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = namespace
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    kubeconfig.chmod(0o600)
    for folder in ("manifests", "charts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(definitions.home), "PATH": path}
    shown: list[str] = []
    for block in (block for block in ALL if block.page == page):
        if block.language == "yaml" and not block.text.startswith("# values.yaml"):
            shown.append(block.text)
            (tmp_path / "page.yaml").write_text("---\n".join(shown))
        if block.run:
            script = "set -euo pipefail\n" + block.text
            result = subprocess.run(
                ["bash", "-c", script],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert result.returncode == 0, f"{block.text}\n{result.stdout}\n{result.stderr}"
