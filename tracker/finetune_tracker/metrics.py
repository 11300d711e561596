"""Prometheus metrics of the server."""

from __future__ import annotations

import sqlite3

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """One registry per server, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.requests = Histogram(
            "finetune_tracker_request_seconds",
            "Time to answer a request",
            ("route", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.lines = Counter(
            "finetune_tracker_lines_total", "Lines received by the file stream", ("stream",), registry=self.registry
        )
        self.uploads = Counter("finetune_tracker_upload_bytes_total", "Bytes of files received", registry=self.registry)
        self._runs = Gauge("finetune_tracker_runs", "Runs by state", ("state",), registry=self.registry)
        self._sweeps = Gauge("finetune_tracker_sweeps", "Sweeps by state", ("state",), registry=self.registry)
        self._agents = Gauge("finetune_tracker_agents", "Sweep agents by state", ("state",), registry=self.registry)

    def render(self, db: sqlite3.Connection) -> bytes:
        """The text exposition, with the gauges as the database has them now."""
        for gauge, table in ((self._runs, "runs"), (self._sweeps, "sweeps"), (self._agents, "agents")):
            gauge.clear()
            for row in db.execute(f"SELECT state, count(*) AS number FROM {table} GROUP BY state"):
                gauge.labels(row["state"]).set(row["number"])
        return generate_latest(self.registry)
