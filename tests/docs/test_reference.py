"""The reference pages say what their sources say, and the table of reasons knows every reason of the operator."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from finetune_cli.reasons import REASONS
from finetune_trainer.contract import FailureClass

ROOT = Path(__file__).parents[2]
OPERATOR = ROOT / "operator" / "finetune_operator"
REASON_GIVEN = re.compile(
    r"(?:Problem|\b_?(?:progress|progressing|stalled|fail|failed|finish|complete|suspended))\(\s*"
    r"(?:(?:self\.)?status,\s*)?\"([A-Z][A-Za-z]+)\""
)


def generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["api.md", "reasons.md", "cli.md", "metrics.md"])
def test_a_reference_page_is_what_its_sources_say(name):
    text = (ROOT / "docs" / "reference" / name).read_text()
    assert text == generator().pages()[name], "run `python docs/generate.py`"


def test_every_reason_of_the_operator_is_explained():
    found = {m.group(1) for file in OPERATOR.glob("*.py") for m in REASON_GIVEN.finditer(file.read_text())}
    found |= {str(failure) for failure in FailureClass}
    assert len(found) > 15
    assert found - set(REASONS) == set()


def test_every_link_leads_somewhere():
    for page in [*ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
