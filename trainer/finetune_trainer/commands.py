"""The commands behind the command line, as functions: `train`, `serve` (a sweep's agent) and `evaluate`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .checkpoint import CheckpointStore
from .contract import ExitCode, FailureClass, ModelRef, TrialConfig, TrialResult
from .control import Control
from .distributed import Topology, join, leave
from .errors import PreemptedError, StoppedError, TrackerUnavailableError, TrialError, as_trial_error
from .hyperparameters import Hyperparameters
from .manifest import Manifest
from .session import Session, threads
from .tracking import NullTracker, Tracker
from .trial import run_trial

log = logging.getLogger(__name__)
Downloader = Callable[[str], tuple[str, str]]


def train(
    config: TrialConfig, control: Control, manifests: Mapping[str, Manifest] | None = None
) -> tuple[TrialResult, ExitCode]:
    """Runs one training with the configuration's hyperparameters, as a run of its own."""
    topology = _start()
    try:
        hyperparameters = Hyperparameters.parse(config.hyperparameters)
        tracker = open_tracker(config, topology, control, hyperparameters.model_dump())
        try:
            session = Session.open(config, topology, control, downloader(config), manifests)
            result = run_trial(session, config.hyperparameters, tracker)
        except Exception as error:
            failure = as_trial_error(error)
            if failure is not error:
                log.exception("The trial failed unexpectedly.", exc_info=error)
            return end_failed(tracker, failure), failure.exit_code
        tracker.finish(0)
        forget(config, result.run_id, topology)
        return result, ExitCode.DONE
    finally:
        leave()


def serve(
    config: TrialConfig, control: Control, manifests: Mapping[str, Manifest] | None = None
) -> tuple[TrialResult, ExitCode]:
    """Serves a sweep's trials until the tracker says that it is over."""
    from .agent import Agent
    from .wandb_tracker import patience

    topology = _start()
    try:
        session = Session.open(config, topology, control, downloader(config), manifests)
        return Agent(session, patience()).run()
    finally:
        leave()


def evaluate(
    config: TrialConfig,
    control: Control,
    manifests: Mapping[str, Manifest] | None = None,
    candidate: str | None = None,
) -> tuple[TrialResult, ExitCode]:
    """Scores the configuration's model, and a candidate against it if one is given; reports to no tracker."""
    from .trial import judge_scores

    topology = _start()
    try:
        session = Session.open(config, topology, control, downloader(config), manifests)
        names = session.sets_to_score()
        baseline = {name: session.baseline(name) for name in names}
        scores = baseline
        if candidate is not None:
            changed = config.model_copy(update={"model": ModelRef(name=candidate)})
            judged = Session.open(changed, topology, control, downloader(config), manifests)
            scores = {name: judged.baseline(name) for name in names}
        return judge_scores(session, scores, baseline), ExitCode.DONE
    finally:
        leave()


def open_tracker(
    config: TrialConfig,
    topology: Topology,
    control: Control,
    values: Mapping[str, Any],
    run_id: str | None = None,
    sweep_id: str | None = None,
) -> Tracker:
    """The tracker's run for a trial; only the leader reports."""
    run_id = run_id or config.tracking.run_id
    if not config.tracking.enabled or not topology.leads:
        return NullTracker(run_id)
    from .wandb_tracker import WandbTracker

    facts = {
        "model": config.model.model_dump(exclude_none=True),
        "dataset": config.dataset.model_dump(mode="json"),
        "seed": config.seed,
        "world_size": topology.size,
        "device": torch.cuda.get_device_name() if topology.device.type == "cuda" else topology.device.type,
    }
    return WandbTracker.start(
        config.tracking,
        config={**values, "trainer": facts},
        run_id=run_id,
        sweep_id=sweep_id,
        directory=os.environ.get("WANDB_DIR") or config.output_dir,
        on_stop=control.stop,
        name=config.owner.name if config.owner and not sweep_id else None,
    )


def end_failed(tracker: Tracker, failure: TrialError) -> TrialResult:
    """Reports a trial without a result to the tracker, and ends its run."""
    preempted = isinstance(failure, PreemptedError)
    if preempted:
        tracker.mark_preempting()
    elif not isinstance(failure, StoppedError):
        tracker.summarize({"failure/class": str(failure.failure_class), "failure/message": str(failure)[:1000]})
    try:
        tracker.finish(143 if preempted else 1)
    except TrackerUnavailableError as error:
        log.warning("%s", error)  # what ended the trial is still what the pod has to tell
    failure_class = None if isinstance(failure, StoppedError) else failure.failure_class
    return TrialResult(
        state="preempted" if failure.failure_class is FailureClass.PREEMPTED else "failed",
        run_id=tracker.run_id,
        run_url=tracker.run_url,
        failure_class=failure_class,
        message=str(failure)[:1024],
    )


def forget(config: TrialConfig, run_id: str | None, topology: Topology) -> None:
    """Removes the checkpoints of a trial whose result has arrived."""
    if config.checkpoints is not None and run_id and topology.leads:
        CheckpointStore(config.checkpoints.path, run_id, "").clear()


def downloader(config: TrialConfig) -> Downloader | None:
    """Fetches W&B artifacts, where a tracker is configured."""
    if not config.tracking.enabled or config.tracking.mode == "offline":
        return None

    def download(name: str) -> tuple[str, str]:
        from .wandb_server import download_artifact

        return download_artifact(config.tracking, name)

    return download


def _start() -> Topology:
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # generation alone writes two warnings per batch
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # peft asks for an old name
    torch.set_num_threads(threads())
    return join()
