"""What the cluster says at one moment, read from the resources' own status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The demo's resources and the trainer pods.

    Attributes:
        sweep: The SweepRun; empty before it is applied.
        jobs: FinetuneJobs by name.
        pods: Trainer pods by name.
    """

    sweep: Resource = field(default_factory=dict)
    jobs: Mapping[str, Resource] = field(default_factory=dict)
    pods: Mapping[str, Resource] = field(default_factory=dict)

    @classmethod
    def of(cls, items: list[Resource]) -> Snapshot:
        """Sort the items of `kubectl get sweepruns,finetunejobs,pods -o json`."""
        by_kind: dict[str, dict[str, Resource]] = {}
        for item in items:
            by_kind.setdefault(item["kind"], {})[item["metadata"]["name"]] = item
        sweeps = by_kind.get("SweepRun", {})
        return cls(next(iter(sweeps.values()), {}), by_kind.get("FinetuneJob", {}), by_kind.get("Pod", {}))

    def resources(self) -> dict[str, Resource]:
        """All custom resources by `kind/name`, as kubectl names them."""
        named = {f"sweeprun/{self.sweep['metadata']['name']}": self.sweep} if self.sweep else {}
        return named | {f"finetunejob/{name}": job for name, job in sorted(self.jobs.items())}


def condition(resource: Resource, kind: str) -> Mapping[str, str]:
    """The condition of a type; empty when it is not there."""
    conditions = resource.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == kind), {})


def holds(resource: Resource, kind: str) -> bool:
    """Whether a condition is True."""
    return condition(resource, kind).get("status") == "True"


def settled(resource: Resource) -> bool:
    """Whether nothing more will happen: complete, with its promotion decided if it asked for one; or failed."""
    if holds(resource, "Failed"):
        return True
    if not holds(resource, "Complete"):
        return False
    if "promotion" not in resource.get("spec", {}):
        return True
    return resource["status"].get("promotion", {}).get("state") in {"Promoted", "Rejected"}


def describe(name: str, resource: Resource) -> str:
    """One line about a resource: progress if it runs, result if it has one, else the reason of its state."""
    status = resource.get("status", {})
    parts = []
    trials = status.get("trials")
    if trials:
        done = sum(trials.get(state, 0) for state in ("succeeded", "failed", "stopped"))
        parts.append(f"{done}/{resource['spec']['trials']} trials done, {trials.get('running', 0)} running")
        parts += [f"{trials[state]} {state}" for state in ("failed", "stopped", "preempted") if trials.get(state)]
    best = status.get("bestRun")
    if best:
        rate = best["hyperparameters"].get("learning_rate")
        parts.append(f"best {best['metric']} {best['value']:.3f}" + (f" (learning rate {rate:.1e})" if rate else ""))
    metrics = status.get("metrics", {})
    if "wer" in metrics:
        parts.append(f"test WER {metrics['wer']:.3f} (baseline {metrics.get('baselineWer', float('nan')):.3f})")
    state = next((kind for kind in ("Failed", "Stalled", "Complete") if holds(resource, kind)), "")
    if holds(resource, "Promoted"):
        state = "Promoted"
    ready = condition(resource, "Ready")
    parts.append(state or ready.get("reason", "applied"))
    return f"{name}: {', '.join(parts)}"
