"""Generates the OpenAPI definitions of the built-in kinds from the package `kubernetes-validate`.

Usage: python sandbox/generate/definitions.py [VERSION]

The package carries the schemas Kubernetes publishes (Apache-2.0). They are brought back to OpenAPI 3.0 (its converter
added `null` to every type), cut to the API groups that the sandbox serves, and written to
`apiserver/data/definitions.txt.gz`: one line for each definition, with its name, kinds and schema: the
server parses only what it needs.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

TARGET = Path(__file__).parents[1] / "finetune_sandbox/apiserver/data/definitions.txt.gz"
GROUPS = [
    "admissionregistration.v1.",
    "apps.v1.",
    "authentication.v1.",
    "authorization.v1.",
    "autoscaling.v1.",
    "autoscaling.v2.",
    "batch.v1.",
    "coordination.v1.",
    "core.v1.",
    "discovery.v1.",
    "events.v1.",
    "networking.v1.",
    "policy.v1.",
    "rbac.v1.",
    "scheduling.v1.",
    "storage.v1.",
]
MACHINERY = ("io.k8s.apimachinery.", "io.k8s.apiextensions-apiserver.")


def wanted(name: str) -> bool:
    """Whether a definition belongs to a group that the sandbox serves."""
    return name.startswith(MACHINERY) or any(name.startswith("io.k8s.api." + group) for group in GROUPS)


def restore(schema: Any) -> Any:
    """One schema as Kubernetes serves it: single types, `$ref` without siblings, references by component."""
    if isinstance(schema, list):
        return [restore(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: restore(value) for key, value in schema.items() if key != "additionalProperties" or value is not False}
    if isinstance(out.get("type"), list):
        out["type"] = next(kind for kind in out["type"] if kind != "null")
    if isinstance(out.get("enum"), list):
        out["enum"] = [value for value in out["enum"] if value is not None]
    if isinstance(out.get("$ref"), str):
        reference = {"$ref": out.pop("$ref").replace("#/$defs/", "#/components/schemas/")}
        return {**out, "allOf": [reference]} if out else reference
    return out


def compact(value: Any) -> str:
    """JSON without blanks, in a fixed order."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def main(version: str = "1.37.0") -> None:
    """Writes the data file."""
    source = Path(kubernetes_validate.__file__).parent / f"kubernetes-json-schema/v{version}-local/_definitions.json"
    found = json.loads(source.read_text())["$defs"]
    out = {name: restore(schema) for name, schema in sorted(found.items()) if wanted(name)}
    out["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {
        "oneOf": [{"type": "integer"}, {"type": "string"}],
        "format": "int-or-string",
    }
    for name in ("ContainerPort", "ServicePort"):  # a key of keyed lists, whose default the published schemas leave out
        out["io.k8s.api.core.v1." + name]["properties"]["protocol"]["default"] = "TCP"
    lines = []
    for name, schema in out.items():
        kinds = [
            [kind["group"], kind["version"], kind["kind"]] for kind in schema.get("x-kubernetes-group-version-kind", ())
        ]
        lines.append("\t".join([name, compact(kinds), compact(schema)]))
    data = "\n".join(lines).encode()
    TARGET.write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{len(out)} definitions, {len(data)} bytes, {TARGET.stat().st_size} compressed")


if __name__ == "__main__":
    main(*sys.argv[1:])
