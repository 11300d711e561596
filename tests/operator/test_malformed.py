"""Malformed resources: refused at apply, or stalled, with a message that names the field; never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from finetune_sandbox.testing import RequestFailedError

from tests.operator.support.process import API, Lab, OperatorProcess, holds, ready

TRAINER: dict[str, Any] = {"model": {"name": "m"}, "dataset": {"uri": "/d"}}


def trainer(**changes: Any) -> dict[str, Any]:
    return {"trainer": {**TRAINER, **changes}}


def parameters(**space: Any) -> dict[str, Any]:
    return {"preset": "none", "parameters": space, "trainer": TRAINER}


BOTH: list[tuple[dict[str, Any], str]] = [
    ({}, "spec.trainer"),
    ({"trainer": {}}, "spec.trainer.model"),
    ({"trainer": {"model": {"name": "m"}}}, "spec.trainer.dataset"),
    (trainer(model={}), "spec.trainer.model.name"),
    (trainer(model={"name": ""}), "spec.trainer.model.name"),
    (trainer(model="whisper"), "spec.trainer.model"),
    (trainer(dataset={}), "spec.trainer.dataset.uri"),
    (trainer(dataset={"uri": "/d", "minErrorCases": 0}), "spec.trainer.dataset.minErrorCases"),
    (trainer(dataset={"uri": "/d", "minErrorCases": "many"}), "spec.trainer.dataset.minErrorCases"),
    (trainer(dataset={"uri": "/d", "split": {"train": 0.5, "validation": 0.1, "test": 0.1}}), "must sum to 1"),
    (trainer(dataset={"uri": "/d", "split": {"train": 1.5}}), "spec.trainer.dataset.split.train"),
    (trainer(dataset={"uri": "/d", "normalizer": "mine"}), "spec.trainer.dataset.normalizer"),
    (trainer(regressionSuites=[{"name": "s"}]), "spec.trainer.regressionSuites[0].uri"),
    (trainer(regressionSuites=[{"name": "S S", "uri": "/s"}]), "spec.trainer.regressionSuites[0].name"),
    (trainer(regressionSuites=[{"name": "s", "uri": "/s", "maxDegradation": 0.1}]), "maxDegradation"),
    (trainer(regressionSuites=[{"name": "s", "uri": "/s", "maxDegradation": "2"}]), "maxDegradation"),
    (trainer(regressionSuites={"name": "s"}), "spec.trainer.regressionSuites"),
    (trainer(resources={"gpus": -1}), "spec.trainer.resources.gpus"),
    (trainer(resources={"gpus": 1.5}), "spec.trainer.resources.gpus"),
    (trainer(resources={"gpus": 1, "gpuResource": "gpu"}), "spec.trainer.resources.gpuResource"),
    (trainer(resources={"cpu": "four"}), "spec.trainer.resources.cpu"),
    (trainer(resources={"memory": "16 GB"}), "spec.trainer.resources.memory"),
    (trainer(nodes=0), "spec.trainer.nodes"),
    (trainer(nodes=1000), "spec.trainer.nodes"),
    (trainer(checkpoints={}), "spec.trainer.checkpoints.claimName"),
    (trainer(checkpoints={"claimName": "c", "everySteps": 0}), "spec.trainer.checkpoints.everySteps"),
    (trainer(queueName="Not A Name"), "spec.trainer.queueName"),
    (trainer(image=""), "spec.trainer.image"),
    (trainer(imagePullPolicy="Sometimes"), "spec.trainer.imagePullPolicy"),
    (trainer(seed=-1), "spec.trainer.seed"),
    (trainer(ttlSecondsAfterFinished=-1), "spec.trainer.ttlSecondsAfterFinished"),
    (trainer(podTemplate=[]), "spec.trainer.podTemplate"),
    (trainer(podTemplate={"template": {}}), "spec.trainer.podTemplate"),
    (trainer(podTemplate={"spec": {"containers": [{"image": "x"}]}}), "spec.trainer.podTemplate: spec.containers"),
    (trainer(podTemplate={"metadata": {"labels": {"a": 1}}}), "spec.trainer.podTemplate: metadata.labels"),
    (trainer() | {"suspend": "yes"}, "spec.suspend"),
    (trainer() | {"wandb": {"baseURL": "not a url"}}, "spec.wandb.baseURL"),
    (trainer() | {"wandb": {"project": "a b"}}, "spec.wandb.project"),
    (trainer() | {"wandb": {"apiKeySecretRef": {"name": "No"}}}, "spec.wandb.apiKeySecretRef.name"),
    (trainer() | {"wandb": {"apiKeySecretRef": {"key": ""}}}, "spec.wandb.apiKeySecretRef.key"),
    (trainer() | {"promotion": {"gates": {"minImprovement": "5%"}}}, "spec.promotion.gates.minImprovement"),
    (trainer() | {"promotion": {"gates": {"significance": 0.05}}}, "spec.promotion.gates.significance"),
    (trainer() | {"promotion": {"approval": "Maybe"}}, "spec.promotion.approval"),
    (trainer() | {"promotion": {"registry": {}}}, "spec.promotion.registry.model"),
    (trainer() | {"promotion": {"registry": {"model": "m", "aliases": []}}}, "spec.promotion.registry.aliases"),
]
SWEEP: list[tuple[dict[str, Any], str]] = [
    (trainer(nodes=2), "trainer.nodes above 1"),
    (trainer() | {"method": "annealing"}, "spec.method"),
    (trainer() | {"metric": {"goal": "down"}}, "spec.metric.goal"),
    (trainer() | {"metric": {"name": "two words"}}, "spec.metric.name"),
    (trainer() | {"preset": "huge"}, "spec.preset"),
    (trainer() | {"preset": "none"}, "parameters is required"),
    (trainer() | {"trials": 0}, "spec.trials"),
    (trainer() | {"trials": 10_001}, "spec.trials"),
    (trainer() | {"parallelism": -1}, "spec.parallelism"),
    (trainer() | {"budget": {"gpuHours": 40}}, "spec.budget.gpuHours"),
    (trainer() | {"budget": {"wallClock": "2 days"}}, "spec.budget.wallClock"),
    (trainer() | {"budget": {"failedTrials": 0}}, "spec.budget.failedTrials"),
    (trainer() | {"trials": 20, "stages": [{"name": "a", "trials": 50}]}, "a stage must not have more trials"),
    (trainer() | {"stages": [{"name": "a", "trials": 5}, {"name": "a", "trials": 5}]}, "names of stages must differ"),
    (trainer() | {"stages": [{"name": "a", "trials": 5, "refine": {}}]}, "spec.stages[0].refine"),
    (trainer() | {"stages": [{"name": "a", "trials": 5, "minExpectedGain": "2"}]}, "spec.stages[0].minExpectedGain"),
    (trainer() | {"continuous": {"newErrorCases": 9, "trials": 1}}, "spec.continuous.trials"),
    (trainer() | {"stages": [{"trials": 5}]}, "spec.stages[0].name"),
    (trainer() | {"continuous": {}}, "spec.continuous.newErrorCases"),
    (trainer() | {"specialise": {"by": "speaker"}}, "spec.specialise.by"),
    (trainer() | {"earlyTerminate": {"type": "median"}}, "spec.earlyTerminate"),
    (trainer() | {"method": "grid"}, "spec.parameters"),
    (parameters(lr={"values": [1]}), "spec.parameters.lr"),
    (parameters(epochs=3), "spec.parameters.epochs"),
    (parameters(epochs={"min": 5, "max": 1}), "spec.parameters.epochs"),
    (parameters(epochs={"values": []}), "spec.parameters.epochs"),
    (parameters(epochs={"distribution": "zipf"}), "spec.parameters.epochs"),
    (parameters(epochs={"parameters": {"a": {"value": 1}}}), "spec.parameters.epochs"),
    (parameters(learning_rate={"distribution": "log_uniform_values", "min": 0, "max": 1}), "learning_rate"),
]
JOB: list[tuple[dict[str, Any], str]] = [
    (trainer() | {"hyperparameters": {"lr": 1}}, "spec.hyperparameters.lr"),
    (trainer() | {"hyperparameters": {"epochs": [1, 2]}}, "spec.hyperparameters.epochs"),
    (trainer() | {"hyperparameters": "default"}, "spec.hyperparameters"),
    (trainer() | {"hyperparameters": {"epochs": 1}, "hyperparametersFrom": {"sweepRunRef": {"name": "x"}}}, "exclude"),
    (trainer() | {"hyperparametersFrom": {}}, "spec.hyperparametersFrom.sweepRunRef"),
    (
        trainer() | {"hyperparametersFrom": {"sweepRunRef": {"name": "Not"}}},
        "spec.hyperparametersFrom.sweepRunRef.name",
    ),
    (trainer() | {"retry": {"limit": -1}}, "spec.retry.limit"),
]
CASES = [(kind, *case) for kind in ("SweepRun", "FinetuneJob") for case in BOTH]
CASES += [("SweepRun", *case) for case in SWEEP] + [("FinetuneJob", *case) for case in JOB]


def submit(lab: Lab, kind: str, name: str, spec: dict[str, Any]) -> RequestFailedError | None:
    body = {"apiVersion": "finetune.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    try:
        lab.cluster.api("POST", f"{API}/{lab.namespace}/{kind.lower()}s", body, {"fieldValidation": "Strict"})
    except RequestFailedError as error:
        return error
    return None


@pytest.mark.slow
def test_every_malformed_resource_is_told_its_field(lab: Lab, operator: OperatorProcess):
    accepted = []
    for number, (kind, spec, fragment) in enumerate(CASES):
        refusal = submit(lab, kind, f"bad-{number}", spec)
        if refusal is None:
            accepted.append((kind, f"bad-{number}", fragment))
            continue
        assert refusal.code in (400, 422), (spec, refusal.status)
        assert fragment in refusal.status["message"], (spec, refusal.status["message"])
    assert len(CASES) >= 60
    for kind, name, fragment in accepted:
        status = lab.await_condition(kind, name, "Stalled", 30)
        assert ready(status)["reason"] == "InvalidSpec"
        assert fragment in ready(status)["message"], ready(status)["message"]
        assert not holds(status, "Reconciling")
    assert lab.jobs() == []
    assert "Traceback" not in operator.log.read_text()


@pytest.mark.parametrize("kind", ["SweepRun", "FinetuneJob"])
def test_unknown_fields_are_refused(lab: Lab, kind: str):
    body = lab.manifest(kind, "typo")
    body["spec"]["trainer"]["resorces"] = {}
    with pytest.raises(RequestFailedError, match="resorces"):
        lab.cluster.api("POST", f"{API}/{lab.namespace}/{kind.lower()}s", body, {"fieldValidation": "Strict"})


@pytest.mark.parametrize("kind", ["SweepRun", "FinetuneJob"])
def test_a_project_is_immutable(lab: Lab, kind: str):
    lab.create(kind, "moved", suspend=True)
    with pytest.raises(RequestFailedError, match="project is immutable"):
        lab.patch(kind, "moved", {"spec": {"wandb": {"project": "elsewhere"}}})
