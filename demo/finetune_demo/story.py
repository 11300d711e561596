"""The story that `make demo` tells, step by step, with every part as a user would run it."""

from __future__ import annotations

import json
import secrets
import sys
import time
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from finetune_demo import installing
from finetune_demo.errors import DemoError, tail
from finetune_demo.kubectl import Kubectl
from finetune_demo.processes import Program, Programs
from finetune_demo.snapshot import Snapshot, condition, holds, settled
from finetune_demo.summary import Outcome, Scores, scores_of
from finetune_demo.view import View

NAMESPACE = "speech"
JOB = "accent-model"
DEFAULT_JOB = "default"
SUITE = "known-voices"
IMAGE = "finetune-trainer:demo"
_MANIFESTS = resources.files("finetune_demo") / "manifests"
_POLL_SECONDS = 2.0
_READY_SECONDS = 60.0
_PREPARE_SECONDS = 900.0


@dataclass
class Story:
    """One run of the demo.

    Attributes:
        folder: Where everything of this run goes.
        cache: Where base models and tasks are kept between runs.
        source: Root of the repository, for the CRDs.
        timeout: Seconds that sweep and training may take together.
        install: How the operator gets into the cluster: `process` beside it, or a pod that `helm` installs.
    """

    folder: Path
    cache: Path
    source: Path
    seed: int
    timeout: float
    view: View
    programs: Programs
    install: installing.Way = "process"
    seconds: dict[str, float] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=Snapshot)
    peak: int = 0

    def __post_init__(self) -> None:
        self.kubeconfig = self.folder / "kubeconfig"
        self.key_file = self.folder / "api-key"
        self.kubectl = Kubectl(self.kubeconfig, self.folder / "kubectl-cache")

    def tell(self) -> Outcome:
        """Run it all.

        Raises:
            DemoError: Something failed or took too long.
        """
        began = time.monotonic()
        with self.view.step("Starting tracker, sandbox cluster and operator"):
            self._set_up()
        self.seconds["setup"] = time.monotonic() - began
        began = time.monotonic()
        with self.view.step("Base model and correction backlog"):
            base, task = self._prepare()
        self.seconds["base"] = time.monotonic() - began
        began = time.monotonic()
        with self.view.step("Sweep: eight trials, two at a time"):
            self._apply(base, task, "namespace.yaml", "sweeprun.yaml", "finetunejob.yaml")
            self._wait(began + self.timeout, lambda: settled(self.snapshot.sweep))
        self.seconds["sweep"] = time.monotonic() - began
        swept = time.monotonic()
        with self.view.step("Training with the best hyperparameters, and with the default ones to compare"):
            self._apply(base, task, "default.yaml")
            self._wait(began + self.timeout, lambda: all(settled(job) for job in self.snapshot.jobs.values()))
        self.seconds["finetune"] = time.monotonic() - swept
        return self._outcome()

    def _set_up(self) -> None:
        self.key_file.touch(mode=0o600)
        self.key_file.write_text(secrets.token_hex(20))
        self.view.detail("tracker")
        tracker = self._start(
            "finetune-tracker", "serve", "--host=127.0.0.1", "--port=0", f"--data={self.folder / 'tracker'}",
            f"--api-key-file={self.key_file}",
        )  # fmt: skip
        images = self.folder / "images.json"
        trainer = [sys.executable, "-m", "finetune_trainer"]
        known = {IMAGE: {"command": trainer, "env": _QUIET}, **installing.images()}
        images.write_text(json.dumps(known, indent=2))
        sandbox = self._start(
            "finetune-sandbox", "up", f"--data={self.folder / 'sandbox'}", f"--kubeconfig={self.kubeconfig}",
            "--nodes=1", "--gpus=2", f"--images={images}",
        )  # fmt: skip
        self.tracker_url = tracker.first_line(_READY_SECONDS)
        self.view.detail("sandbox cluster")
        sandbox.first_line(_READY_SECONDS)
        self.view.detail("operator")
        if self.install == "helm":
            installing.with_helm(self.source, self.kubeconfig, NAMESPACE)
        else:
            installing.as_process(self.source, self.kubectl, self._start)

    def operator_log(self) -> str:
        """The end of the operator's log."""
        if self.install == "helm":
            deployment = f"deployment/{installing.DEPLOYMENT}"
            return self.kubectl.run("logs", deployment, f"--namespace={NAMESPACE}", "--tail=20", check=False)
        return tail(self.folder / "logs" / "finetune-operator.log")

    def _start(self, name: str, *arguments: str) -> Program:
        module = name.replace("-", "_")
        return self.programs.start(name, [sys.executable, "-m", module, *arguments])

    def _prepare(self) -> tuple[str, str]:
        """Folders of base model and task, made in a process of their own, which keeps torch out of this one."""
        arguments = ["--family=whisper", f"--seed={self.seed}", f"--cache={self.cache}"]
        command = [sys.executable, "-m", "finetune_demo.prepare", *arguments]
        program = self.programs.start("prepare", command, _QUIET)
        made: dict[str, str] = {}
        for line in program.lines(_PREPARE_SECONDS):
            document = json.loads(line)
            if "progress" in document:
                self.view.detail(document["progress"])
            else:
                made = document
        status = self.programs.finished(program)
        if status or not made:
            raise DemoError(f"making base model and task failed with status {status}", log=program.log)
        return made["base"], made["task"]

    def _apply(self, base: str, task: str, *names: str) -> None:
        """Fill in the manifests' placeholders, keep the result to look at, and apply it."""
        values = {"tracker": self.tracker_url, "base": base, "task": task, "seed": str(self.seed)}
        folder = self.folder / "manifests"
        folder.mkdir(exist_ok=True)
        for name in names:
            file = folder / name
            file.write_text(Template((_MANIFESTS / name).read_text()).substitute(values))
            self.kubectl.run("apply", "-f", str(file))
            self.view.detail(f"kubectl apply -f {_short(file)}")
            if name == "namespace.yaml":
                key = f"--from-file=api-key={self.key_file}"
                self.kubectl.run("create", "secret", "generic", "wandb", f"--namespace={NAMESPACE}", key)

    def _wait(self, deadline: float, done: Any) -> None:
        """Watch the resources until `done()`.

        Raises:
            DemoError: A resource failed, a program ended, or the deadline passed.
        """
        while True:
            self.look()
            if done():
                return
            for name, resource in self.snapshot.resources().items():
                if holds(resource, "Failed"):
                    raise DemoError(f"{name} failed: {condition(resource, 'Failed').get('message', '')}")
            self.programs.check()
            if time.monotonic() > deadline:
                raise DemoError(f"sweep and training did not finish within {self.timeout:.0f} s")
            time.sleep(_POLL_SECONDS)

    def look(self) -> None:
        """Read the resources' present state and show it."""
        items = self.kubectl.json("get", "sweepruns,finetunejobs,pods", f"--namespace={NAMESPACE}")["items"]
        self.snapshot = Snapshot.of(items)
        self.peak = max(self.peak, self.snapshot.sweep.get("status", {}).get("trials", {}).get("running", 0))
        self.view.resources(self.snapshot)

    def _outcome(self) -> Outcome:
        sweep, job, default = self.snapshot.sweep, self.snapshot.jobs[JOB], self.snapshot.jobs[DEFAULT_JOB]
        best = self._scores(sweep["status"]["bestRun"]["id"])
        return Outcome(
            sweep=sweep,
            job=job,
            baseline=self._scores(job["status"]["run"]["id"], baseline=True),
            default=self._scores(default["status"]["run"]["id"]),
            best=best,
            promoted=self._scores(job["status"]["run"]["id"]),
            peak=self.peak,
            seconds=self.seconds,
        )

    def _scores(self, run: str, *, baseline: bool = False) -> Scores:
        """Scores of a run, read back from the tracker through W&B's own API client."""
        import wandb

        api = wandb.Api(overrides={"base_url": self.tracker_url}, api_key=self.key_file.read_text(), timeout=30)
        entity = api.default_entity
        return scores_of(dict(api.run(f"{entity}/speech-demo/{run}").summary), SUITE, baseline=baseline)


_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}
"""Environment of whatever imports transformers: no bars in logs, and nothing to look for on the hub."""


def _short(path: Path) -> Path:
    """The path as seen from here, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
