"""The overlays build offline, are valid, and say the same as the chart."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from charts.generate import without_helm
from tests.install.support import (
    KUBERNETES,
    MANIFESTS,
    Json,
    load_all,
    of_kind,
    pod_specs,
    render,
    schema_errors,
    security_errors,
)

OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())


def kustomize(folder: Path) -> list[Json]:
    built = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert built.returncode == 0, built.stderr
    return load_all(built.stdout)


@pytest.fixture(scope="module")
def built() -> dict[str, list[Json]]:
    return {name: kustomize(MANIFESTS / "overlays" / name) for name in OVERLAYS}


def by_name(documents: list[Json]) -> dict[tuple[str, str], Json]:
    return {(d["kind"], d["metadata"]["name"]): without_helm(d) for d in documents}


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_are_valid(built, name):
    for version in KUBERNETES:
        assert schema_errors(built[name], version) == []
    assert {pod: security_errors(spec) for pod, spec in pod_specs(built[name]) if security_errors(spec)} == {}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("namespaced", {"rbac": {"aggregate": False}}),
        ("cluster-wide", {"scope": {"mode": "Cluster"}}),
    ],
)
def test_overlays_say_what_the_chart_says(built, name, values):
    chart = by_name([d for d in render(values) if "helm.sh/hook" not in d["metadata"].get("annotations", {})])
    overlay = by_name(built[name])
    overlay.pop(("Namespace", "finetune-system"))
    crds = {key for key in chart if key[0] == "CustomResourceDefinition"}
    assert overlay.keys() == chart.keys()
    assert {key: overlay[key] for key in overlay.keys() - crds} == {key: chart[key] for key in chart.keys() - crds}
    assert {key: overlay[key]["spec"] for key in crds} == {key: chart[key]["spec"] for key in crds}


def test_air_gapped_has_no_way_out(built):
    documents = built["air-gapped"]
    for policy in of_kind(documents, "NetworkPolicy"):
        ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
        everywhere = {
            port["port"] for rule in policy["spec"]["egress"] if "to" not in rule for port in rule.get("ports", [])
        }
        assert everywhere <= {53, 443, 6443}, policy["metadata"]["name"]
        if policy["metadata"]["name"] == "finetune-trainer":
            assert ports == {53, 8080}
    images = {c["image"] for _, spec in pod_specs(documents) for c in spec["containers"]}
    assert all(image.startswith("registry.internal/") for image in images)
    (deployment,) = of_kind(documents, "Deployment")
    env = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    services = {s["metadata"]["name"]: s for s in of_kind(documents, "Service")}
    assert env["FINETUNE_TRAINER_IMAGE"].startswith("registry.internal/")
    assert env["FINETUNE_WANDB_BASE_URL"] == "http://finetune-operator-tracker.finetune-system.svc:8080"
    assert services["finetune-operator-tracker"]["spec"]["ports"][0]["port"] == 8080
    assert of_kind(documents, "Secret") == []


def test_another_namespace(tmp_path):
    (tmp_path / "manifests").symlink_to(MANIFESTS)
    overlay = tmp_path / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("namespace: speech\nresources: [../manifests/overlays/namespaced]\n")
    documents = kustomize(overlay)
    assert {d["metadata"].get("namespace") for d in documents} <= {"speech", None}
    assert {s["namespace"] for d in of_kind(documents, "RoleBinding") for s in d["subjects"]} == {"speech"}
    assert [d["metadata"]["name"] for d in of_kind(documents, "Namespace")] == ["speech"]
