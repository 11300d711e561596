"""Pure builders: Jobs, trial documents, sweep configurations, merges, patches."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from finetune_operator import conditions, hyperparameters, jobs, names, podtemplate, stages, sweepconfig, trial
from finetune_operator.api import FinetuneJobSpec, SweepRunSpec, presets
from finetune_operator.api.base import parse_duration
from finetune_trainer.contract import TrialConfig
from finetune_trainer.hyperparameters import Hyperparameters

from tests.operator.support.world import ADDRESS, TRAINER, sweep_run

GOLDEN = Path(__file__).parent / "golden"
OWNER = trial.Identity("FinetuneJob", "team", "final", "0c1d", 3)


def request(mode: str = "train", **trainer: Any) -> jobs.JobRequest:
    spec = FinetuneJobSpec.model_validate({"trainer": {**TRAINER, **trainer}})
    return jobs.JobRequest(
        owner=OWNER,
        name="final-r1-1",
        document=trial.train_document(spec, OWNER, ADDRESS, {"epochs": 2}, 1),
        mode=mode,
        round=1,
        stage=0,
        attempt=1,
        parallelism=spec.trainer.nodes,
        trainer=spec.trainer,
        image="trainer:1",
        tracker=ADDRESS,
        api_key=spec.wandb.api_key_secret_ref,
    )


CASES = {
    "train": request(),
    "agent": request("agent", resources={"gpus": 2, "cpu": "3500m", "memory": "8Gi"}, queueName="speech"),
    "distributed": request(nodes=2, resources={"gpus": 8}, checkpoints={"claimName": "ckpt"}),
    "overrides": request(
        podTemplate={
            "metadata": {"annotations": {"team": "speech"}},
            "spec": {
                "nodeSelector": {"gpu": "h100"},
                "containers": [{"name": "trainer", "env": [{"name": "HF_HOME", "value": "/hub"}]}],
                "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
            },
        }
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_job_golden(case: str):
    path, made = GOLDEN / f"{case}.yaml", jobs.job(CASES[case])
    if os.environ.get("UPDATE_GOLDEN"):  # rewrites the files: look at the difference before you commit it
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(made, sort_keys=False))
    assert made == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("case", CASES)
def test_pods_are_restricted_and_the_key_is_only_referred_to(case: str):
    pod = jobs.job(CASES[case])["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False
    key = next(entry for entry in container["env"] if entry["name"] == "WANDB_API_KEY")
    assert key == {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "api-key"}}}


def test_the_trainer_reads_what_the_operator_writes():
    spec = FinetuneJobSpec.model_validate(
        {
            "trainer": {
                **TRAINER,
                "regressionSuites": [{"name": "old", "uri": "/s"}],
                "checkpoints": {"claimName": "c", "everySteps": 7},
            },
            "promotion": {"gates": {"minImprovement": "0.05", "maxErrorTypeDegradation": "0.1"}},
        }
    )
    document = trial.train_document(spec, OWNER, ADDRESS, {"epochs": 2}, 1)
    template = jobs.job(replace(request(), document=document))["spec"]["template"]
    (item,) = template["spec"]["volumes"][0]["downwardAPI"]["items"]
    key = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
    read = TrialConfig.model_validate_json(template["metadata"]["annotations"][key])
    assert read == document
    assert read.gates.max_error_type_degradation == 0.1
    assert read.checkpoints
    assert read.checkpoints.every_steps == 7
    assert item["path"] == "trial.json"


def test_the_hyperparameters_are_the_trainers():
    assert set(Hyperparameters.model_fields) == hyperparameters.NAMES


@pytest.mark.parametrize("preset", ["finetuning", "minimal"])
@pytest.mark.parametrize("method", ["random", "bayes"])
@pytest.mark.parametrize("model", ["openai/whisper-small", "facebook/wav2vec2-base-960h", "/models/ours"])
def test_presets_are_sound_sweeps(preset: str, method: str, model: str):
    trainer = TRAINER | {"model": {"name": model}}
    spec = SweepRunSpec.model_validate({"preset": preset, "method": method, "trainer": trainer})
    assert sweepconfig.problem(spec) is None
    assert spec.cap == (5 if preset == "minimal" else 20)
    assert (sweepconfig.early_terminate(spec, stages.of(spec)[0]) is not None) == (preset == "finetuning")
    for key, value in stages.parameters(spec).items():
        Hyperparameters.parse({key: value["values"][0] if "values" in value else value["min"]})


@pytest.mark.parametrize(
    ("changes", "raced"),
    [
        ({}, {"type": "hyperband", "min_iter": 1, "eta": 3}),
        ({"preset": "minimal"}, None),
        ({"earlyTerminate": {}}, None),
        ({"earlyTerminate": {"type": "hyperband", "min_iter": 2}}, {"type": "hyperband", "min_iter": 2}),
    ],
)
def test_challengers_race_what_is_in_service_unless_the_spec_says_otherwise(changes: dict[str, Any], raced: Any):
    spec = SweepRunSpec.model_validate({"continuous": {"newErrorCases": 1, "trials": 5}, "trainer": TRAINER, **changes})
    found = {"learning_rate": 1e-5, "batch_size": 16, "epochs": 8}
    incumbent, challengers = stages.adaptation(spec, found)
    assert (incumbent.trials, challengers.trials) == (1, 4)
    assert sweepconfig.early_terminate(spec, incumbent) == (changes.get("earlyTerminate") or None)
    assert sweepconfig.early_terminate(spec, challengers) == raced
    if "batch_size" in challengers.parameters:  # of the same length, step by step: else it would be no race
        assert [challengers.parameters[key]["values"] for key in ("batch_size", "epochs")] == [[16], [8]]


def test_what_explain_says_of_the_presets_is_what_they_contain():
    text = presets.describe()
    for model in ("whisper-small", "wav2vec2-base", "ours"):
        for name in ("finetuning", "minimal"):
            for key, block in presets.preset(name, model).parameters.items():
                assert key in text
                numbers = block.get("values") or [block["min"], block["max"]]
                assert all(f"{number:g}" in text for number in numbers), (name, key)
    assert presets.family("facebook/hubert-large-ls960-ft") == "ctc"


@pytest.mark.parametrize(
    ("spec", "fragment"),
    [
        ({"parameters": {"lr": {"values": [1]}}}, "spec.parameters.lr: unknown hyperparameter"),
        ({"parameters": {"epochs": 3}}, "spec.parameters.epochs: must be an object"),
        ({"parameters": {"epochs": {"values": []}}}, "spec.parameters.epochs"),
        ({"parameters": {"epochs": {"vals": [1]}}}, "spec.parameters.epochs"),
        ({"parameters": {"epochs": {"min": 5, "max": 1}}}, "spec.parameters.epochs: min 5 is above max 1"),
        ({"parameters": {"epochs": {"parameters": {"a": {"value": 1}}}}}, "nested"),
        ({"parameters": {"epochs": {"values": [1, 2], "probabilities": [1]}}}, "probabilities"),
        (
            {"parameters": {"learning_rate": {"distribution": "log_uniform_values", "min": -1, "max": 1}}},
            "learning_rate",
        ),
        ({"earlyTerminate": {"type": "median"}}, "spec.earlyTerminate: needs type hyperband"),
        ({"method": "grid"}, "spec.parameters.learning_rate: a grid needs values"),
        ({"parameters": {"learning_rate": None}}, "at least one parameter"),
    ],
)
def test_bad_searches_name_the_key(spec: dict[str, Any], fragment: str):
    message = sweepconfig.problem(SweepRunSpec.model_validate({**sweep_run(), **spec}))
    assert message
    assert fragment in message


def test_the_sweep_configuration():
    spec = SweepRunSpec.model_validate(
        sweep_run(preset="minimal", trials=7, parameters={"epochs": None, "dropout": {"value": 0}})
    )
    config = sweepconfig.build(spec, stages.of(spec)[0], "ns/x", "token")
    assert config["parameters"].keys() == {"learning_rate", "dropout"}
    assert (config["run_cap"], config["description"], config["method"]) == (7, "token", "random")
    assert "early_terminate" not in config


@pytest.mark.parametrize(
    ("template", "fragment"),
    [
        ({}, None),
        ({"spec": {"nodeSelector": {"a": "b"}}}, None),
        ({"specs": {}}, "specs"),
        ({"spec": []}, "spec must be an object"),
        ({"metadata": {"name": "x"}}, "metadata.name"),
        ({"metadata": {"labels": {"a": 1}}}, "metadata.labels"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers"),
        ({"spec": {"containers": [{"name": "trainer", "env": [{"value": "1"}]}]}}, "every item of env needs name"),
    ],
)
def test_pod_template_checks(template: dict[str, Any], fragment: str | None):
    message = podtemplate.check(template)
    assert (message is None) if fragment is None else (message and fragment in message)


def test_strategic_merge():
    base = {
        "a": 1,
        "env": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}],
        "args": ["train"],
        "tolerations": [{"key": "k"}],
    }
    over = {
        "a": None,
        "env": [{"name": "y", "value": "3"}],
        "args": ["other"],
        "tolerations": [{"key": "k"}, {"key": "l"}],
    }
    assert podtemplate.merge(base, over) == {
        "env": [{"name": "x", "value": "1"}, {"name": "y", "value": "3"}],
        "args": ["other"],
        "tolerations": [{"key": "k"}, {"key": "l"}],
    }


@pytest.mark.parametrize(
    ("current", "wanted", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, {"a": {"y": 3}}),
        ({"l": [1]}, {"l": [1, 2]}, {"l": [1, 2]}),
    ],
)
def test_merge_patch(current: dict[str, Any], wanted: dict[str, Any], patch: dict[str, Any]):
    assert conditions.merge_patch(current, wanted) == patch


@pytest.mark.parametrize(("name", "suffix"), [("x", "r1-1"), ("a" * 253, "r12-3"), ("a.b." * 60, "best")])
def test_child_names_are_dns_labels(name: str, suffix: str):
    made = names.child_name(name, suffix)
    assert len(made) <= 63
    assert made.endswith(f"-{suffix}")
    assert "." not in made


def test_long_names_do_not_collide():
    assert names.child_name("a" * 100 + "1", "r1") != names.child_name("a" * 100 + "2", "r1")


@pytest.mark.parametrize(("cpu", "threads"), [(None, 1), ("500m", 1), ("1", 1), ("3500m", 4), ("2.5", 3), ("16", 16)])
def test_threads(cpu: str | None, threads: int):
    assert jobs.cpu_threads(cpu) == threads


@pytest.mark.parametrize(("text", "seconds"), [("48h", 172800), ("1d12h", 129600), ("90s", 90), ("2h30m", 9000)])
def test_durations(text: str, seconds: int):
    assert parse_duration(text).total_seconds() == seconds
