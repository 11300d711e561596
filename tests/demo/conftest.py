from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session", params=["whisper", "ctc"])
def untaught_base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved base model that has learnt nothing: everything but the weights is as in the demo."""
    from finetune_demo import tiny_ctc, tiny_whisper

    model, processor = {"whisper": tiny_whisper, "ctc": tiny_ctc}[request.param].untaught(0)
    folder = tmp_path_factory.mktemp("bases") / request.param
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
