"""Structural schemas: pruning, defaults, validation, and what a CRD may say."""

import pytest
from finetune_sandbox.apiserver.schema.defaults import apply_defaults
from finetune_sandbox.apiserver.schema.definitions import definition
from finetune_sandbox.apiserver.schema.node import Node
from finetune_sandbox.apiserver.schema.prune import TypeMismatchError, conform, prune
from finetune_sandbox.apiserver.schema.structural import check_schema
from finetune_sandbox.apiserver.schema.validate import validate
from hypothesis import given
from hypothesis import strategies as st

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def obj(**properties):
    return {"type": "object", "properties": properties}


def listed(items, **more):
    return {"type": "array", "items": items, **more}


def test_prune_at_every_depth():
    schema = Node(obj(a=NUMBER, l=listed(obj(b=TEXT)), m={"type": "object", "additionalProperties": obj(c=TEXT)}))
    unknown = []
    value = {"a": 1, "z": 1, "l": [{"b": "x", "y": 1}], "m": {"k": {"c": "1", "x": 2}}}
    assert prune(value, schema, "", unknown) == {"a": 1, "l": [{"b": "x"}], "m": {"k": {"c": "1"}}}
    assert sorted(unknown) == ["l[0].y", "m.k.x", "z"]


def test_conform_drops_what_go_would():
    unknown = []
    pod = {
        "metadata": {"name": "a", "labels": {}},
        "spec": {"containers": [], "nodeName": None, "bogus": 1, "securityContext": {}},
    }
    found = conform(pod, definition("io.k8s.api.core.v1.Pod"), "", unknown)
    assert found == {"metadata": {"name": "a"}, "spec": {"containers": [], "securityContext": {}}}
    assert unknown == ["spec.bogus"]


@pytest.mark.parametrize(
    "spec", [{"nodeName": 1}, {"containers": {}}, {"hostNetwork": "yes"}, {"priority": "x"}, {"securityContext": []}]
)
def test_conform_refuses_wrong_types(spec):
    with pytest.raises(TypeMismatchError):
        conform({"spec": spec}, definition("io.k8s.api.core.v1.Pod"), "", [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, {"a": 1}),
        ({"a": None, "n": None}, {"a": 1, "n": None}),
        ({"o": {}}, {"a": 1, "o": {"b": "x"}}),
        ({"l": [{}]}, {"a": 1, "l": [{"b": "y"}]}),
    ],
)
def test_defaults(value, expected):
    schema = obj(
        a={**NUMBER, "default": 1},
        n={**NUMBER, "default": 2, "nullable": True} if "n" in value else NUMBER,
        o=obj(b={**TEXT, "default": "x"}),
        l=listed(obj(b={**TEXT, "default": "y"})),
    )
    apply_defaults(value, Node(schema))
    assert value == expected


@pytest.mark.parametrize(
    ("schema", "value", "kind", "text"),
    [
        (NUMBER, "x", "TypeInvalid", "must be of type integer"),
        ({**NUMBER, "maximum": 3}, 4, "Invalid", "less than or equal to 3"),
        ({**NUMBER, "minimum": 3, "exclusiveMinimum": True}, 3, "Invalid", "greater than 3"),
        ({"type": "number", "multipleOf": 0.1}, 0.25, "Invalid", "multiple of 0.1"),
        ({**TEXT, "maxLength": 2}, "abc", "TooLong", "may not be more than 2 bytes"),
        ({**TEXT, "minLength": 2}, "a", "Invalid", "at least 2 chars"),
        ({**TEXT, "pattern": "^a+$"}, "b", "Invalid", "should match '^a+$'"),
        ({**TEXT, "enum": ["a", "b"]}, "c", "NotSupported", '"a", "b"'),
        ({**TEXT, "format": "date-time"}, "today", "Invalid", "must be of type date-time"),
        (listed(TEXT, maxItems=1), ["a", "b"], "TooMany", "at most 1 items"),
        (listed(TEXT, **{"x-kubernetes-list-type": "set"}), ["a", "a"], "Duplicate", ""),
        ({**obj(a=TEXT), "required": ["b"]}, {"a": "x"}, "Required", ""),
        ({"x-kubernetes-int-or-string": True}, 1.5, "TypeInvalid", "integer,string"),
        ({**NUMBER, "format": "int32"}, 1 << 31, "TypeInvalid", "int32"),
        ({**TEXT, "not": {"enum": ["x"]}}, "x", "Invalid", "must not validate"),
        ({**TEXT, "anyOf": [{"enum": ["x"]}, {"enum": ["y"]}]}, "z", "Invalid", "anyOf"),
    ],
)
def test_validate(schema, value, kind, text):
    errors = validate(value, Node(schema), "f")
    assert errors
    assert errors[0].kind == kind
    assert text in errors[0].message()


def test_what_did_not_change_is_not_complained_about():
    schema = Node(obj(a={**NUMBER, "maximum": 3}, b={**NUMBER, "maximum": 3}))
    assert [error.field for error in validate({"a": 9, "b": 9}, schema, "", {"a": 9, "b": 1})] == ["b"]


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"minimum": 1}, "type"),
        ({"type": "array"}, "items"),
        (listed(TEXT, uniqueItems=True), "uniqueItems"),
        ({**obj(a=TEXT), "additionalProperties": TEXT}, "additionalProperties"),
        ({**TEXT, "pattern": "(?=a)"}, "pattern"),
        ({**TEXT, "default": 1}, "default"),
        ({**obj(a=TEXT), "default": {"b": 1}}, "default"),
        (listed(TEXT, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}), "items.type"),
        (listed(obj(n=TEXT), **{"x-kubernetes-list-type": "set"}), "items.x-kubernetes-map-type"),
        ({**TEXT, "anyOf": [{"type": "string"}]}, "anyOf[0].type"),
        ({**TEXT, "oneOf": [{"description": "x"}]}, "oneOf[0].description"),
        ({"type": "text"}, "type"),
        ({"$ref": "#/x"}, "$ref"),
        ({**TEXT, "x-kubernetes-map-type": "atomic"}, "type"),
        ({"type": "string", "x-kubernetes-int-or-string": True}, "type"),
        ({"type": "object", "x-kubernetes-embedded-resource": True}, "properties"),
    ],
)
def test_schemas_that_are_refused(schema, field):
    errors = check_schema(obj(f=schema), "s", status=False)
    assert [error.field for error in errors] == [f"s.properties[f].{field}"]


@given(
    st.sampled_from(
        [
            TEXT,
            NUMBER,
            listed(TEXT),
            obj(a=TEXT),
            {"type": "object", "additionalProperties": NUMBER},
            {"x-kubernetes-int-or-string": True},
        ]
    )
)
def test_plain_schemas_are_fine(schema):
    assert check_schema(obj(f=schema), "s", status=True) == []


def root(**more):
    return {"type": "object", "properties": {"spec": {"type": "object"}}, **more}


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (root(oneOf=[{"required": ["spec"]}]), ["s"]),
        (root(nullable=True), ["s", "s.nullable"]),
        ({"type": "object", "additionalProperties": TEXT}, ["s", "s.additionalProperties"]),
        (root(required=["spec"]), []),
    ],
)
def test_roots(schema, fields):
    assert [error.field for error in check_schema(schema, "s", status=True)] == fields


def test_the_two_ways_to_write_int_or_string():
    both = [{"type": "integer"}, {"type": "string"}]
    for form in ({"anyOf": both}, {"allOf": [{"anyOf": both}]}):
        schema = {"x-kubernetes-int-or-string": True, **form}
        assert check_schema(obj(f=schema), "s", status=True) == []
        assert validate("50%", Node(schema), "f") == []
        assert validate(7, Node(schema), "f") == []


def test_a_default_of_null_is_none():
    schema = {**NUMBER, "default": None}
    assert check_schema(obj(f=schema), "s", status=True) == []
    value = {}
    apply_defaults(value, Node(obj(f=schema)))
    assert value == {}
