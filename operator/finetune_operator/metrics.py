"""Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """All metrics of the operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "finetune_reconcile_duration_seconds",
            "Time to reconcile one resource once.",
            ["kind"],
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.reconciles = Counter(
            "finetune_reconcile", "Reconciles by outcome.", ["kind", "outcome"], registry=self.registry
        )
        self.queue_depth = Gauge("finetune_queue_depth", "Resources that wait for a worker.", registry=self.registry)
        self.queue_lag = Gauge("finetune_queue_lag_seconds", "Longest wait in the queue.", registry=self.registry)
        self.tracker_requests = Counter(
            "finetune_tracker_requests",
            "Requests to the tracker by operation and outcome.",
            ["operation", "outcome"],
            registry=self.registry,
        )
        self.trials = Gauge(
            "finetune_trials",
            "Trials of a SweepRun's current round by state.",
            ["namespace", "name", "state"],
            registry=self.registry,
        )
        self.gpu_hours = Gauge(
            "finetune_gpu_hours",
            "GPU-hours of a resource's current round.",
            ["kind", "namespace", "name"],
            registry=self.registry,
        )
        self.resources = Gauge(
            "finetune_resources", "Resources by the reason of Ready.", ["kind", "reason"], registry=self.registry
        )
        self.promotions = Counter(
            "finetune_promotions", "Promotion decisions.", ["kind", "state"], registry=self.registry
        )
        self.is_leader = Gauge("finetune_leader", "1 on the active replica.", registry=self.registry)
