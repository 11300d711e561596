"""Base models that behave like pretrained ones, made once per recipe and seed, then cached.

`python -m finetune_demo.bases --family whisper --seed 0 --cache build/cache` prints the folder of the model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from finetune_demo import recipes
from finetune_demo.cache import fingerprint, made_once
from finetune_demo.signals import exit_on_signals

Family = Literal["whisper", "ctc"]


def make_base(family: Family, seed: int, cache_dir: Path, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Folder of a base model that `AutoProcessor` and the `AutoModelFor...` classes load like one from the hub.

    Args:
        family: `whisper` (encoder-decoder) or `ctc` (wav2vec 2.0).
        seed: Of initialisation, data and order.
        cache_dir: Where made models are kept.
        progress: Takes one line of text now and then.

    Raises:
        BaseNotLearntError: The model did not reach its loss.
    """
    recipe = {"whisper": recipes.WHISPER, "ctc": recipes.CTC}[family]

    def make(scratch: Path) -> None:
        from finetune_demo import tiny_ctc, tiny_whisper  # only now: a cache hit does without torch

        build = {"whisper": tiny_whisper.build, "ctc": tiny_ctc.build}[family]
        started = time.monotonic()
        build(seed, scratch, progress)
        card = {"family": family, "seed": seed, "recipe": recipe, "seconds": time.monotonic() - started}
        (scratch / "base.json").write_text(json.dumps(card, indent=2))

    return made_once(cache_dir / f"{family}-{seed}-{fingerprint(recipe)}", make)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make (or find) the base model of the demo and print its folder.")
    parser.add_argument("--family", choices=get_args(Family), default="whisper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("build/cache"))
    arguments = parser.parse_args()
    exit_on_signals()

    def progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    print(make_base(arguments.family, arguments.seed, arguments.cache, progress))


if __name__ == "__main__":
    main()
