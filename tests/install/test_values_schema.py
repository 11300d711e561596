"""A wrong value is refused, and the answer names its key."""

from collections.abc import Iterator

import pytest
from helm_python.chart import Chart
from helm_python.errors import HelmValuesError

from charts.generate import is_section, render
from tests.install.support import CHART, Json

WRONG = [
    ({"replica": 1}, "replica"),
    ({"replicas": 9}, "/replicas"),
    ({"replicas": "1"}, "/replicas"),
    ({"image": {"tagg": "x"}}, "tagg"),
    ({"image": {"tag": "a b"}}, "/image/tag"),
    ({"image": {"repository": "Upper"}}, "/image/repository"),
    ({"image": {"digest": "sha256:12"}}, "/image/digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"imagePullSecrets": ["mirror"]}, "/imagePullSecrets/0"),
    ({"trainer": {"image": {"pullPolicy": "Always"}}}, "pullPolicy"),
    ({"fullnameOverride": "Not_A_Name"}, "/fullnameOverride"),
    ({"scope": {"mode": "cluster"}}, "/scope/mode"),
    ({"scope": {"namespaces": "speech"}}, "/scope/namespaces"),
    ({"scope": {"namespaces": ["Speech"]}}, "/scope/namespaces/0"),
    ({"scope": {"namespaces": ["a", "a"]}}, "/scope/namespaces"),
    ({"scope": {"mode": "Cluster", "namespaces": ["a"]}}, "/scope/namespaces"),
    ({"secretAccess": {"namespaces": ["a"]}}, "/secretAccess/namespaces"),
    ({"secretAccess": {"names": [""]}}, "/secretAccess/names/0"),
    ({"wandb": {"baseURL": "wandb.internal"}}, "/wandb/baseURL"),
    ({"wandb": {"project": "a/b"}}, "/wandb/project"),
    ({"wandb": {"apiKey": "secret"}}, "apiKey"),
    ({"log": {"level": "verbose"}}, "/log/level"),
    ({"extraEnv": [{"value": "x"}]}, "/extraEnv/0"),
    ({"resources": {"request": {}}}, "request"),
    ({"resources": {"limits": {"memory": "1 GB"}}}, "/resources/limits/memory"),
    ({"nodeSelector": {"gpu": True}}, "/nodeSelector/gpu"),
    ({"livenessProbe": {"port": 70000}}, "/livenessProbe/port"),
    ({"metrics": {"serviceMonitor": {"interval": "30"}}}, "/metrics/serviceMonitor/interval"),
    ({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "/networkPolicy/apiServer/cidrs/0"),
    ({"networkPolicy": {"wandb": {"ports": ["https"]}}}, "/networkPolicy/wandb/ports/0"),
    ({"podDisruptionBudget": {"maxUnavailable": "50%"}}, "/podDisruptionBudget/maxUnavailable"),
    ({"cleanup": {"timeoutSeconds": 0}}, "/cleanup/timeoutSeconds"),
    ({"tracker": {"persistence": {"size": "50 Gi"}}}, "/tracker/persistence/size"),
    ({"tracker": {"persistence": {"accessModes": ["ReadWriteAll"]}}}, "/tracker/persistence/accessModes/0"),
    ({"tracker": {"apiKey": "secret"}}, "/tracker/apiKey"),
    ({"tracker": {"replicas": 3}}, "replicas"),
]


@pytest.mark.parametrize(("values", "key"), WRONG, ids=[str(values) for values, _ in WRONG])
def test_wrong_values_are_refused_by_name(values, key):
    with pytest.raises(HelmValuesError) as refusal:
        render(values)
    assert key in str(refusal.value)


def objects(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    yield path, schema
    for key, value in schema.get("properties", {}).items():
        yield from objects(value, f"{path}.{key}")


def test_every_value_is_described_and_every_section_closed():
    schema = Chart.load(CHART).schema
    assert schema is not None
    for path, value in objects(schema):
        if path.startswith(".global"):  # shared with other charts
            continue
        assert value["description"].endswith((".", "?")), path
        if is_section(value):
            assert value["additionalProperties"] is False, path


def test_a_parent_chart_may_share_globals():
    render({"global": {"imageRegistry": "m.internal", "somebody": "else"}})
