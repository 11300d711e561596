"""Rules for the metadata that every object has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, banned, required, wrong
from finetune_sandbox.apiserver.resources import Resource

LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end"
    " with an alphanumeric"
    " character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start"
    " and end with an"
    " alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character,"
    " and end with an"
    " alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_PART_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character"
    " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an"
    " alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_ANNOTATIONS_LIMIT = 256 * 1024
_STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes", "customresourcecleanup.apiextensions.k8s.io")

NameRule = Callable[[str], list[str]]


def dns_label(name: str) -> list[str]:
    """What is wrong with an RFC 1123 label."""
    return _fits(name, LABEL_1123, _LABEL_TEXT, 63)


def dns_subdomain(name: str) -> list[str]:
    """What is wrong with an RFC 1123 subdomain."""
    return _fits(name, SUBDOMAIN_1123, _SUBDOMAIN_TEXT, 253)


def dns_1035(name: str) -> list[str]:
    """What is wrong with an RFC 1035 label."""
    return _fits(name, LABEL_1035, _1035_TEXT, 63)


def path_segment(name: str) -> list[str]:
    """What is wrong with a name that must merely fit into a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in name]


def qualified_name(key: str) -> list[str]:
    """What is wrong with a label or annotation key."""
    prefix, slash, name = key.rpartition("/")
    found = []
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            found += ["prefix part " + text for text in dns_subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 characters")
    if not _NAME_PART.fullmatch(name):
        found.append(_PART_TEXT)
    return found


def label_value(value: str) -> list[str]:
    """What is wrong with the value of a label."""
    found = ["must be no more than 63 characters"] if len(value) > 63 else []
    return found if _LABEL_VALUE.fullmatch(value) else [*found, _VALUE_TEXT]


def _fits(name: str, pattern: re.Pattern[str], text: str, limit: int) -> list[str]:
    found = [f"must be no more than {limit} characters"] if len(name) > limit else []
    return found if pattern.fullmatch(name) else [*found, text]


_NAME_RULES: dict[str, NameRule] = {
    "namespaces": dns_label,
    "services": dns_label,
    "roles": path_segment,
    "rolebindings": path_segment,
    "clusterroles": path_segment,
    "clusterrolebindings": path_segment,
    "events": dns_subdomain,
}


def labels(found: dict[str, str] | None, field: str) -> Iterator[FieldError]:
    """Checks a map of labels."""
    for key, value in (found or {}).items():
        yield from [wrong(field, text, key) for text in qualified_name(key)]
        yield from [wrong(field, text, value) for text in label_value(str(value))]


def validate(resource: Resource, obj: dict[str, Any]) -> list[FieldError]:
    """Checks the metadata of a new or changed object."""
    meta, errors = obj["metadata"], []
    name = meta.get("name")
    rule = dns_subdomain if resource.custom is not None else _NAME_RULES.get(resource.plural, dns_subdomain)
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [wrong("metadata.name", text, name) for text in rule(name)]
    errors += labels(meta.get("labels"), "metadata.labels")
    annotations = meta.get("annotations") or {}
    for key in annotations:
        errors += [wrong("metadata.annotations", text, key) for text in qualified_name(key.lower())]
    if sum(len(key) + len(value) for key, value in annotations.items()) > _ANNOTATIONS_LIMIT:
        errors.append(FieldError("TooLong", "metadata.annotations", f"may not be more than {_ANNOTATIONS_LIMIT} bytes"))
    errors += _owners(meta.get("ownerReferences") or [])
    for index, finalizer in enumerate(meta.get("finalizers") or []):
        where = f"metadata.finalizers[{index}]" if resource.custom is None else "metadata.finalizers"
        errors += [wrong(where, text, finalizer) for text in qualified_name(finalizer)]
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(wrong(where, text, finalizer))
    return errors


def _owners(owners: list[dict[str, Any]]) -> list[FieldError]:
    errors, controllers = [], []
    field = "metadata.ownerReferences"
    for owner in owners:
        for key, text in (
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):
            if not owner.get(key):
                errors.append(wrong(f"{field}.{key}", text, owner.get(key, "")))
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        text = (
            f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]} and'
            f" {controllers[1]}"
        )
        errors.append(wrong(field, text, owners))
    return errors


def validate_update(resource: Resource, obj: dict[str, Any], old: dict[str, Any]) -> list[FieldError]:
    """Checks what may not change in metadata."""
    new, was, errors = obj["metadata"], old["metadata"], []
    times = 2 if resource.custom is not None else 1  # custom resources are checked by two layers, and say so twice
    for key in ("name", "uid", "creationTimestamp"):
        if new.get(key) != was.get(key):
            errors += [wrong(f"metadata.{key}", "field is immutable", new.get(key))] * times
    if was.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers") or ()) - set(was.get("finalizers") or ()))
        if added:
            shown = "[]string{" + ", ".join(f'"{item}"' for item in added) + "}"
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
            errors += [banned("metadata.finalizers", text)] * times
    return errors
