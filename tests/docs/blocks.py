"""The code blocks of the documentation, and the checks that each command must pass."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import yaml
from finetune_cli.app import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(p for p in ROOT.glob("docs/**/*.md") if "reference" not in p.parts),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    ]
)
_FENCE = re.compile(r"^```(\w*) ?(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELL = {
    "export",
    "cd",
    "source",
    "git",
    "docker",
    "curl",
    "jq",
    "python",
    "pip",
    "buildah",
    "flux",
    "argocd",
    "sha256sum",
}
_KUBECTL = {
    *("annotate", "apply", "auth", "config", "cordon", "cp", "create", "delete", "describe", "drain", "edit", "events"),
    *("exec", "explain", "get", "kustomize", "label", "logs", "patch", "port-forward", "rollout", "run", "scale"),
    *("taint", "top", "uncordon", "wait"),
}


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    run: bool
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0][:50]}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for match in _FENCE.finditer(page.read_text()):
            yield Block(page, match.group(1), match.group(2) == "run", match.group(3))


def commands(text: str) -> list[str]:
    """The commands of a shell block, continuation lines joined, without comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def check(command: str) -> None:
    """Holds a command to its program: a flag or target that does not exist fails."""
    first = re.split(r"\s\|\s|\s&&\s|\s>\s", command)[0]
    words = shlex.split(first)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program, *arguments = words
    if program == "finetune" or words[:2] == ["kubectl", "finetune"]:
        _check_finetune(arguments if program == "finetune" else arguments[1:])
    elif program == "kubectl":
        verb = next(word for word in arguments if not word.startswith("-"))
        assert verb in _KUBECTL, f"kubectl has no {verb}"
        for flag in ("-f", "-k"):
            if flag in arguments and not re.match(r"https?:|-$", target := arguments[arguments.index(flag) + 1]):
                assert (ROOT / target).exists() or "/" not in target, f"{target} does not exist"
        if verb == "kustomize":
            assert (ROOT / arguments[-1]).exists()
    elif program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        wanted = [word for word in arguments if "=" not in word and not word.startswith("-")]
        assert set(wanted) <= targets, f"make has no {set(wanted) - targets}"
    elif program == "helm":
        _check_helm(arguments)
    else:
        assert program in _SHELL or program.startswith(("finetune-", ".venv/")), f"what is {program}?"


def _check_finetune(arguments: list[str]) -> None:
    name, *rest = arguments
    root = click.Context(cli, **cli.context_settings)
    command = cli.get_command(root, name)
    assert command is not None, f"finetune has no {name}"
    command.make_context(name, list(rest), parent=root)  # raises on an unknown option or a missing argument


def _check_helm(arguments: list[str]) -> None:
    charts = [word for word in arguments if word.startswith(("charts/", "./charts/"))]
    for chart in charts:
        assert (ROOT / chart / "Chart.yaml").exists(), f"no chart {chart}"
    values = yaml.safe_load((ROOT / "charts" / "finetune-operator" / "values.yaml").read_text())
    for flag, value in itertools.pairwise(arguments):
        if flag in ("--set", "--set-string"):
            for key in re.findall(r"(?:^|,)([A-Za-z.]+)=", value):
                found = values
                for part in key.split("."):
                    assert isinstance(found, dict), f"no value {key}"
                    assert part in found or not found, f"no value {key}"
                    found = found.get(part, {})
