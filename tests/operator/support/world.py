"""A small model of the world around a plan: a Job controller, pods and a tracker, as pure state.

It carries out a plan's actions the way the real ones would, so that properties of many plans in a row can be checked
without a clock or a socket. What really happens on the wire is for the tests beside it, with real servers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_operator import actions as a
from finetune_operator import plan_finetune, plan_sweep
from finetune_operator.actions import Plan, Problem, Promoted, Results
from finetune_operator.api import FinetuneJob, SweepRun
from finetune_operator.facts import SWEEP_OVER, DatasetFacts, JobFacts, PodFacts, RunFacts, SweepFacts
from finetune_operator.observed import Observed, Source, TrackerView
from finetune_operator.trial import Defaults, Identity, TrackerAddress
from finetune_trainer.contract import TrialMetrics, TrialResult

START = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = TrackerAddress("http://tracker", "stt", "team")
NOTHING = Results()
UNREACHABLE = Problem("TrackerUnreachable", "the tracker is down")
TRAINER = {"image": "trainer", "model": {"name": "tiny"}, "dataset": {"uri": "/data"}}


def sweep_run(**spec: Any) -> dict[str, Any]:
    parameters = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3}}
    return {"preset": "none", "parameters": parameters, "trainer": TRAINER, **spec}


def by_number(number: int, config: dict[str, Any]) -> dict[str, Any]:
    """The usual summary of a trial."""
    return {"eval/wer": 0.5 - 0.01 * (number % 7), "baseline/wer": 0.6}


@dataclass
class Sweep:
    token: str
    cap: int
    state: str = "RUNNING"
    runs: dict[str, RunFacts] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    prior_runs: tuple[str, ...] = ()


@dataclass
class World:
    kind: str
    spec: dict[str, Any]
    status: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    now: datetime = START
    leads_since: datetime = START - timedelta(hours=1)
    deleted_at: datetime | None = None
    finalizer: bool = False
    released: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, JobFacts] = field(default_factory=dict)
    pods: dict[str, PodFacts] = field(default_factory=dict)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    busy: dict[str, str] = field(default_factory=dict)
    tracker_down: bool = False
    greedy: bool = False
    credentials: Problem | None = None
    source: Source | None = None
    dataset: DatasetFacts | None = None
    score: Callable[[int, dict[str, Any]], dict[str, Any]] = by_number
    unreliable: bool = True
    max_agents: int = 0
    made: int = 0

    # -- what the operator does ----------------------------------------------------------------------------------------

    def observe(self, results: Results = NOTHING) -> Observed[Any]:
        model = SweepRun if self.kind == "SweepRun" else FinetuneJob
        resource = model.model_validate({"spec": self.spec, "status": self.status})
        sweep_id = (self.status.get("sweep") or {}).get("id")
        sweep = self.sweeps.get(sweep_id) if sweep_id else None
        view = TrackerView(ADDRESS)
        if self.tracker_down:
            view = replace(view, problem=UNREACHABLE)
        if sweep is not None and sweep_id is not None:
            runs = tuple(sweep.runs.values())
            view = replace(
                view,
                sweep=SweepFacts(sweep_id, sweep.state, "http://t/sweeps/x", runs, self.now + timedelta(seconds=2)),
            )
        elif sweep_id and not self.tracker_down:
            view = replace(view, missing=True)
        return Observed(
            identity=Identity(self.kind, "ns", "x", "uid", self.generation),
            resource=resource,
            defaults=Defaults(),
            tracker=view,
            now=self.now,
            leads_since=self.leads_since,
            deleted_for=self.now - self.deleted_at if self.deleted_at else None,
            finalizer=self.finalizer,
            annotations=self.annotations,
            jobs=tuple(self.jobs.values()),
            pods=tuple(self.pods.values()),
            credentials=self.credentials,
            source=self.source,
            dataset=self.dataset,
            results=results,
        )

    def plan(self, results: Results = NOTHING) -> Plan[Any]:
        observed = self.observe(results)
        return plan_sweep.plan(observed) if self.kind == "SweepRun" else plan_finetune.plan(observed)

    def reconcile(self, crash_after: int | None = None) -> Plan[Any]:
        """As the reconciler does it; with `crash_after` it dies after so many effects, before it writes the status."""
        results = Results()
        effects = 0
        plan = self.plan()
        for _ in range(6):
            plan = self.plan(results)
            known, results = results, replace(results, problem=None)
            for action in plan.actions:
                if crash_after is not None and effects >= crash_after:
                    return plan
                results = self.carry_out(action, results)
                effects += 1
                if results.problem:
                    break
            if results.problem:
                continue
            if crash_after is not None and effects >= crash_after:
                return plan
            if plan.status is not None:
                self.status = plan.status.to_wire()
            if results == known and (plan.actions or plan.requeue is None or plan.requeue > timedelta()):
                return plan
        return plan

    def settle(self, limit: int = 12) -> None:
        """Reconciles until nothing more is decided, at the same moment of time."""
        for _ in range(limit):
            before = (self.status, dict(self.jobs), {k: v.state for k, v in self.sweeps.items()}, self.finalizer)
            plan = self.reconcile()
            after = (self.status, dict(self.jobs), {k: v.state for k, v in self.sweeps.items()}, self.finalizer)
            if before == after and not plan.actions:
                return
        raise AssertionError(f"does not settle: {plan}")

    def carry_out(self, action: a.Action, results: Results) -> Results:
        match action:
            case a.SetFinalizer(present):
                self.finalizer = present
                self.released = self.released or (self.deleted_at is not None and not present)
            case a.Apply(manifest, _) if manifest["kind"] == "Job":
                self._create_job(manifest)
            case a.PatchJob(name, spec) if name in self.jobs:
                self._patch_job(name, spec)
            case a.DeleteJob(name):
                for pod in [p for p in self.pods.values() if p.job == name]:
                    self._evict(pod.name)
                    del self.pods[pod.name]
                self.jobs.pop(name, None)
            case a.CreateSweep() | a.SetSweepState() | a.CancelSweeps() | a.StopRun() | a.Promote() | a.ReadRun():
                return self._track(action, results)
        return results

    def _track(self, action: a.Action, results: Results) -> Results:
        if self.tracker_down:
            return replace(results, problem=UNREACHABLE)
        match action:
            case a.CreateSweep(config, token, prior_runs, only_find):
                found = [name for name, sweep in self.sweeps.items() if sweep.token == token]
                if not found and only_find:
                    return results
                if not found:
                    found = [f"sweep{len(self.sweeps)}"]
                    self.sweeps[found[0]] = Sweep(token, config["run_cap"], config=config, prior_runs=prior_runs)
                return replace(results, sweep_id=found[0], sweep_url="http://t", sweep_token=token)
            case a.SetSweepState(sweep_id, state) if sweep_id in self.sweeps:
                self.sweeps[sweep_id].state = state
            case a.CancelSweeps(mark):
                for sweep in self.sweeps.values():
                    if sweep.token.startswith(f"{mark}:") and sweep.state not in SWEEP_OVER:
                        sweep.state = "CANCELED"
            case a.StopRun(run_id):
                for sweep in self.sweeps.values():
                    if run_id in sweep.runs:
                        sweep.runs[run_id] = replace(sweep.runs[run_id], state="killed")
            case a.Promote(_, _, version):
                return replace(results, promoted=Promoted(version or "v7", "v6"))
            case a.ReadRun(run_id):
                found = next((sweep.runs[run_id] for sweep in self.sweeps.values() if run_id in sweep.runs), None)
                return replace(results, runs={**results.runs, run_id: found})
        return results

    def _create_job(self, manifest: dict[str, Any]) -> None:
        body = {
            **manifest,
            "metadata": {
                **manifest["metadata"],
                "uid": manifest["metadata"]["name"],
                "creationTimestamp": _stamp(self.now),
            },
            "status": {},
        }
        if manifest["metadata"]["name"] not in self.jobs:
            self.jobs[manifest["metadata"]["name"]] = JobFacts.from_object(body)

    def _patch_job(self, name: str, spec: dict[str, Any]) -> None:
        job = self.jobs[name]
        job = replace(
            job,
            suspended=spec.get("suspend", job.suspended),
            parallelism=spec.get("parallelism", job.parallelism),
            ttl=spec.get("ttlSecondsAfterFinished", job.ttl),
        )
        self.jobs[name] = job
        if job.finished:
            return
        mine = [p for p in self.pods.values() if p.job == name and p.active]
        for pod in mine if job.suspended else mine[job.parallelism :]:
            self._evict(pod.name)
            self.pods.pop(pod.name)

    # -- what the world does -------------------------------------------------------------------------------------------

    def pass_time(self, seconds: int = 5) -> None:
        self.now += timedelta(seconds=seconds)

    def schedule(self) -> None:
        """The Job controller and the scheduler: every Job gets the pods it wants, all running."""
        for job in list(self.jobs.values()):
            if job.finished or job.suspended:
                continue
            mine = [p for p in self.pods.values() if p.job == job.name]
            if any(p.phase == "Succeeded" for p in mine) or any(p.phase == "Failed" for p in mine):
                continue
            for _ in range(job.parallelism - sum(p.active for p in mine)):
                self.made += 1
                name = f"{job.name}-p{self.made}"
                self.pods[name] = _pod(name, job, self.now)
        active = sum(p.active for p in self.pods.values())
        self.max_agents = max(self.max_agents, active)

    def work(self) -> None:
        """Every running agent takes one trial, or ends the one it has."""
        for pod in [p for p in self.pods.values() if p.active]:
            stage = f":{self.jobs[pod.job].round}:{self.jobs[pod.job].stage}"
            sweep = next((s for s in self.sweeps.values() if s.token.endswith(stage)), None)
            if self.kind != "SweepRun" or sweep is None or sweep.state not in ("RUNNING", "FINISHED"):
                continue
            if pod.name in self.busy:
                run = self.busy.pop(pod.name)
                for owner in self.sweeps.values():
                    if run in owner.runs and owner.runs[run].state == "running":
                        number = int(run.removeprefix("run"))
                        summary = self.score(number, owner.runs[run].config)
                        state = "failed" if self.unreliable and number % 5 == 4 else "finished"
                        owner.runs[run] = replace(owner.runs[run], state=state, summary=summary)
                continue
            resumable = [r for r in sweep.runs.values() if r.state == "preempted"]
            if sweep.state == "RUNNING" and resumable:
                self.busy[pod.name] = resumable[0].id
                sweep.runs[resumable[0].id] = replace(resumable[0], state="running")
            elif sweep.state == "RUNNING" and (self.greedy or len(sweep.runs) < sweep.cap):
                number = sum(len(each.runs) for each in self.sweeps.values())
                run = f"run{number}"
                listed = sweep.config.get("parameters", {}).get("learning_rate", {}).get("values")
                config = {"learning_rate": listed[0] if listed else 1e-6 * (1 + number % 900)}
                sweep.runs[run] = RunFacts(run, "running", config=config, created_at=f"{number:04}")
                self.busy[pod.name] = run
            else:
                self.end_pod(pod.name, 0)

    def end_pod(self, name: str, code: int, result: TrialResult | None = None) -> None:
        pod = self.pods[name]
        if code != 0:
            self._evict(name, crashed=code != 143)
        phase = "Succeeded" if code == 0 else "Failed"
        self.pods[name] = replace(pod, phase=phase, exit_code=code, finished_at=self.now, result=result)
        job = self.jobs[pod.job]
        mine = [p for p in self.pods.values() if p.job == job.name]
        if any(p.active for p in mine) and code != 2:
            return
        if any(p.phase == "Succeeded" for p in mine):
            self.jobs[job.name] = replace(job, complete=True, finished_at=self.now)
        else:
            self.jobs[job.name] = replace(job, failure_reason="BackoffLimitExceeded", finished_at=self.now)
            for pod in [p for p in mine if p.active]:
                self._evict(pod.name)
                del self.pods[pod.name]

    def finish_training(self, wer: float = 0.2) -> None:
        for pod in [p for p in self.pods.values() if p.active]:
            metrics = TrialMetrics(
                wer=wer,
                cer=0.1,
                baseline_wer=0.4,
                baseline_cer=0.2,
                p_value=0.01,
                relative_improvement=(0.4 - wer) / 0.4,
            )
            self.end_pod(pod.name, 0, TrialResult(state="finished", metrics=metrics, artifact="team/stt/x:v0"))

    def _evict(self, name: str, crashed: bool = False) -> None:
        run = self.busy.pop(name, None)
        for sweep in self.sweeps.values():
            if run in sweep.runs and sweep.runs[run].state == "running":
                sweep.runs[run] = replace(sweep.runs[run], state="crashed" if crashed else "preempted")

    @property
    def ready_reason(self) -> str:
        return next((c["reason"] for c in self.status.get("conditions", ()) if c["type"] == "Ready"), "")

    def holds(self, condition: str) -> bool:
        return any(c["type"] == condition and c["status"] == "True" for c in self.status.get("conditions", ()))


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _pod(name: str, job: JobFacts, now: datetime) -> PodFacts:
    return PodFacts(
        name=name,
        job=job.name,
        round=job.round,
        index=0,
        phase="Running",
        started_at=now,
        finished_at=None,
        exit_code=None,
        exit_reason=None,
        waiting_reason=None,
        waiting_message="",
        unschedulable=None,
        gated=False,
        disrupted=False,
        deleting=False,
        created_at=now,
        result=None,
    )
