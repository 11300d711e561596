"""CustomResourceDefinitions: defaults and checks. What a real server refuses is refused here too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, required, unsupported, wrong
from finetune_sandbox.apiserver.jsonpath import compile_path
from finetune_sandbox.apiserver.schema.node import Node
from finetune_sandbox.apiserver.schema.structural import check_schema

from . import meta

Obj = dict[str, Any]

_COLUMN_TYPES = ["boolean", "date", "integer", "number", "string"]
_COLUMN_FORMATS = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"]
_HOISTED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
_STORED = (
    "missing from spec.versions; it was previously a storage version, and must remain in spec.versions until a storage"
    " migration ensures no data remains persisted in this version and removes the version from status.storedVersions"
)
_LARGEST_SELECTABLE = 8


def default(crd: Obj) -> None:
    """Fills in the defaults of a CRD."""
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", kind + "List")
    spec.setdefault("conversion", {"strategy": "None"})
    webhook = (spec["conversion"].get("webhook") or {}).get("clientConfig", {}).get("service")
    if webhook:
        webhook.setdefault("port", 443)


def prepare(crd: Obj) -> None:
    """A new CRD has nothing accepted yet, but its storage version counts from the start."""
    stored = [version["name"] for version in crd["spec"].get("versions") or () if version.get("storage")]
    crd["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored[:1]}


def validate(crd: Obj, old: Obj | None = None) -> Iterator[FieldError]:
    """Everything wrong with a CRD."""
    spec = crd["spec"]
    names, versions = spec.get("names") or {}, spec.get("versions") or []
    expected = f"{names.get('plural', '')}.{spec.get('group', '')}"
    if crd["metadata"].get("name") and crd["metadata"]["name"] != expected:
        yield wrong("metadata.name", 'must be spec.names.plural+"."+spec.group', crd["metadata"]["name"])
    group = spec.get("group", "")
    if not group:
        yield required("spec.group")
    else:
        yield from [wrong("spec.group", text, group) for text in meta.dns_subdomain(group)]
        if "." not in group:
            yield wrong("spec.group", "should be a domain with at least one dot", group)
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        scopes = ["Cluster", "Namespaced"]
        yield unsupported("spec.scope", spec["scope"], scopes) if spec.get("scope") else required("spec.scope")
    yield from _names(names)
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield wrong("spec.preserveUnknownFields", text, True)
    yield from _versions(crd, versions)
    yield from _bodies(versions, _rules_of(old))
    if old is not None:
        yield from _changed(spec, old["spec"])


def _names(names: Obj) -> Iterator[FieldError]:
    for key in ("plural", "singular", "kind", "listKind"):
        value = names.get(key, "")
        if not value:
            yield required(f"spec.names.{key}")
            continue
        mixed = key.lower().endswith("kind")
        opening = "may have mixed case, but should otherwise match: " if mixed else ""
        found = meta.dns_1035(value.lower() if mixed else value)
        yield from [wrong(f"spec.names.{key}", opening + text, value) for text in found]
    for key in ("shortNames", "categories"):
        for index, value in enumerate(names.get(key) or ()):
            yield from [wrong(f"spec.names.{key}[{index}]", found, value) for found in meta.dns_1035(value)]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield wrong("spec.names.listKind", "kind and listKind may not be the same", names["listKind"])


def _versions(crd: Obj, versions: list[Obj]) -> list[FieldError]:
    errors = []
    names = [version.get("name", "") for version in versions]
    for index, name in enumerate(names):
        errors += [wrong(f"spec.versions[{index}].name", text, name) for text in meta.dns_1035(name)]
    if len(set(names)) < len(names):
        errors.append(wrong("spec.versions", "must contain unique version names", versions))
    storage = [version["name"] for version in versions if version.get("storage")]
    if len(storage) != 1:
        errors.append(wrong("spec.versions", "must have exactly one version marked as storage version", versions))
    stored = (crd.get("status") or {}).get("storedVersions") or []
    if not stored:
        errors.append(wrong("status.storedVersions", "must have at least one stored version", stored))
        return errors
    for name in storage:
        if name not in stored:
            errors.append(wrong("status.storedVersions", f"must have the storage version {name}", stored))
    missing = [(index, name) for index, name in enumerate(stored) if name not in names]
    return errors + [wrong(f"status.storedVersions[{index}]", _STORED, name) for index, name in missing]


def _bodies(versions: list[Obj], known: frozenset[str]) -> Iterator[FieldError]:
    """Checks what each version says; what all versions say alike is reported once, without naming a version."""
    shared = {
        key
        for key in _HOISTED
        if len(versions) > 0 and all(version.get(key) == versions[0].get(key) for version in versions)
    }
    for index, version in enumerate(versions):
        base = f"spec.versions[{index}]"
        at = {key: "spec" if key in shared else base for key in _HOISTED}
        mine = [key for key in _HOISTED if key not in shared or index == 0]
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            yield required(f"{base}.schema.openAPIV3Schema", "schemas are required")
        elif "schema" in mine:
            where = "spec.validation.openAPIV3Schema" if "schema" in shared else f"{base}.schema.openAPIV3Schema"
            found = check_schema(schema, where, "status" in (version.get("subresources") or {}))
            yield from found
            if not any(error.field.endswith((".$ref", ".items", ".type")) for error in found):
                from finetune_sandbox.apiserver.cel.rules import check_rules

                yield from check_rules(Node(schema), where, known)
        if "additionalPrinterColumns" in mine:
            yield from _columns(
                version.get("additionalPrinterColumns") or [],
                f"{at['additionalPrinterColumns']}.additionalPrinterColumns",
            )
        if "subresources" in mine:
            yield from _scale(
                (version.get("subresources") or {}).get("scale"), f"{at['subresources']}.subresources.scale"
            )
        if "selectableFields" in mine and schema is not None:
            yield from _selectable(
                version.get("selectableFields") or [], Node(schema), f"{at['selectableFields']}.selectableFields"
            )


def _rules_of(old: Obj | None) -> frozenset[str]:
    """The rules a stored CRD already has: they are not refused for their cost or types again."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for rule in (
                value.get("x-kubernetes-validations") or ()
                if isinstance(value.get("x-kubernetes-validations"), list)
                else ()
            ):
                found.add(rule.get("rule", ""))
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk((old or {}).get("spec"))
    return frozenset(found)


def _columns(columns: list[Obj], at: str) -> Iterator[FieldError]:
    for index, column in enumerate(columns):
        here = f"{at}[{index}]"
        if not column.get("name"):
            yield required(f"{here}.name")
        kind, form, path = column.get("type", ""), column.get("format", ""), column.get("jsonPath", "")
        if not kind:
            yield required(f"{here}.type", "must be one of " + ",".join(_COLUMN_TYPES))
        elif kind not in _COLUMN_TYPES:
            yield wrong(f"{here}.type", "must be one of " + ",".join(_COLUMN_TYPES), kind)
        if form and form not in _COLUMN_FORMATS:
            yield wrong(f"{here}.format", "must be one of " + ",".join(_COLUMN_FORMATS), form)
        if not path:
            yield required(f"{here}.JSONPath")
        elif not path.startswith("."):
            yield wrong(f"{here}.JSONPath", "must be a simple json path starting with .", path)


def _scale(scale: Obj | None, at: str) -> list[FieldError]:
    if scale is None:
        return []
    errors = []
    for key, under in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status"), ("labelSelectorPath", "")):
        path = scale.get(key, "")
        if not path:
            if under:
                errors.append(required(f"{at}.{key}"))
            continue
        if not path.startswith("."):
            errors.append(wrong(f"{at}.{key}", "must be a simple json path starting with .", path))
        elif under and not path.startswith(under + "."):
            errors.append(wrong(f"{at}.{key}", f"should be a json path under {under}", path))
        elif not under and not path.startswith((".spec.", ".status.")):
            errors.append(wrong(f"{at}.{key}", "should be a json path under either .spec or .status", path))
    return errors


def _selectable(fields: list[Obj], schema: Node, at: str) -> Iterator[FieldError]:
    if len(fields) > _LARGEST_SELECTABLE:
        yield FieldError("TooMany", at, f"must have at most {_LARGEST_SELECTABLE} items", len(fields))
    seen: set[str] = set()
    for index, item in enumerate(fields):
        path, here = item.get("jsonPath", ""), f"{at}[{index}].jsonPath"
        if not path:
            yield required(here)
            continue
        if path in seen:
            yield FieldError("Duplicate", here, "", path)
        seen.add(path)
        try:
            simple = path.startswith(".") and "[" not in path and bool(compile_path(path))
        except ValueError:
            simple = False
        if not simple:
            yield wrong(here, "is an invalid path: must be a simple json path", path)
            continue
        if path == ".metadata" or path.startswith(".metadata."):
            yield wrong(here, "must not point to fields in metadata", path)
            continue
        node = schema.walk(path.strip(".").split("."))
        if node is None:
            yield wrong(here, "is an invalid path: does not refer to a valid field", path)
        elif node.type not in ("string", "boolean", "integer"):
            text = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with"
                " formats are allowed."
            )
            yield wrong(here, text, path)


def _changed(spec: Obj, old: Obj) -> list[FieldError]:
    """What may not change once the names are accepted."""
    pairs = (
        ("spec.group", spec.get("group"), old.get("group")),
        ("spec.scope", spec.get("scope"), old.get("scope")),
        ("spec.names.kind", spec["names"].get("kind"), old["names"].get("kind")),
        ("spec.names.plural", spec["names"].get("plural"), old["names"].get("plural")),
    )
    return [wrong(field, "field is immutable", new) for field, new, was in pairs if new != was]
