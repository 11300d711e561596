"""Makes base model and task, or finds them in the cache, in one process: `python -m finetune_demo.prepare`.

Standard output carries a JSON document per line: `{"progress": "..."}` now and then, `{"base": DIR, "task": DIR}` last.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

from finetune_demo.bases import Family, make_base
from finetune_demo.signals import exit_on_signals
from finetune_demo.task import make_task


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--family", choices=get_args(Family), default="whisper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    exit_on_signals()

    def tell(**document: str) -> None:
        print(json.dumps(document), flush=True)

    family, seed, cache = arguments.family, arguments.seed, arguments.cache
    base = make_base(family, seed, cache, lambda line: tell(progress=f"base model, {line}"))
    tell(progress="speech task: synthesising the correction backlog, listening with the base model")
    task = make_task(base, seed, cache)
    tell(base=str(base), task=str(task))


if __name__ == "__main__":
    main()
