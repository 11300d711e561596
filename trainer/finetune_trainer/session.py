"""What all trials of one process share: the base model, the features of every set, and the baseline's scores."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .alignment import infer_error_type
from .contract import RegressionSuite, TrialConfig
from .control import Control
from .distributed import Topology
from .errors import BadConfigError, BadDataError
from .evaluation import Score, score, transcribe
from .features import Example, prepare
from .frontend import can_precompute, fits_memory, precompute
from .hyperparameters import Hyperparameters
from .manifest import Manifest, SplitName, read_manifest
from .models import Base, load_base
from .normalizers import Normalizer, normalizer
from .quality import QualityReport, check_rows
from .split import split_utterances

log = logging.getLogger(__name__)


@dataclass
class Session:
    """The warm part of a trainer process.

    Attributes:
        config: The trial contract.
        topology: This process among its peers.
        control: Where requests to end arrive.
        base: The model in service.
        manifest: The error cases, as read.
        report: Their quality.
        sets: Usable examples per split.
        suites: Regression suites with their examples.
    """

    config: TrialConfig
    topology: Topology
    control: Control
    base: Base
    manifest: Manifest
    report: QualityReport
    sets: dict[SplitName, list[Example]]
    suites: list[tuple[RegressionSuite, list[Example]]]
    normalize: Normalizer
    _baselines: dict[tuple[str, bool], Score] = field(default_factory=dict, repr=False)
    _error_types: dict[SplitName, list[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        config: TrialConfig,
        topology: Topology,
        control: Control,
        download_artifact: Callable[[str], tuple[str, str]] | None = None,
        manifests: Mapping[str, Manifest] | None = None,
    ) -> Session:
        """Loads the base model and all data.

        Args:
            config: The trial contract.
            topology: This process among its peers.
            control: Where requests to end arrive.
            download_artifact: Fetches W&B artifacts; None where no tracker is configured.
            manifests: Manifests that were read already, by URI.

        Raises:
            BadConfigError: The model cannot be used.
            BadDataError: The dataset cannot be used.
            PreemptedError: SIGTERM came meanwhile.
        """
        known = manifests or {}

        def manifest_of(uri: str) -> Manifest:
            return known[uri] if uri in known else read_manifest(uri, download_artifact)

        manifest = manifest_of(config.dataset.uri)
        base = load_base(config.model, download_artifact)
        topology.check(control)
        report = QualityReport(config.dataset.uri)
        examples = _examples(manifest, base, report, topology)
        topology.check(control)
        if report.error_cases < config.dataset.min_error_cases:
            raise BadDataError(
                f"dataset.minErrorCases: {report.error_cases} usable error cases, {config.dataset.min_error_cases} are "
                f"required; {report.summary()}."
            )
        sets = _split(examples, config)
        suites = []
        for suite in config.regression_suites:
            suite_report = QualityReport(suite.uri)
            suite_examples = _examples(manifest_of(suite.uri), base, suite_report, topology)
            if not suite_examples:
                raise BadDataError(f"regressionSuites {suite.name}: no row is usable; {suite_report.summary()}.")
            if any(issue.excluded for issue in suite_report.issues):
                log.warning("Regression suite %s: %s.", suite.name, suite_report.summary())
            suites.append((suite, suite_examples))
        log.info("%s; %s.", report.summary(), ", ".join(f"{name}: {len(rows)}" for name, rows in sets.items()))
        normalize = normalizer(config.dataset.normalizer)
        return cls(config, topology, control, base, manifest, report, sets, suites, normalize)

    def sets_to_score(self) -> dict[str, list[Example]]:
        """All sets on which candidate and baseline are compared, by metric prefix."""
        scored = {"validation": self.sets["validation"], "test": self.sets["test"]}
        return scored | {f"regression/{suite.name}": examples for suite, examples in self.suites}

    def base_for(self, hyperparameters: Hyperparameters) -> Base:
        """The checkpoint as a trial starts from it: for shorter inputs, or with its front end computed already.

        Raises:
            BadConfigError: A clip is longer than the wanted input.
        """
        if hyperparameters.input_seconds is not None:
            self._check_input(hyperparameters.input_seconds)
            return self.base.shortened(hyperparameters.input_seconds)
        frozen = hyperparameters.freeze_feature_encoder or hyperparameters.freeze_encoder
        return self._precomputed_base if frozen else self.base

    def precompute(self, base: Base, examples: list[Example]) -> None:
        """Computes what the base wants to have been computed."""
        if base.precomputed:
            precompute(self.base, examples, self.topology.device)

    def baseline(self, name: str, *, precomputed: bool = True) -> Score:
        """The untouched model's score on a set, computed once.

        Args:
            name: One of `sets_to_score`.
            precomputed: Hear the set as a trial with a frozen front end does, so that like is compared with like.
        """
        base = self._precomputed_base if precomputed else self.base
        if (name, base.precomputed) not in self._baselines:
            model = base.build().to(self.topology.device)
            for other in self.sets_to_score():
                self._baselines[other, base.precomputed] = self.evaluate(model, other, base=base)
        return self._baselines[name, base.precomputed]

    def evaluate(self, model: Any, name: str, *, with_loss: bool = False, base: Base | None = None) -> Score:
        """A model's score on a set; `base` is what it was made from, when that is not the model in service itself."""
        examples = self.sets_to_score()[name]
        base = base or self.base
        self.precompute(base, examples)
        transcripts = transcribe(
            model, base, examples, topology=self.topology, control=self.control, with_loss=with_loss
        )
        return score(transcripts, examples, self.normalize)

    @cached_property
    def _precomputed_base(self) -> Base:
        seconds = sum(example.seconds for example in self._everything())
        if can_precompute(self.base) and fits_memory(self.base, seconds):
            return dataclasses.replace(self.base, precomputed=True)
        return self.base

    def _everything(self) -> list[Example]:
        return [example for rows in (self.sets["train"], *self.sets_to_score().values()) for example in rows]

    def _check_input(self, seconds: int) -> None:
        longest = max(self._everything(), key=lambda example: example.seconds)
        if longest.seconds > seconds:
            cut = f"{longest.utterance.audio} of {longest.seconds:.2f} s"
            raise BadConfigError(f"hyperparameters.input_seconds {seconds} cuts {cut}; raise it.")

    def error_types(self, name: SplitName) -> list[str]:
        """The error type of each utterance of a set: the row's own, or inferred from its hypothesis or baseline's."""
        if name not in self._error_types:
            types = []
            for example, baseline in zip(self.sets[name], self.baseline(name).hypotheses, strict=True):
                row = example.utterance
                said = baseline if row.hypothesis is None else self.normalize(row.hypothesis)
                types.append(row.error_type or infer_error_type(self.normalize(row.text), said))
            self._error_types[name] = types
        return self._error_types[name]

    @cached_property
    def error_type_counts(self) -> dict[str, int]:
        """Distribution of error types over all used rows that tell or allow to infer one."""
        counts: Counter[str] = Counter()
        for examples in self.sets.values():
            for example in examples:
                row = example.utterance
                if row.error_type:
                    counts[row.error_type] += 1
                elif row.hypothesis is not None:
                    counts[infer_error_type(self.normalize(row.text), self.normalize(row.hypothesis))] += 1
        return dict(counts.most_common())

    def fingerprint(self, hyperparameters: str) -> str:
        """Hash of all that decides the course of a training."""
        parts = (self.config.model.model_dump_json(), self.manifest.fingerprint, str(self.config.seed), hyperparameters)
        return hashlib.sha256("\n".join((*parts, str(self.topology.size))).encode()).hexdigest()[:16]


def threads() -> int:
    """CPU threads that this process may use: `OMP_NUM_THREADS`, which the operator sets from the pod's cpu request."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(wanted)) if wanted.isdigit() else max(1, len(os.sched_getaffinity(0)))


def _examples(manifest: Manifest, base: Base, report: QualityReport, topology: Topology) -> list[Example]:
    rows = check_rows(manifest.utterances, report)
    return prepare(rows, base, report, device=topology.device, threads=threads())


def _split(examples: list[Example], config: TrialConfig) -> dict[SplitName, list[Example]]:
    by_row = {example.utterance.row: example for example in examples}
    sets = split_utterances([example.utterance for example in examples], config.dataset.split)
    return {name: [by_row[utterance.row] for utterance in rows] for name, rows in sets.items()}
