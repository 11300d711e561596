"""The dataset's version and size: from an annotation, a W&B artifact, or a manifest on a volume."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from finetune_operator import names
from finetune_operator.actions import Problem
from finetune_operator.errors import EdgeError
from finetune_operator.facts import DatasetFacts
from finetune_operator.hub import ProjectPoller

_ARTIFACT = "wandb-artifact://"
_COUNTS = ("error_cases", "rows")
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_LOOK_EVERY = 30.0
_HELP = f"annotate the resource with {names.ERROR_CASES_ANNOTATION}=NUMBER whenever the data grows"


def annotated(annotations: Mapping[str, str]) -> DatasetFacts | None:
    """What the annotation tells; None without one."""
    text = annotations.get(names.ERROR_CASES_ANNOTATION)
    if text is None:
        return None
    if not text.strip().isdecimal():
        return DatasetFacts(problem=f"The annotation {names.ERROR_CASES_ANNOTATION} is no whole number: {text[:40]!r}.")
    return DatasetFacts(version=f"annotation:{int(text)}", cases=int(text))


def local_path(uri: str) -> Path | None:
    """The file or folder that a URI names here; None for one that lies elsewhere."""
    path = uri.removeprefix("file://")
    return Path(path) if path.startswith("/") else None


class Datasets:
    """Looks at datasets, each at most every half minute."""

    def __init__(self) -> None:
        self._artifacts: dict[str, tuple[float, DatasetFacts]] = {}
        self._counted: dict[Path, tuple[tuple[int, int], int]] = {}

    async def look(self, uri: str, project: ProjectPoller | Problem) -> DatasetFacts:
        """The dataset at a URI.

        Args:
            uri: The dataset.
            project: The tracker that an artifact is in, or why it cannot be asked.
        """
        if uri.startswith(_ARTIFACT):
            return await self._artifact(uri, project)
        path = local_path(uri)
        if path is None:
            return DatasetFacts(problem=f"The operator cannot count the rows of {uri[:200]}; {_HELP}.")
        return await asyncio.to_thread(self._manifest, path)

    async def _artifact(self, uri: str, project: ProjectPoller | Problem) -> DatasetFacts:
        now = asyncio.get_running_loop().time()
        if (known := self._artifacts.get(uri)) is not None and now - known[0] < _LOOK_EVERY:
            return known[1]
        if isinstance(project, Problem):
            return DatasetFacts(problem=project.message)
        try:
            entity = project.address.entity or await project.client.default_entity()
            found = await project.client.read_artifact(entity, project.address.project, uri)
        except EdgeError as error:
            return DatasetFacts(problem=str(error))
        if found is None:
            facts = DatasetFacts(problem=f"The artifact {uri[:200]} does not exist.")
        else:
            version, metadata = found
            cases = next((metadata[key] for key in _COUNTS if isinstance(metadata.get(key), int)), None)
            help_text = (
                None if cases is not None else f"Artifact {version} has no metadata error_cases or rows; {_HELP}."
            )
            facts = DatasetFacts(version=version, cases=cases, problem=help_text)
        self._artifacts[uri] = (now, facts)
        return facts

    def _manifest(self, path: Path) -> DatasetFacts:
        try:
            if path.is_dir():  # stands for its manifest, as for the trainer
                found = sorted(each for each in path.iterdir() if each.suffix in _JSON_LINES)
                path = next((each for each in found if each.stem == "manifest"), found[0] if len(found) == 1 else path)
            if path.suffix not in _JSON_LINES:
                return DatasetFacts(problem=f"The operator counts the rows of JSONL manifests alone; {_HELP}.")
            stat = path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if self._counted.get(path, (None, 0))[0] != mark:
                with path.open("rb") as lines:
                    self._counted[path] = (mark, sum(1 for line in lines if line.strip()))
        except OSError as error:
            fix = f"mount the volume into the operator too, or {_HELP}"
            return DatasetFacts(problem=f"{path}: {error.strerror}: {fix}.")
        return DatasetFacts(version=f"{mark[0]}-{mark[1]}", cases=self._counted[path][1])
