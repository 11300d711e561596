"""What a trial reports, and to whom: `Tracker` is the whole interface, `NullTracker` the answer to `enabled: false`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .contract import GateVerdict, SuiteResult
from .quality import QualityReport

Number = bool | int | float


class Tracker(Protocol):
    """One run of an experiment tracker."""

    @property
    def run_id(self) -> str | None:
        """The run's id."""

    @property
    def run_url(self) -> str | None:
        """Address of the run's page."""

    def log(self, values: Mapping[str, Number], *, step: int | None = None) -> None:
        """Adds a point to the history.

        Args:
            values: Metrics by name.
            step: Optimiser step that they belong to.
        """

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Sets the run's final values."""

    def log_dataset(
        self, report: QualityReport, split_sizes: Mapping[str, int], error_types: Mapping[str, int]
    ) -> None:
        """Reports the data: quality, split sizes, distribution of error types."""

    def log_comparison(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Reports candidate against baseline per utterance.

        Args:
            name: Set or suite, such as `test`.
            rows: Columns `audio, seconds, error_type, reference, baseline, candidate, baseline_wer, wer, outcome`.
        """

    def log_error_types(self, rates: Mapping[str, tuple[float, float]]) -> None:
        """Reports WER per error type: candidate's and baseline's."""

    def log_suites(self, suites: Sequence[SuiteResult]) -> None:
        """Reports the regression suites."""

    def log_backlog(
        self, error_cases: int, held_out: int, corrected: int, by_type: Mapping[str, int] | None = None
    ) -> None:
        """Reports how error cases accumulate, and what share of those held out the model gets right now."""

    def log_gates(self, verdicts: Sequence[GateVerdict]) -> None:
        """Reports the gates' verdicts."""

    def use_dataset(self, name: str, uri: str, fingerprint: str, path: str | None, artifact: str | None) -> None:
        """Notes the dataset as an input of the run, for lineage."""

    def use_model(self, artifact: str) -> None:
        """Notes the base model as an input of the run, for lineage."""

    def log_model(self, name: str, folder: Path, metadata: Mapping[str, Any]) -> str | None:
        """Logs a model as an output of the run; returns its full name with version, where there is one."""

    def mark_preempting(self) -> None:
        """Tells that the process will be ended and the run wants to be continued."""

    def finish(self, exit_code: int) -> None:
        """Ends the run, after all has been sent.

        Raises:
            TrackerUnavailableError: It could not be sent.
        """


class NullTracker:
    """Reports nothing; what W&B-less use gets."""

    run_url: str | None = None

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id

    def log(self, values: Mapping[str, Number], *, step: int | None = None) -> None:
        """Does nothing."""

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Does nothing."""

    def log_dataset(
        self, report: QualityReport, split_sizes: Mapping[str, int], error_types: Mapping[str, int]
    ) -> None:
        """Does nothing."""

    def log_comparison(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Does nothing."""

    def log_error_types(self, rates: Mapping[str, tuple[float, float]]) -> None:
        """Does nothing."""

    def log_suites(self, suites: Sequence[SuiteResult]) -> None:
        """Does nothing."""

    def log_backlog(
        self, error_cases: int, held_out: int, corrected: int, by_type: Mapping[str, int] | None = None
    ) -> None:
        """Does nothing."""

    def log_gates(self, verdicts: Sequence[GateVerdict]) -> None:
        """Does nothing."""

    def use_dataset(self, name: str, uri: str, fingerprint: str, path: str | None, artifact: str | None) -> None:
        """Does nothing."""

    def use_model(self, artifact: str) -> None:
        """Does nothing."""

    def log_model(self, name: str, folder: Path, metadata: Mapping[str, Any]) -> str | None:
        """Does nothing; there is no artifact."""
        return None

    def mark_preempting(self) -> None:
        """Does nothing."""

    def finish(self, exit_code: int) -> None:
        """Does nothing."""
