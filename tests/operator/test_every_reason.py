"""Each reason of the reference is provoked for real by some test, and by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest
from finetune_cli.reasons import REASONS

FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "install")


def marks(test: FunctionType) -> Iterator[pytest.Mark]:
    """A test's own marks, and those of its parameters."""
    for mark in getattr(test, "pytestmark", ()):
        yield mark
        if mark.name == "parametrize":
            for value in mark.args[1]:
                yield from getattr(value, "marks", ())


def test_each_reason_has_a_test_that_provokes_it():
    """The fixture `provoked` checks for each test so marked that a watch has shown what its marks name."""
    named: set[str] = set()
    for path in (path for folder in FOLDERS for path in folder.glob("test_*.py") if "provokes(" in path.read_text()):
        module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
        tests = [value for name, value in vars(module).items() if name.startswith("test_")]
        named |= {reason for test in tests for mark in marks(test) if mark.name == "provokes" for reason in mark.args}
    assert named == REASONS.keys()
