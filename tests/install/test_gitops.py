"""Argo CD's health script and Flux's expressions, run on statuses that the operator's own code writes."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

import cel
import lupa
import pytest
import yaml
from finetune_operator import lifecycle
from finetune_operator.api.finetunejob import FinetuneJobStatus
from finetune_operator.api.status import PromotionStatus
from finetune_operator.api.sweeprun import SweepRunStatus

from tests.install.support import MANIFESTS, Json, load_all, render, schema_errors

GITOPS = MANIFESTS / "gitops"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PHASES = {
    "unseen": (None, "Progressing", "InProgress"),
    "accepted": (("progressing", "Accepted", "The search starts."), "Progressing", "InProgress"),
    "running": (("progressing", "Running", "3 of 20 trials done, 4 agents running."), "Progressing", "InProgress"),
    "waiting": (("progressing", "SecretMissing", "Secret wandb does not exist."), "Progressing", "InProgress"),
    "suspended": (("suspended", "Suspended by spec.suspend."), "Suspended", "Current"),
    "invalid": (("stalled", "InvalidSpec", "spec.parameters: ..."), "Degraded", "Failed"),
    "failed": (("failed", "BadData", "3 usable rows, minErrorCases is 100."), "Degraded", "Failed"),
    "complete": (("complete", "SweepFinished", "20 trials."), "Healthy", "Current"),
}


def resource(
    kind: str, call: tuple[str, ...] | None, promotion: PromotionStatus | None = None, generation: int = 2
) -> Json:
    """A custom resource as the API server holds it after the operator's status write on generation 2."""
    status = (SweepRunStatus if kind == "SweepRun" else FinetuneJobStatus)()
    if call is not None:
        name, *arguments = call
        status = getattr(lifecycle, name)(status, *arguments, 2, NOW)
    if promotion is not None:
        status = lifecycle.promoted(status.model_copy(update={"promotion": promotion}), 2, NOW)
    body: Json = {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", "generation": generation},
        "spec": {},
    }
    dumped = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return {**body, "status": dumped} if dumped else body


def argocd(body: Json) -> dict[str, str]:
    """The script out of argocd-cm, in an interpreter as bare as Argo CD's (no io, no os)."""
    settings = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text())
    script = settings["data"][f"resource.customizations.health.finetune.dev_{body['kind']}"]
    runtime = lupa.LuaRuntime(register_eval=False)
    runtime.execute("io, os, package, require, debug = nil, nil, nil, nil, nil")
    runtime.globals().obj = runtime.table_from(body, recursive=True)
    return dict(runtime.execute(script))


def flux(body: Json) -> str:
    """As Flux does: in progress, failed, current, the first that holds; an expression that errs keeps it waiting."""
    (kustomization,) = load_all((GITOPS / "flux" / "kustomization.yaml").read_text())
    (rules,) = [rule for rule in kustomization["spec"]["healthCheckExprs"] if rule["kind"] == body["kind"]]
    for key, verdict in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        try:
            if cel.evaluate(rules[key], body):
                return verdict
        except (RuntimeError, ValueError):  # no such field
            return "InProgress"
    return "InProgress"


@pytest.mark.parametrize("kind", ["SweepRun", "FinetuneJob"])
@pytest.mark.parametrize("phase", PHASES)
def test_health(kind, phase):
    call, in_argocd, in_flux = PHASES[phase]
    body = resource(kind, call)
    health = argocd(body)
    assert health["status"] == in_argocd
    assert flux(body) == in_flux
    if call is not None:
        assert call[-1] in health["message"]


@pytest.mark.parametrize("kind", ["SweepRun", "FinetuneJob"])
@pytest.mark.parametrize("phase", [phase for phase in PHASES if PHASES[phase][0]])
def test_a_status_of_an_earlier_generation_says_nothing(kind, phase):
    body = resource(kind, PHASES[phase][0], generation=3)
    assert (argocd(body)["status"], flux(body)) == ("Progressing", "InProgress")


@pytest.mark.parametrize(
    ("state", "in_argocd"),
    [("Promoted", "Healthy"), ("Rejected", "Healthy"), ("RolledBack", "Healthy"), ("AwaitingApproval", "Suspended")],
)
def test_promotion_shows(state, in_argocd):
    promotion = PromotionStatus(state=state, reason="Improvement 0.3.")
    body = resource("SweepRun", ("complete", "SweepFinished", "20 trials."), promotion)
    health = argocd(body)
    assert health["status"] == in_argocd
    assert "Improvement 0.3." in health["message"]
    assert flux(body) == "Current"


def test_a_resumed_resource_is_in_progress_again():
    suspended = lifecycle.suspended(SweepRunStatus(), "Suspended by spec.suspend.", 2, NOW)
    resumed = lifecycle.progressing(suspended, "Starting", "Agents are starting.", 2, NOW)
    body = resource("SweepRun", None)
    body["status"] = resumed.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    assert (argocd(body)["status"], flux(body)) == ("Progressing", "InProgress")


def test_manifests_point_at_what_exists():
    applications = {a["metadata"]["name"]: a for a in load_all((GITOPS / "argocd" / "application.yaml").read_text())}
    source = applications["finetune-operator"]["spec"]["source"]
    (_, release) = load_all((GITOPS / "flux" / "operator.yaml").read_text())
    for path, values in (
        (source["path"], source["helm"]["valuesObject"]),
        (release["spec"]["chart"]["spec"]["chart"], release["spec"]["values"]),
    ):
        assert (MANIFESTS.parent / path / "Chart.yaml").exists()
        assert render(values)


def test_the_settings_patch_argocd(tmp_path):
    (tmp_path / "cm.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm, namespace: argocd}\ndata: {url: https://argocd}\n"
    )
    component = tmp_path / "argocd"
    component.mkdir()
    for name in ("kustomization.yaml", "argocd-cm.yaml"):
        (component / name).write_text((GITOPS / "argocd" / name).read_text())
    (tmp_path / "kustomization.yaml").write_text("resources: [cm.yaml]\ncomponents: [argocd]\n")
    built = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=True, timeout=60)
    (settings,) = load_all(built.stdout)
    assert schema_errors([settings], "1.33") == []
    assert settings["data"].keys() == {
        "url",
        "resource.customizations.health.finetune.dev_FinetuneJob",
        "resource.customizations.health.finetune.dev_SweepRun",
    }
