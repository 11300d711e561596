"""Alerts and dashboard ask for metrics that the operator really serves, in PromQL that parses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import promql_parser
import pytest
from finetune_operator.metrics import Metrics
from finetune_operator.recorder import _WARNINGS

from tests.install.support import Json, of_kind, render, value_set

SCRAPED = {"namespace", "service", "job", "instance", "le"}


def served() -> dict[str, set[str]]:
    """Names of the samples that the operator serves, with their labels."""
    found = {}
    for family in Metrics().registry._collector_to_names:
        labels = set(family._labelnames)
        for suffix in {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family._type, ("",)):
            found[family._name + suffix] = labels
    return found


def selectors(expression: promql_parser.Expr) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for child in ("expr", "lhs", "rhs", "vector_selector"):
        inner = getattr(expression, child, None)
        if inner is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from selectors(argument)


@pytest.fixture(scope="module")
def documents() -> list[Json]:
    return render(value_set("monitoring"), name="speech", namespace="ml")


@pytest.fixture(scope="module")
def alerts(documents: list[Json]) -> list[Json]:
    (rule,) = of_kind(documents, "PrometheusRule")
    return rule["spec"]["groups"][0]["rules"]


@pytest.fixture(scope="module")
def panels(documents: list[Json]) -> list[Json]:
    (config,) = [d for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"].endswith("-dashboard")]
    return json.loads(config["data"]["finetune-operator.json"])["panels"]


def check(expression: str) -> None:
    known = served()
    parsed = promql_parser.parse(expression.replace("$__rate_interval", "5m").replace("$namespace", ".*"))
    found = list(selectors(parsed))
    assert found, expression
    for selector in found:
        assert selector.name in known, f"{selector.name} is not served: {expression}"
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= known[selector.name] | SCRAPED, expression


def test_alerts(alerts):
    assert len(alerts) >= 5
    for alert in alerts:
        check(alert["expr"])
        assert 'namespace="ml"' in alert["expr"]
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"].endswith(f"/finetune/{alert['alert']}")
        text = json.dumps(alert["annotations"])
        assert "[[" not in text
        assert set(re.findall(r"\{\{ (.*?) \}\}", text)) <= {
            "$labels.kind",
            "$labels.reason",
            "$value | humanizeDuration",
            "$value | humanizePercentage",
        }


def test_blocking_reasons_are_those_of_the_operator(alerts):
    (blocked,) = [alert for alert in alerts if alert["alert"] == "FinetuneResourceBlocked"]
    reasons = re.search(r'reason=~"([^"]+)"', blocked["expr"])
    assert reasons is not None
    assert set(reasons[1].split("|")) <= _WARNINGS


def test_dashboard(panels):
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(expressions) >= 12
    for expression in expressions:
        check(expression)
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))


def test_every_metric_is_shown_or_alerted(alerts, panels):
    text = json.dumps([alerts, panels])
    shown = {name for name in served() if re.search(rf"\b{name}\b", text)}
    hidden = {re.sub("_(bucket|sum|count|total)$", "", name) for name in served()} - {
        re.sub("_(bucket|sum|count|total)$", "", name) for name in shown
    }
    assert hidden == set()


def test_scraping(documents):
    operator, tracker = of_kind(documents, "ServiceMonitor")
    assert operator["spec"]["endpoints"][0]["honorLabels"] is True
    services = {s["metadata"]["name"]: s for s in of_kind(documents, "Service")}
    for monitor, service in (
        (operator, "speech-finetune-operator-metrics"),
        (tracker, "speech-finetune-operator-tracker"),
    ):
        labels = services[service]["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in services[service]["spec"]["ports"]}
        others = [s for name, s in services.items() if name != service]
        assert not any(
            monitor["spec"]["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items() for s in others
        )
