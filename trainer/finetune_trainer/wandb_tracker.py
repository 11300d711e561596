"""Reports a trial to W&B; usable alone, with nothing else of this package.

    tracker = WandbTracker.start(Tracking(project="speech"), config={"learning_rate": 1e-5})
    tracker.log({"train/loss": 0.3}, step=1)
    tracker.finish(0)

The API key comes from `WANDB_API_KEY` alone. Metric names are those of docs/design.md.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from .charts import pie_chart
from .contract import ExitCode, GateVerdict, SuiteResult, Tracking
from .errors import TrackerUnavailableError
from .quality import QualityReport
from .tracking import Number
from .wandb_server import line_of, tracker_errors, use_server

log = logging.getLogger(__name__)

PATIENCE_ENV = "FINETUNE_TRACKER_PATIENCE"
PREEMPTED_PATIENCE = 15.0
"""Of a process that was told to end; Kubernetes kills it 30 s after."""
DATASET_BYTES = 32 << 20
"""Largest manifest that becomes part of the run's dataset artifact."""
TABLE_ROWS = 500
"""Rows of a per-utterance table; those with most errors come first. W&B's pages become slow with more."""


class WandbTracker:
    """One W&B run."""

    def __init__(self, run: Any) -> None:
        self._run = run
        if run.resumed:  # what ended the earlier attempt is no longer true
            for key in [key for key in run.summary.keys() if key.startswith("failure/")]:  # noqa: SIM118
                del run.summary[key]
        run.define_metric("train/step")
        for pattern in ("train/*", "eval/*", "baseline/*"):
            run.define_metric(pattern, step_metric="train/step")

    @classmethod
    def start(
        cls,
        tracking: Tracking,
        *,
        config: Mapping[str, Any],
        run_id: str | None = None,
        sweep_id: str | None = None,
        directory: str | None = None,
        on_stop: Callable[[], None] | None = None,
        job_type: str = "train",
        name: str | None = None,
    ) -> WandbTracker:
        """Begins a run, or continues the one with this id.

        Args:
            tracking: Server, project, group, tags.
            config: The run's configuration.
            run_id: Fixed id; W&B chooses one otherwise.
            sweep_id: Sweep that the run belongs to.
            directory: Where files wait for their upload.
            on_stop: Called from another thread when the server asks for the run's end.
            job_type: Kind of run on W&B's page.
            name: Its title there; W&B makes one up otherwise.

        Raises:
            TrackerUnauthorizedError: The API key is missing or wrong.
            TrackerUnavailableError: The server does not answer.
        """
        use_server(tracking)
        directory = directory or tempfile.gettempdir()
        os.makedirs(directory, exist_ok=True)
        with tracker_errors(tracking):
            run = wandb.init(
                entity=tracking.entity,
                project=tracking.project,
                id=run_id,
                name=name,
                resume="allow",
                group=tracking.group,
                tags=list(tracking.tags) or None,
                job_type=job_type,
                config={key: _without_references(value) for key, value in config.items()},
                dir=directory,
                mode=tracking.mode,
                reinit="finish_previous",
                settings=wandb.Settings(sweep_id=sweep_id, stop_fn=on_stop, disable_git=True, save_code=False),
            )
        return cls(run)

    @property
    def run_id(self) -> str | None:
        """The run's id."""
        return str(self._run.id)

    @property
    def run_url(self) -> str | None:
        """Address of the run's page; None offline."""
        return str(self._run.url) if self._run.url else None

    def log(self, values: Mapping[str, Number], *, step: int | None = None) -> None:
        """Adds a point to the history, at an optimiser step."""
        point = dict(values)
        if step is not None:
            point["train/step"] = step
        self._run.log(point)

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Sets the run's final values."""
        self._run.summary.update(dict(values))

    def log_dataset(
        self, report: QualityReport, split_sizes: Mapping[str, int], error_types: Mapping[str, int]
    ) -> None:
        """Reports sizes, quality and error types: a table of odd rows, a bar and a pie chart."""
        values: dict[str, Any] = {f"data/{name}": size for name, size in split_sizes.items()}
        values |= {f"data/quality/{code}": count for code, count in report.counts.items()}
        values |= {f"data/error_type/{kind}": count for kind, count in error_types.items()}
        values |= {
            "data/rows": report.rows,
            "data/used": report.used,
            "data/error_cases": report.error_cases,
            "data/audio_hours": report.seconds / 3600,
        }
        self.summarize(values)
        issues = [[issue.row, issue.audio, issue.code, issue.detail, issue.excluded] for issue in report.issues]
        charts: dict[str, Any] = {
            "data/issues": wandb.Table(
                columns=["row", "audio", "issue", "detail", "excluded"], data=issues[:TABLE_ROWS]
            )
        }
        if error_types:
            table = wandb.Table(columns=["error type", "utterances"], data=[list(item) for item in error_types.items()])
            charts["data/error_types"] = wandb.plot.bar(table, "error type", "utterances", title="Error types")
            charts["data/error_types_pie"] = wandb.Html(pie_chart(error_types, "Error types"), inject=False)
        self._run.log(charts)

    def log_comparison(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Reports candidate against baseline: a table, a scatter plot of WER, a distribution of WER."""
        if not rows:
            return
        worst = sorted(rows, key=lambda row: -float(row["wer"]))[:TABLE_ROWS]
        columns: list[str | int] = list(rows[0])
        table = wandb.Table(columns=columns, data=[list(row.values()) for row in worst])
        scatter = wandb.Table(
            columns=["baseline_wer", "wer"], data=[[row["baseline_wer"], row["wer"]] for row in worst]
        )
        title = f"{name}: WER per utterance"
        self._run.log(
            {
                f"{name}/utterances": table,
                f"{name}/scatter": wandb.plot.scatter(scatter, "baseline_wer", "wer", title=title),
                f"{name}/wer_distribution": wandb.Histogram([float(row["wer"]) for row in rows]),
                f"{name}/baseline_wer_distribution": wandb.Histogram([float(row["baseline_wer"]) for row in rows]),
            }
        )

    def log_error_types(self, rates: Mapping[str, tuple[float, float]]) -> None:
        """Reports WER per error type, as values and as a bar chart of the reduction."""
        if not rates:
            return
        self.summarize({f"test/wer_by_type/{kind}": candidate for kind, (candidate, _) in rates.items()})
        self.summarize({f"test/baseline_wer_by_type/{kind}": baseline for kind, (_, baseline) in rates.items()})
        table = wandb.Table(
            columns=["error type", "WER", "baseline WER", "reduction"],
            data=[[kind, candidate, baseline, baseline - candidate] for kind, (candidate, baseline) in rates.items()],
        )
        chart = wandb.plot.bar(table, "error type", "reduction", title="WER reduction per error type")
        self._run.log({"test/error_types": table, "test/error_type_reduction": chart})

    def log_suites(self, suites: Sequence[SuiteResult]) -> None:
        """Reports the regression suites: a table and a bar chart of the degradation."""
        if not suites:
            return
        for suite in suites:
            key = f"regression/{suite.name}"
            self.summarize(
                {
                    f"{key}/wer": suite.wer,
                    f"{key}/baseline_wer": suite.baseline_wer,
                    f"{key}/degradation": suite.wer - suite.baseline_wer,
                    f"{key}/degraded_utterances": suite.degraded,
                    f"{key}/passed": suite.passed,
                }
            )
        columns: list[str | int] = ["suite", "utterances", "WER", "baseline WER", "degradation", "degraded", "passed"]
        data = [
            [s.name, s.utterances, s.wer, s.baseline_wer, s.wer - s.baseline_wer, s.degraded, s.passed] for s in suites
        ]
        table = wandb.Table(columns=columns, data=data)
        chart = wandb.plot.bar(table, "suite", "degradation", title="WER degradation per regression suite")
        self._run.log({"regression/suites": table, "regression/degradation": chart})

    def log_gates(self, verdicts: Sequence[GateVerdict]) -> None:
        """Reports the gates' verdicts, one by one and together."""
        data = [[verdict.name, verdict.value, verdict.threshold, verdict.passed] for verdict in verdicts]
        self._run.log({"gates/verdicts": wandb.Table(columns=["gate", "value", "threshold", "passed"], data=data)})
        self.summarize(
            {f"gates/{verdict.name}": verdict.passed for verdict in verdicts}
            | {"gates/passed": all(verdict.passed for verdict in verdicts)}
        )

    def log_backlog(
        self, error_cases: int, held_out: int, corrected: int, by_type: Mapping[str, int] | None = None
    ) -> None:
        """Reports how error cases accumulate, and what share of them the model now gets right.

        Args:
            error_cases: All cases collected so far.
            held_out: Cases that the model has not learnt and the model before it gets wrong.
            corrected: Those of them that the model transcribes without error.
            by_type: Cases collected so far, per error type.
        """
        values: dict[str, Number] = {
            "errors/total": error_cases,
            "errors/held_out": held_out,
            "errors/corrected": corrected,
            "errors/correction_rate": corrected / held_out if held_out else 0.0,
        }
        self.log(values | {f"errors/by_type/{kind}": count for kind, count in (by_type or {}).items()})

    def log_deployment(self, artifact: str, alias: str, metrics: Mapping[str, float]) -> None:
        """Reports that a model went into service.

        Args:
            artifact: Full name with version.
            alias: Role that it took, such as `production`.
            metrics: Scores it was promoted for.
        """
        table = wandb.Table(columns=["artifact", "alias", *metrics], data=[[artifact, alias, *metrics.values()]])
        self._run.log(
            {"deployments/models": table, **{f"deployments/{name}": value for name, value in metrics.items()}}
        )
        self.summarize({"deployments/artifact": artifact, "deployments/alias": alias})

    def use_dataset(self, name: str, uri: str, fingerprint: str, path: str | None, artifact: str | None) -> None:
        """Notes the dataset as an input: the artifact it came from, or a new one with its manifest.

        The artifact is addressed by content, so that a hundred trials on one dataset make one version. What lies
        elsewhere, or is large as it holds the audio itself, is described by place and fingerprint: no copy is made.
        """
        if artifact is not None:
            self._use(artifact)
            return
        dataset = wandb.Artifact(name, type="dataset", metadata={"uri": uri, "fingerprint": fingerprint})
        if path is not None and os.path.getsize(path) <= DATASET_BYTES:
            dataset.add_file(path)
        else:
            with dataset.new_file("dataset.json") as file:
                json.dump({"uri": uri, "fingerprint": fingerprint}, file)
        self._use(dataset)

    def use_model(self, artifact: str) -> None:
        """Notes the base model as an input."""
        self._use(artifact)

    def _use(self, artifact: Any) -> None:
        """Notes an input. Lineage is worth a warning, but no trial: the configuration names all inputs anyway."""
        if self._run.offline:  # the SDK takes inputs only online
            return
        try:
            self._run.use_artifact(artifact)
        except Exception as error:
            log.warning("The run's input %s was not noted: %s", artifact, line_of(error))

    def log_model(self, name: str, folder: Path, metadata: Mapping[str, Any]) -> str | None:
        """Logs a model and waits until the server has it; returns `entity/project/name:version`, None offline."""
        artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
        artifact.add_dir(str(folder))
        logged = self._run.log_artifact(artifact)
        if self._run.offline:
            return None
        try:
            logged.wait(timeout=1800)
        except wandb.errors.CommError as error:
            raise TrackerUnavailableError(
                f"The tracker did not take the model artifact {name}: {line_of(error)}."
            ) from error
        return f"{logged.entity}/{logged.project}/{logged.name}"

    def mark_preempting(self) -> None:
        """Tells the server to hand the run out again once this process is gone."""
        self._run.mark_preempting()

    def finish(self, exit_code: int) -> None:
        """Sends what is left and ends the run.

        Raises:
            TrackerUnavailableError: The server did not take it in time. The SDK would try for days, on a machine that
                is paid for; what is left stays in the run's folder for `wandb sync`.
        """
        over = threading.Event()
        problems: list[Exception] = []

        def end() -> None:
            try:
                self._run.finish(exit_code=exit_code)
            except Exception as error:
                problems.append(error)
            over.set()

        threading.Thread(target=end, name="wandb-finish", daemon=True).start()
        seconds = PREEMPTED_PATIENCE if exit_code == ExitCode.PREEMPTED else patience()
        if not over.wait(seconds) or problems:
            reason = line_of(problems[0]) if problems else f"no answer within {seconds:.0f} s"
            raise TrackerUnavailableError(
                f"The tracker did not take the end of run {self.run_id} ({reason}); "
                f"`wandb sync {self._run.settings.sync_dir}` sends it later."
            )


def patience() -> float:
    """Seconds for which the tracker may be unreachable."""
    return float(os.environ.get(PATIENCE_ENV, "300"))


def _without_references(value: Any) -> Any:
    """A value of the configuration in which artifacts are named, but not as the SDK's references.

    The SDK takes a text that begins with `wandb-artifact://` for an input to fetch, and refuses it below the top level.
    """
    if isinstance(value, Mapping):
        return {key: _without_references(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_references(inner) for inner in value]
    return value.replace("wandb-artifact://", "wandb-artifact:", 1) if isinstance(value, str) else value
