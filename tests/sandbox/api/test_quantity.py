"""Quantities."""

from decimal import Decimal

import pytest
from finetune_sandbox.apiserver.schema.definitions import definition
from finetune_sandbox.apiserver.schema.prune import conform
from finetune_sandbox.quantity import parse, render
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        ("500m", Decimal("0.5")),
        ("2Gi", 2 << 30),
        ("1k", 1000),
        ("1e3", 1000),
        ("1.5", Decimal("1.5")),
        ("-2", -2),
        (".5", Decimal("0.5")),
    ],
)
def test_parse(text, amount):
    assert parse(text) == amount


@pytest.mark.parametrize("text", ["", "x", "1Q", "1 Gi", "Gi", "1e"])
def test_no_quantity(text):
    with pytest.raises(ValueError, match="quantities must match"):
        parse(text)


@given(st.integers(0, 10**15), st.sampled_from(["", "m", "1Gi", "1"]))
def test_render_keeps_the_amount(number, like):
    assert parse(render(Decimal(number) / 1000, like)) == Decimal(number) / 1000
    assert parse(render(Decimal(number), like)) == number


@pytest.mark.parametrize(
    ("given", "shown"),
    [("1000m", "1"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1000", "1k"), ("1536Mi", "1536Mi"), (2, "2"), ("0", "0")],
)
def test_canonical_form(given, shown):
    node = definition("io.k8s.apimachinery.pkg.api.resource.Quantity")
    assert conform(given, node, "", []) == shown
