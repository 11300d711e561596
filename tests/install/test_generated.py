"""Generated files are what their sources say."""

import tomllib

import yaml

from charts.generate import CHART, MANIFESTS, ROOT, outputs
from tests.install.support import render


def test_nothing_is_out_of_date():
    stale = [str(path.relative_to(ROOT)) for path, text in outputs() if not path.exists() or path.read_text() != text]
    assert stale == [], "run `make chart`"


def test_the_chart_ships_each_crd_and_no_other():
    sources = {path.name for path in (MANIFESTS / "crds").glob("*.yaml")} - {"kustomization.yaml"}
    assert {path.name for path in (CHART / "files" / "crds").glob("*.yaml")} == sources


def test_rendering_changes_nothing_in_a_crd_but_its_labels_and_annotations():
    rendered = {d["metadata"]["name"]: d for d in render({}) if d["kind"] == "CustomResourceDefinition"}
    assert rendered
    for path in (CHART / "files" / "crds").glob("*.yaml"):
        source = yaml.safe_load(path.read_text())
        document = rendered.pop(source["metadata"]["name"])
        assert document["metadata"].pop("labels").items() >= source["metadata"].pop("labels", {}).items()
        assert document["metadata"].pop("annotations").items() >= source["metadata"].pop("annotations", {}).items()
        assert document == source
    assert rendered == {}


def test_the_images_are_built_from_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {package.partition("/")[0] for package in packages} <= allowed
    assert {
        "pyproject.toml",
        "constraints.txt",
        project["project"]["readme"],
        *project["project"]["license-files"],
    } <= allowed
