"""Selectors and JSON paths."""

import pytest
from finetune_sandbox.apiserver.errors import ApiError
from finetune_sandbox.apiserver.jsonpath import find
from finetune_sandbox.apiserver.selectors import field_selector, label_selector
from finetune_sandbox.objects import matches

LABELS = {"app": "web", "tier": "front", "n": "3", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=back", True),
        ("app in (web, db)", True),
        ("app notin (web,db)", False),
        ("missing notin (a)", True),
        ("app", True),
        ("!app", False),
        ("! missing", True),
        ("n>2,n<4", True),
        ("n>3", False),
        ("app>3", False),
        ("empty=", True),
        ("other!=x", True),
    ],
)
def test_label_selector(text, expected):
    chosen = label_selector(text)
    assert (chosen is None or chosen(LABELS)) is expected


@pytest.mark.parametrize("text", ["a b", "app=not ok", "app in web", "=x", "-a", "app=(x"])
def test_bad_label_selector(text):
    with pytest.raises(ApiError) as caught:
        label_selector(text)
    assert caught.value.code == 400


def test_field_selector():
    supported = {"metadata.name": "metadata.name", "spec.on": "spec.on"}
    obj = {"metadata": {"name": "a"}, "spec": {"on": True}}
    for text, expected in (
        ("metadata.name=a", True),
        ("metadata.name!=a", False),
        ("spec.on=true,metadata.name==a", True),
    ):
        chosen = field_selector(text, supported)
        assert chosen is not None
        assert chosen(obj) is expected
    with pytest.raises(ApiError, match=r"field label not supported: spec\.size"):
        field_selector("spec.size=3", supported)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]}, False),
        ({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}, {"key": "app", "operator": "Exists"}]}, True),
    ],
)
def test_matches(selector, expected):
    assert matches(selector, LABELS) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.size", [3]),
        (".spec.nope", []),
        (".spec.l[*].v", ["1", "2"]),
        ('.spec.l[?(@.t=="b")].v', ["2"]),
        (".spec.l[-1].v", ["2"]),
        (".metadata.annotations.a\\.b/c", ["x"]),
        ("{.spec.size}", [3]),
        (".spec.l[?(@.n>1)].t", ["b"]),
        (".spec.l[0:1].t", ["a"]),
    ],
)
def test_json_path(path, expected):
    items = [{"t": "a", "v": "1", "n": 1}, {"t": "b", "v": "2", "n": 2}]
    obj = {"metadata": {"annotations": {"a.b/c": "x"}}, "spec": {"size": 3, "l": items}}
    found = find(obj, path)
    assert found == expected or found == [expected]


def test_broken_json_path():
    with pytest.raises(ValueError, match="unexpected text"):
        find({}, ".a[")
