"""Settings of the process: command line first, then the environment, which the Helm chart sets."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from finetune_operator.trial import Defaults


@dataclass(frozen=True, slots=True)
class Settings:
    """How this operator runs.

    Attributes:
        namespaces: Namespaces to serve; empty means all.
        kubeconfig: Path of a kubeconfig; None means the service account, or else the usual places.
        metrics_port: Port of /metrics; None serves none.
        liveness_port: Port of /healthz; None serves none.
        workers: Resources reconciled at a time.
        lease: Name of the Lease that the active replica holds; None runs without leader election.
        lease_namespace: Namespace of that Lease.
        poll_seconds: Pause between two looks at a tracker project that has active sweeps.
    """

    defaults: Defaults
    namespaces: tuple[str, ...] = ()
    kubeconfig: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - probes and Prometheus come from outside the pod
    metrics_port: int | None = None
    liveness_port: int | None = None
    workers: int = 8
    lease: str | None = None
    lease_namespace: str = "default"
    poll_seconds: float = 5.0
    log_level: str = "INFO"


def _environment(name: str, default: str) -> str:
    return os.environ.get(name) or default


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("finetune-operator", description="Fine-tunes speech-to-text models on Kubernetes.")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="watch SweepRuns and FinetuneJobs and reconcile them")
    scope = run.add_mutually_exclusive_group()
    scope.add_argument("--namespace", "-n", action="append", default=[], help="namespace to serve; may be repeated")
    scope.add_argument("--all-namespaces", "-A", action="store_true", help="serve every namespace (the default)")
    run.add_argument("--kubeconfig", help="kubeconfig file; default: service account, $KUBECONFIG, ~/.kube/config")
    run.add_argument("--host", default="0.0.0.0", help="address that metrics and liveness listen on")  # noqa: S104
    run.add_argument("--metrics-port", type=int, help="serve Prometheus metrics on this port")
    run.add_argument("--liveness-port", type=int, help="serve /healthz on this port")
    run.add_argument("--workers", type=int, default=8, help="resources reconciled at a time")
    run.add_argument("--lease", metavar="NAMESPACE/NAME", help="elect one active replica through this Lease")
    run.add_argument("--poll-seconds", type=float, default=5.0, help="pause between two looks at a tracker project")
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return top


def from_arguments(arguments: argparse.Namespace) -> Settings:
    """Settings of `finetune-operator run`."""
    lease_namespace, _, lease = (arguments.lease or "").rpartition("/")
    return Settings(
        defaults=Defaults(
            image=os.environ.get("FINETUNE_TRAINER_IMAGE") or None,
            base_url=_environment("FINETUNE_WANDB_BASE_URL", "https://api.wandb.ai"),
            project=_environment("FINETUNE_WANDB_PROJECT", "stt-finetuning"),
        ),
        namespaces=tuple(arguments.namespace),
        kubeconfig=arguments.kubeconfig,
        host=arguments.host,
        metrics_port=arguments.metrics_port,
        liveness_port=arguments.liveness_port,
        workers=arguments.workers,
        lease=lease or None,
        lease_namespace=lease_namespace or "default",
        poll_seconds=arguments.poll_seconds,
        log_level=arguments.log_level,
    )
