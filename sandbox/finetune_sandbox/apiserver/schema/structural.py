"""Checks of the schemas in CRDs: a schema must be structural and its defaults must fit it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, banned, required, unsupported, wrong

from .defaults import apply_defaults
from .node import Node
from .prune import prune
from .validate import regex, validate

Raw = dict[str, Any]

_TYPES = ["array", "boolean", "integer", "number", "object", "string"]
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_STRUCTURE = ("type", "default", "title", "description", "example", "nullable", "additionalProperties")
_EXTENSION_NAMES = (
    "preserve-unknown-fields",
    "embedded-resource",
    "int-or-string",
    "list-type",
    "list-map-keys",
    "map-type",
    "validations",
)
_EXTENSIONS = tuple("x-kubernetes-" + name for name in _EXTENSION_NAMES)
_AT_ROOT = frozenset(
    [
        "description",
        "type",
        "format",
        "title",
        "maximum",
        "exclusiveMaximum",
        "minimum",
        "exclusiveMinimum",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "uniqueItems",
        "multipleOf",
        "required",
        "items",
        "properties",
        "externalDocs",
        "example",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ]
)
_SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_UNSUPPORTED = (
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
    "readOnly",
    "writeOnly",
    "xml",
    "$ref",
)


def check_schema(schema: Raw, at: str, status: bool) -> list[FieldError]:
    """Everything that makes a schema unfit for a CRD, but for its CEL rules.

    Args:
        schema: The `openAPIV3Schema` of a version.
        at: Its path.
        status: The version has the status subresource.
    """
    errors: list[FieldError] = []
    kind = schema.get("type")
    if status and kind != "object":
        text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        errors.append(wrong(f"{at}.type", text, kind or ""))
    elif status and any(schema[key] not in (None, False, [], {}) for key in schema if key not in _AT_ROOT):
        known = " ".join(sorted(_AT_ROOT))
        text = f"only [{known}] fields are allowed at the root of the schema if the status subresource is enabled"
        errors.append(wrong(at, text, schema))
    errors += _node(schema, at, root=True)
    if schema.get("additionalProperties"):
        errors.append(banned(f"{at}.additionalProperties", "must not be used at the root"))
    if kind != "object":
        found = required(f"{at}.type", "must not be empty at the root") if not kind else None
        errors.append(found or wrong(f"{at}.type", "must be object at the root", kind))
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    if set(metadata.get("properties") or ()) - {"name", "generateName"} or "additionalProperties" in metadata:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errors.append(banned(f"{at}.properties[metadata]", text))
    if not errors:
        errors += _defaults(schema, at)
    return errors


def _children(schema: Raw, at: str) -> Iterator[tuple[Raw, str]]:
    for name, child in (schema.get("properties") or {}).items():
        yield child, f"{at}.properties[{name}]"
    if isinstance(schema.get("items"), dict):
        yield schema["items"], f"{at}.items"
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"], f"{at}.additionalProperties"


def _node(schema: Raw, at: str, root: bool = False) -> list[FieldError]:
    errors: list[FieldError] = []
    errors += [
        banned(f"{at}.{key}", f"{key} is not supported") for key in _UNSUPPORTED if schema.get(key) not in (None, "")
    ]
    if errors:
        return errors
    kind = schema.get("type")
    loose = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if kind is None and not loose and not root:
        what = "array items" if at.endswith(".items") else "object fields"
        return [required(f"{at}.type", f"must not be empty for specified {what}")]
    if kind is not None and kind not in _TYPES:
        errors.append(unsupported(f"{at}.type", kind, _TYPES))
    errors += _values(schema, at)
    errors += _lists(schema, at)
    errors += _extensions(schema, at, root)
    for key in _JUNCTORS:
        for index, alternative in enumerate(schema.get(key) or ()):
            errors += _junctor(alternative, f"{at}.{key}[{index}]", bool(schema.get("x-kubernetes-int-or-string")))
    if schema.get("not"):
        errors += _junctor(schema["not"], f"{at}.not", False)
    for child, where in _children(schema, at):
        errors += _node(child, where)
    return errors


def _values(schema: Raw, at: str) -> Iterator[FieldError]:
    if schema.get("uniqueItems"):
        yield banned(
            f"{at}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    if schema.get("properties") and schema.get("additionalProperties") is not None:
        if schema["additionalProperties"] is False:
            yield banned(f"{at}.additionalProperties", "additionalProperties cannot be set to false")
        else:
            yield banned(f"{at}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if schema.get("pattern"):
        try:
            regex(schema["pattern"])
        except Exception as error:  # the class of errors of this C module is not public
            text = _regex_text(schema["pattern"], error)
            yield wrong(f"{at}.pattern", text, schema["pattern"])
    yield from [
        wrong(f"{at}.{key}", "must be greater than or equal to 0", schema[key])
        for key in _SIZES
        if (schema.get(key) or 0) < 0
    ]


def _regex_text(pattern: str, error: Exception) -> str:
    for lookaround in ("(?=", "(?!", "(?<=", "(?<!"):
        if lookaround in pattern:
            shown = lookaround[:3] if lookaround.startswith("(?<") else lookaround
            return (
                "must be a valid regular expression, but isn't: error parsing regexp: invalid or unsupported Perl"
                f" syntax: `{shown}`"
            )
    text = error.args[0] if error.args else error
    return (
        "must be a valid regular expression, but isn't: error parsing regexp:"
        f" {text.decode() if isinstance(text, bytes) else text}"
    )


def _lists(schema: Raw, at: str) -> list[FieldError]:
    errors = []
    kind, items = schema.get("type"), schema.get("items")
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if kind == "array" and items is None:
        errors.append(required(f"{at}.items", "must be specified"))
    if isinstance(items, list):
        errors.append(banned(f"{at}.items", "items must be a schema object and not an array"))
    if keys and list_type != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        errors.append(
            FieldError("Required" if not list_type else "Invalid", f"{at}.x-kubernetes-list-type", text, list_type)
        )
    if list_type is None:
        return errors
    if kind != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        errors.append(FieldError("Required" if not kind else "Invalid", f"{at}.type", text, kind or ""))
    if list_type not in ("atomic", "set", "map"):
        errors.append(unsupported(f"{at}.x-kubernetes-list-type", list_type, ["atomic", "map", "set"]))
    items = items if isinstance(items, dict) else {}
    if list_type == "map":
        errors += _keyed(items, keys, at)
    if list_type == "set" and items:
        if items.get("nullable"):
            errors.append(banned(f"{at}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set"))
        if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
            text = "must be atomic as item of a list with x-kubernetes-list-type=set"
            errors.append(wrong(f"{at}.items.x-kubernetes-map-type", text, items.get("x-kubernetes-map-type")))
        if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
            text = "must be atomic as item of a list with x-kubernetes-list-type=set"
            errors.append(wrong(f"{at}.items.x-kubernetes-list-type", text, items.get("x-kubernetes-list-type")))
    return errors


def _keyed(items: Raw, keys: list[str], at: str) -> Iterator[FieldError]:
    under = "if parent array's x-kubernetes-list-type is map"
    if not keys:
        yield required(f"{at}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
        return
    if items.get("type") != "object":
        yield wrong(f"{at}.items.type", f"must be object {under}", items.get("type"))
        return
    if items.get("nullable"):
        yield banned(f"{at}.items.nullable", "cannot be nullable when x-kubernetes-list-type is map")
    properties, always = items.get("properties") or {}, items.get("required") or ()
    for index, key in enumerate(keys):
        child, here = properties.get(key), f"{at}.items.properties[{key}]"
        if child is None:
            text = "entries must all be names of item properties"
            yield wrong(f"{at}.x-kubernetes-list-map-keys", text, keys)
            continue
        if child.get("type") in ("array", "object"):
            yield wrong(f"{here}.type", f"must be a scalar type {under}", child["type"])
        listed = "this property is in x-kubernetes-list-map-keys, so it"
        if key not in always and "default" not in child:
            yield required(f"{here}.default", f"{listed} must have a default or be a required property")
        if child.get("nullable"):
            yield banned(f"{here}.nullable", f"{listed} cannot be nullable")
        if key in keys[:index]:
            yield wrong(f"{at}.x-kubernetes-list-map-keys", "must not contain duplicate entries", keys)


def _extensions(schema: Raw, at: str, root: bool) -> Iterator[FieldError]:
    kind, map_type = schema.get("type"), schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if kind != "object":
            text = "must be object if x-kubernetes-map-type is specified"
            yield FieldError("Required" if not kind else "Invalid", f"{at}.type", text, kind or "")
        if map_type not in ("atomic", "granular"):
            yield unsupported(f"{at}.x-kubernetes-map-type", map_type, ["atomic", "granular"])
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        text = "must be true or undefined"
        yield wrong(f"{at}.x-kubernetes-preserve-unknown-fields", text, False)
    if schema.get("x-kubernetes-embedded-resource"):
        if root:
            yield banned(f"{at}.x-kubernetes-embedded-resource", "must be false at the root")
        if kind != "object":
            text = "must be object if x-kubernetes-embedded-resource is true"
            yield FieldError("Invalid" if kind else "Required", f"{at}.type", text, kind or "")
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            text = (
                "must not be empty if x-kubernetes-embedded-resource is true without"
                " x-kubernetes-preserve-unknown-fields"
            )
            yield required(f"{at}.properties", text)
    if schema.get("x-kubernetes-int-or-string") and kind is not None:
        text = "must be empty if x-kubernetes-int-or-string is true"
        yield wrong(f"{at}.type", text, kind)
    if root and schema.get("nullable"):
        yield banned(f"{at}.nullable", "nullable cannot be true at the root")


def _junctor(schema: Raw, at: str, int_or_string: bool) -> Iterator[FieldError]:
    """Inside allOf, anyOf, oneOf and not there are value checks alone."""
    for key in _STRUCTURE:
        value = schema.get(key)
        if value is None or (key == "nullable" and not value):
            continue
        if key == "type" and int_or_string and value in ("integer", "string"):
            continue
        shown = (
            "must be undefined to be structural"
            if key in ("default", "additionalProperties")
            else "must be false to be structural"
            if key == "nullable"
            else "must be empty to be structural"
        )
        yield banned(f"{at}.{key}", shown)
    for key in _EXTENSIONS:
        if schema.get(key):
            shown = (
                "must be empty to be structural"
                if key.endswith(("validations", "keys"))
                else "must be false to be structural"
                if isinstance(schema[key], bool)
                else "must be undefined to be structural"
            )
            yield banned(f"{at}.{key}", shown)
    if schema.get("$ref"):
        yield banned(f"{at}.$ref", "$ref is not supported")
    for key in _JUNCTORS:
        for index, alternative in enumerate(schema.get(key) or ()):
            yield from _junctor(alternative, f"{at}.{key}[{index}]", int_or_string)
    if schema.get("not"):
        yield from _junctor(schema["not"], f"{at}.not", int_or_string)
    for name, child in (schema.get("properties") or {}).items():
        yield from _junctor(child, f"{at}.properties[{name}]", False)
    if isinstance(schema.get("items"), dict):
        yield from _junctor(schema["items"], f"{at}.items", False)


def _defaults(schema: Raw, at: str) -> Iterator[FieldError]:
    if schema.get("default") is not None:
        yield from _default(schema, f"{at}.default")
    for child, where in _children(schema, at):
        yield from _defaults(child, where)


def _default(schema: Raw, at: str) -> list[FieldError]:
    """A default must fit its own schema once it is pruned and defaulted itself."""
    node, value, unknown = Node(schema), copy.deepcopy(schema["default"]), list[str]()
    prune(value, node, "", unknown)
    if unknown:
        return [wrong(at, "must not have unknown fields", schema["default"])]
    apply_defaults(value, node)
    found = validate(value, node, "")
    return [
        FieldError(
            error.kind, at + (f".{error.field}" if error.field not in ("", "<nil>") else ""), error.detail, error.value
        )
        for error in found
    ]
