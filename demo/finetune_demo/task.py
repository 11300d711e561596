"""The correction backlog of the demo: wav files and manifests, as an annotation team would hand them over.

`errors/` holds what the operator is given as `spec.trainer.dataset`:

- train: utterances of voice B that the base model gets wrong, and utterances of voice A replayed beside them, so that
  learning the new voice does not cost the old one;
- validation and test: utterances of voice B as they come, right or wrong, from speakers that are in no other set.

`regression/` holds utterances of voice A, which the base model knows: what a better model must not get worse at.
Every number of a result can be traced to a file that can be listened to.

`python -m finetune_demo.task --base DIR --seed 0 --cache build/cache` prints the folder of the task.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import soundfile

from finetune_demo.cache import fingerprint, made_once
from finetune_demo.corpus import Clip, draw
from finetune_demo.signals import exit_on_signals
from finetune_demo.speech import SAMPLE_RATE, VOICE_A, VOICE_B

RECIPE_VERSION = 1


@dataclass(frozen=True)
class Sizes:
    """Utterances per set."""

    errors: int = 240
    replay: int = 240
    validation: int = 120
    test: int = 200
    regression: int = 300


def make_task(base: Path, seed: int, cache_dir: Path, sizes: Sizes = Sizes()) -> Path:
    """Folder of the task for the model in `base`: `errors/manifest.jsonl`, `regression/manifest.jsonl` and their audio.

    Args:
        base: Folder of the base model; its mistakes are the error cases.
        seed: Of texts, speakers and recordings; other than the base's own utterances whatever its value.
        cache_dir: Where made tasks are kept.
        sizes: Utterances per set.
    """
    folder = cache_dir / f"task-{base.name}-{seed}-{fingerprint([RECIPE_VERSION, asdict(sizes)])}"

    def make(scratch: Path) -> None:
        errors, drawn = _errors(base, sizes.errors, seed)
        replay = draw(VOICE_A, sizes.replay, seed, range(40, 60))
        validation = draw(VOICE_B, sizes.validation, seed, range(40, 52))
        test = draw(VOICE_B, sizes.test, seed, range(52, 72))
        regression = draw(VOICE_A, sizes.regression, seed, range(60, 80))
        heard = _hear(base, replay, validation, test, regression)
        rows = [("train", clip, said, True) for clip, said in errors]
        rows += [("train", clip, said, False) for clip, said in zip(replay, heard[0], strict=True)]
        rows += [("validation", clip, said, True) for clip, said in zip(validation, heard[1], strict=True)]
        rows += [("test", clip, said, True) for clip, said in zip(test, heard[2], strict=True)]
        write_manifest(scratch / "errors", rows)
        write_manifest(
            scratch / "regression",
            [("test", clip, said, False) for clip, said in zip(regression, heard[3], strict=True)],
        )
        card = {"base": base.name, "seed": seed, "sizes": asdict(sizes), "drawnForErrors": drawn}
        (scratch / "task.json").write_text(json.dumps(card, indent=2))

    return made_once(folder, make)


def _errors(base: Path, wanted: int, seed: int) -> tuple[list[tuple[Clip, str]], int]:
    """The first `wanted` utterances of voice B that the base gets wrong, with what it heard; and how many it took."""
    from finetune_demo.listening import transcribe

    found: list[tuple[Clip, str]] = []
    drawn = 0
    for part in count(1):
        clips = draw(VOICE_B, wanted, seed * 1000 + part, range(40))
        drawn += len(clips)
        found += [(clip, said) for clip, said in zip(clips, transcribe(base, clips), strict=True) if clip.text != said]
        if len(found) >= wanted:
            break
        if part == 20:
            raise RuntimeError(f"the base gets only {len(found)} of {drawn} utterances of the new voice wrong")
    return found[:wanted], drawn


def _hear(base: Path, *sets: list[Clip]) -> list[list[str]]:
    from finetune_demo.listening import transcribe

    heard = iter(transcribe(base, [clip for clips in sets for clip in clips]))
    return [[next(heard) for _ in clips] for clips in sets]


def write_manifest(folder: Path, rows: list[tuple[str, Clip, str, bool]]) -> None:
    """Write audio and `manifest.jsonl`; each row is (split, clip, hypothesis, whether its error type is told)."""
    (folder / "audio").mkdir(parents=True)
    lines = []
    for number, (split, clip, heard, typed) in enumerate(rows):
        audio = f"audio/{number:04d}.wav"
        soundfile.write(folder / audio, clip.samples, SAMPLE_RATE, subtype="PCM_16")
        row = {"audio": audio, "text": clip.text, "hypothesis": heard, "speaker": clip.speaker, "split": split}
        if typed:
            row["error_type"] = clip.condition
        lines.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make (or find) the speech task of a base model and print its folder.")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("build/cache"))
    arguments = parser.parse_args()
    exit_on_signals()
    print(make_task(arguments.base, arguments.seed, arguments.cache))


if __name__ == "__main__":
    main()
