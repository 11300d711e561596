"""Finds the conformance corpus; without it there is nothing to collect here."""

import os
from pathlib import Path

CORPUS = Path(os.environ.get("FINETUNE_CONFORMANCE", Path(__file__).parents[3].parent / "shared/conformance"))
FOUND = (CORPUS / "replay.py").exists()
collect_ignore = [] if FOUND else ["test_conformance.py"]


def pytest_report_header() -> str:
    if FOUND:
        return f"conformance corpus: {CORPUS}"
    return f"conformance corpus: none at {CORPUS} (FINETUNE_CONFORMANCE), its tests are not collected"
