"""Generates the CRDs from the pydantic models: `python -m finetune_operator.crdgen [--check] FOLDER`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from finetune_operator import api

_PRINTED_BY_BOTH_LAST: list[dict[str, Any]] = [
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Message", "type": "string", "priority": 1, "jsonPath": '.status.conditions[?(@.type=="Ready")].message'},
]
_STATE: dict[str, Any] = {
    "name": "State",
    "type": "string",
    "description": "Reason of the Ready condition.",
    "jsonPath": '.status.conditions[?(@.type=="Ready")].reason',
}
_MODEL: dict[str, Any] = {"name": "Model", "type": "string", "priority": 1, "jsonPath": ".spec.trainer.model.name"}

_SWEEPRUN_COLUMNS: list[dict[str, Any]] = [
    _STATE,
    {"name": "Best", "type": "number", "description": "Best metric.", "jsonPath": ".status.bestRun.value"},
    {"name": "Done", "type": "integer", "description": "Finished trials.", "jsonPath": ".status.trials.succeeded"},
    {"name": "Trials", "type": "integer", "description": "Trials of the round.", "jsonPath": ".status.estimate.trials"},
    {"name": "Agents", "type": "integer", "description": "Active agents.", "jsonPath": ".status.activeAgents"},
    {"name": "GPU-hours", "type": "string", "jsonPath": ".status.usage.gpuHours"},
    {"name": "URL", "type": "string", "priority": 1, "jsonPath": ".status.sweep.url"},
    _MODEL,
    *_PRINTED_BY_BOTH_LAST,
]
_FINETUNEJOB_COLUMNS: list[dict[str, Any]] = [
    _STATE,
    {"name": "WER", "type": "number", "description": "Word error rate.", "jsonPath": ".status.metrics.wer"},
    {"name": "Baseline", "type": "number", "jsonPath": ".status.metrics.baselineWer"},
    {"name": "Promotion", "type": "string", "jsonPath": ".status.promotion.state"},
    {"name": "GPU-hours", "type": "string", "jsonPath": ".status.usage.gpuHours"},
    {"name": "URL", "type": "string", "priority": 1, "jsonPath": ".status.run.url"},
    _MODEL,
    *_PRINTED_BY_BOTH_LAST,
]


def _structural(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A pydantic JSON schema as a Kubernetes structural schema: references inlined, optional unions unwrapped."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[1]]
        return _structural({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, definitions)
    if "anyOf" in schema:
        (variant,) = (option for option in schema["anyOf"] if option.get("type") != "null")
        return _structural({**variant, **{k: v for k, v in schema.items() if k != "anyOf"}}, definitions)
    preserved = schema.get("x-kubernetes-preserve-unknown-fields", False)
    result: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "title":
                continue
            case "const":
                result["enum"] = [value]
            case "additionalProperties":
                if isinstance(value, dict) and not preserved:
                    result[key] = _structural(value, definitions)
            case "default":
                if value is not None and not (preserved and not value):
                    result[key] = _without_nulls(value)
            case "exclusiveMinimum" | "exclusiveMaximum":
                result["m" + key.removeprefix("exclusiveM")] = value
                result[key] = True
            case "properties":
                result[key] = {name: _structural(item, definitions) for name, item in value.items()}
            case "items":
                result[key] = _structural(value, definitions)
            case "description":
                result[key] = " ".join(value.split())
            case _:
                result[key] = value
    return result


def _without_nulls(value: Any) -> Any:
    """An absent field must stay absent in a default: null is not a value of its type."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode=mode)
    return _structural(schema, schema.get("$defs", {})) | {}


def _strip(schema: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in keys}


def _without_defaults(schema: Any) -> Any:
    """Status is written whole: defaults there would only make the API server add fields to it."""
    if isinstance(schema, dict):
        return {
            key: {name: _without_defaults(item) for name, item in value.items()}
            if key == "properties"
            else _without_defaults(value)
            for key, value in schema.items()
            if key != "default"
        }
    return schema


def crd(
    kind: str,
    short_name: str,
    spec: type[BaseModel],
    status: type[BaseModel],
    columns: list[dict[str, Any]],
    scale: dict[str, str] | None,
) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    singular = kind.lower()
    subresources: dict[str, Any] = {"status": {}}
    if scale:
        subresources["scale"] = scale
    schema = {
        "type": "object",
        "description": (spec.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "finetune.dev/v1alpha1."},
            "kind": {"type": "string", "description": f"{kind}."},
            "metadata": {"type": "object"},
            "spec": _strip(_schema(spec, "validation"), "$defs"),
            "status": _without_defaults(_strip(_schema(status, "validation"), "$defs")),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.{api.GROUP}", "labels": {"app.kubernetes.io/part-of": "finetune-operator"}},
        "spec": {
            "group": api.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": f"{singular}s",
                "singular": singular,
                "shortNames": [short_name],
                "categories": ["finetune"],
            },
            "versions": [
                {
                    "name": api.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns,
                    "subresources": subresources,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def crds() -> dict[str, dict[str, Any]]:
    """All CRDs by file name."""
    return {
        "finetune.dev_sweepruns.yaml": crd(
            "SweepRun",
            "swr",
            api.SweepRunSpec,
            api.SweepRunStatus,
            _SWEEPRUN_COLUMNS,
            {
                "specReplicasPath": ".spec.parallelism",
                "statusReplicasPath": ".status.activeAgents",
                "labelSelectorPath": ".status.selector",
            },
        ),
        "finetune.dev_finetunejobs.yaml": crd(
            "FinetuneJob", "ftj", api.FinetuneJobSpec, api.FinetuneJobStatus, _FINETUNEJOB_COLUMNS, None
        ),
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(manifest: dict[str, Any]) -> str:
    """YAML of a generated manifest, byte for byte reproducible."""
    header = "# Generated from the pydantic models of finetune_operator.api by `make manifests`; do not edit.\n"
    return header + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def main(argv: list[str] | None = None) -> int:
    """Writes the CRDs into a folder, or with --check tells whether they are up to date (exit code 1 if not)."""
    parser = argparse.ArgumentParser(prog="finetune_operator.crdgen", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs from the models")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args(argv)
    stale = []
    for name, manifest in crds().items():
        path, text = arguments.folder / name, render(manifest)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if arguments.check and stale:
        print(f"differ from the models: {', '.join(stale)}; run `make manifests`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
