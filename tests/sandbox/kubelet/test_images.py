"""The images file: what it may say, and errors that name entry and field."""

import pytest
from finetune_sandbox.kubelet.environment import expand
from finetune_sandbox.kubelet.images import Image, load_images


def write(tmp_path, text):
    path = tmp_path / "images.yaml"
    path.write_text(text)
    return path


def test_images_are_read(tmp_path):
    path = write(tmp_path, "a:1: {command: [x, '2'], env: {K: v}, cwd: /srv}\nb: {command: [y]}\n")
    assert load_images(path) == {"a:1": Image(("x", "2"), {"K": "v"}, "/srv"), "b": Image(("y",))}
    assert load_images(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]", "must be a mapping of image names"),
        ("a: x", r"a: must be a mapping with command, env, cwd"),
        ("a: {comand: [x]}", r"a\.comand: unknown field"),
        ("a: {command: [x, 2]}", r"a\.command: must be a list of strings"),
        ("a: {env: {K: 1}}", r"a\.env: must map names to strings"),
        ("a: {cwd: here}", r"a\.cwd: must be an absolute path"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_images(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "value"),
    [("$(A)", "1"), ("$(B)", "$(B)"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("x$(A)y$(A)", "x1y1"), ("$A", "$A")],
)
def test_references_are_expanded(text, value):
    assert expand(text, {"A": "1"}) == value
