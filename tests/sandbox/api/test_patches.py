"""JSON patch, merge patch and strategic merge patch."""

import pytest
from finetune_sandbox.apiserver.patches import PatchError, json_patch, merge_patch, strategic_merge
from finetune_sandbox.apiserver.schema.definitions import definition
from hypothesis import given
from hypothesis import strategies as st

POD = definition("io.k8s.api.core.v1.PodSpec")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}, {"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
        (
            {"a": [1, 3]},
            [{"op": "add", "path": "/a/1", "value": 2}, {"op": "add", "path": "/a/-", "value": 4}],
            {"a": [1, 2, 3, 4]},
        ),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        (
            {"a": {"b": 1}},
            [{"op": "move", "from": "/a/b", "path": "/c"}, {"op": "copy", "from": "/c", "path": "/d"}],
            {"a": {}, "c": 1, "d": 1},
        ),
        ({"x/y": {"~": 1}}, [{"op": "replace", "path": "/x~1y/~0", "value": 2}], {"x/y": {"~": 2}}),
        ({}, [{"op": "replace", "path": "/new", "value": 1}], {"new": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch(document, operations, expected):
    assert json_patch(document, operations) == expected


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "remove", "path": "/nope"}],
        [{"op": "add", "path": "/nope/deep", "value": 1}],
        [{"op": "add", "path": "/l/9", "value": 1}],
        [{"op": "jump", "path": "/a"}],
        [{"path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "remove", "path": "/l/-1"}],
        {"op": "add"},
    ],
)
def test_json_patch_refused(operations):
    document = {"a": 1, "l": [1]}
    with pytest.raises(PatchError):
        json_patch(document, operations)
    assert document == {"a": 1, "l": [1]}


def test_merge_patch():
    assert merge_patch({"a": {"b": 1, "c": 2}, "l": [1, 2]}, {"a": {"b": None, "d": 3}, "l": [3]}) == {
        "a": {"c": 2, "d": 3},
        "l": [3],
    }


@given(json_values, json_values)
def test_merge_patch_is_idempotent(target, patch):
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


def containers(*items):
    return {"containers": list(items)}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        (
            containers({"name": "a", "image": "1"}, {"name": "b", "image": "1"}),
            containers({"name": "b", "image": "2"}),
            containers({"name": "a", "image": "1"}, {"name": "b", "image": "2"}),
        ),
        (
            containers({"name": "a"}, {"name": "b"}),
            containers({"name": "a", "$patch": "delete"}),
            containers({"name": "b"}),
        ),
        (containers({"name": "a"}), containers({"$patch": "replace"}, {"name": "c"}), containers({"name": "c"})),
        (
            containers({"name": "a"}, {"name": "b"}),
            {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], **containers({"name": "b", "image": "x"})},
            containers({"name": "b", "image": "x"}, {"name": "a"}),
        ),
        (
            containers({"name": "a", "args": ["1"]}),
            containers({"name": "a", "args": ["2"]}),
            containers({"name": "a", "args": ["2"]}),
        ),
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"a": None, "b": "2"}}, {"nodeSelector": {"b": "2"}}),
        (
            {"securityContext": {"a": 1}},
            {"securityContext": {"$patch": "replace", "b": 2}},
            {"securityContext": {"b": 2}},
        ),
    ],
)
def test_strategic_merge(target, patch, expected):
    assert strategic_merge(target, patch, POD) == expected


def test_strategic_merge_needs_the_merge_key():
    with pytest.raises(PatchError, match="merge key: name"):
        strategic_merge(containers({"name": "a"}), containers({"image": "x"}), POD)
