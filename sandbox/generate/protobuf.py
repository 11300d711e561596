"""Generates the table that decodes protobuf request bodies from the Go types of Kubernetes.

Usage: python sandbox/generate/protobuf.py GOCODE

GOCODE is the folder `usr/share/gocode/src` of Debian's packages `golang-k8s-api-dev` and `golang-k8s-apimachinery-dev`.
The tags of the Go structs say all there is to know: field number, wire type, JSON name, pointer or inlined.

The table maps a type name to its fields: `{number: [json name, kind, type, flags]}`. Kinds: `m` message, `s` string,
`b` bytes, `i` integer, `t` boolean, `d` double, `M` map. Flags: `r` repeated, `p` pointer (zero values are kept),
`n` inlined.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "finetune_sandbox/apiserver/data/protobuf.json.gz"
PACKAGES = {
    f"k8s.io/api/{group}": group.replace("/", ".")
    for group in [
        "admissionregistration/v1",
        "apps/v1",
        "authentication/v1",
        "authorization/v1",
        "autoscaling/v1",
        "autoscaling/v2",
        "batch/v1",
        "coordination/v1",
        "core/v1",
        "discovery/v1",
        "events/v1",
        "networking/v1",
        "policy/v1",
        "rbac/v1",
        "scheduling/v1",
        "storage/v1",
    ]
} | {
    "k8s.io/apimachinery/pkg/apis/meta/v1": "meta.v1",
    "k8s.io/apimachinery/pkg/runtime": "runtime",
}
WIRE = {"bytes": "s", "varint": "i", "fixed64": "d", "fixed32": "d"}
STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^\s*(?:(\w+)\s+)?([*\[\]\w.]+(?:\[[\w.]+\][*\[\]\w.]+)?)\s+`(.*?)`", re.MULTILINE)
ALIAS = re.compile(r"^type (\w+) (\[\]|map\[)?[\w.\]]+$", re.MULTILINE)


def parse(folder: Path, package: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The structs of a package with their fields, and its other named types."""
    structs: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    for source in sorted(folder.glob("*.go")):
        if source.name.endswith("_test.go") or source.name.startswith(("zz_", "generated")):
            continue
        text = re.sub(r"^\s*//.*$", "", source.read_text(), flags=re.MULTILINE)
        for found in re.finditer(r"^type (\w+) ([\[\]\w.]+)$", text, re.MULTILINE):
            aliases[f"{package}.{found[1]}"] = found[2]
        for name, body in STRUCT.findall(text):
            fields = {}
            for _, kind, tags in FIELD.findall(body):
                proto = re.search(r'protobuf:"([^"]*)"', tags)
                json_tag = re.search(r'json:"([^"]*)"', tags)
                if not proto or not json_tag or proto[1] == "-":
                    continue
                parts = proto[1].split(",")
                fields[parts[1]] = (json_tag[1].split(",")[0], kind, parts[0], "inline" in json_tag[1])
            structs[f"{package}.{name}"] = fields
    return structs, aliases


def main(gocode: str) -> None:
    """Writes the data file."""
    structs: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    for folder, package in PACKAGES.items():
        found, named = parse(Path(gocode) / folder, package)
        structs |= found
        aliases |= named
    table = {
        name: {number: describe(*field, name, structs, aliases) for number, field in fields.items()}
        for name, fields in structs.items()
    }
    table = {name: fields for name, fields in table.items() if fields}
    data = json.dumps(table, separators=(",", ":"), sort_keys=True).encode()
    TARGET.write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{len(table)} types, {len(data)} bytes, {TARGET.stat().st_size} compressed")


def describe(
    name: str, kind: str, wire: str, inline: bool, owner: str, structs: dict[str, Any], aliases: dict[str, str]
) -> list[str]:
    """One field as the decoder wants it."""
    flags = ("n" if inline else "") + ("p" if kind.startswith("*") else "")
    kind = kind.lstrip("*")
    package = owner.rpartition(".")[0]
    resolved = qualify(kind, package)
    if not kind.startswith(("[", "map")) and resolved in aliases and aliases[resolved].startswith(("[]", "map[")):
        if aliases[resolved].startswith("map[") or resolved == "core.v1.ResourceList":
            return [name, "M", qualify("resource.Quantity", package), flags]
        return [name, "m", resolved, flags]  # a named list has a message of its own
    if kind.startswith("map["):
        return [name, "M", qualify(kind.partition("]")[2].lstrip("*"), package), flags]
    if kind == "[]byte":
        return [name, "b", "", flags]
    if kind.startswith("[]"):
        flags, kind = flags + "r", kind[2:].lstrip("*")
    target = qualify(kind, package)
    if kind == "bool":
        return [name, "t", "", flags]
    if target in structs or kind.rpartition(".")[2] in (
        "Quantity",
        "IntOrString",
        "Time",
        "MicroTime",
        "RawExtension",
        "FieldsV1",
        "Duration",
    ):
        return [name, "m", target, flags]
    return [name, WIRE[wire], "", flags]


def qualify(kind: str, package: str) -> str:
    """The full name of a Go type used in a package."""
    kind = kind.lstrip("*")
    prefix, _, short = kind.rpartition(".")
    if not prefix:
        return f"{package}.{short}"
    known = {
        "metav1": "meta.v1",
        "v1": "core.v1",
        "corev1": "core.v1",
        "runtime": "runtime",
        "resource": "resource",
        "intstr": "intstr",
        "batchv1": "batch.v1",
    }
    return f"{known.get(prefix, prefix)}.{short}"


if __name__ == "__main__":
    main(sys.argv[1])
