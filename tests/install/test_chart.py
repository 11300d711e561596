"""The chart renders what Kubernetes accepts, for every set of values in ci/."""

import inspect
import re
import tomllib

import finetune_operator.settings
import pytest
from finetune_operator.settings import from_arguments, parser
from finetune_tracker.__main__ import _parser as tracker_parser
from helm_python import chart as helm

from charts.generate import rows
from tests.install.support import (
    CHART,
    KUBERNETES,
    ROOT,
    SETS,
    Json,
    of_kind,
    pod_specs,
    render,
    schema_errors,
    security_errors,
    value_set,
)


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Json]]:
    return {name: render(value_set(name), name="speech", namespace="speech") for name in SETS}


def leaves(values: Json, prefix: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        found |= {f"{prefix}{key}"} | (leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else set())
    return found


def test_there_are_twelve_sets_and_together_they_set_every_value():
    schema = helm.Chart.load(CHART).schema
    assert schema is not None
    used = set().union(*(leaves(value_set(name)) for name in SETS))
    assert len(SETS) >= 12
    assert {key for key, _ in rows(schema["properties"])} - {"global"} - used == set()


@pytest.mark.parametrize("version", [KUBERNETES[0], KUBERNETES[-1]])
@pytest.mark.parametrize("name", SETS)
def test_lint_strict(name, version):
    report = helm.lint(CHART, value_set(name), strict=True, kube_version=f"v{version}.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_are_valid(rendered, version):
    assert {name: errors for name, documents in rendered.items() if (errors := schema_errors(documents, version))} == {}


def test_the_validator_sees_a_typo():
    (deployment,) = of_kind(render({}), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"
    (error,) = schema_errors([deployment], "1.30")
    assert "imagePullpolicy" in error


def test_pods_meet_restricted(rendered):
    breaches = {
        f"{name}: {pod}": errors
        for name, documents in rendered.items()
        for pod, spec in pod_specs(documents)
        if (errors := security_errors(spec)) and name != "locked-down"
    }
    assert breaches == {}


def test_pods_say_what_they_need(rendered):
    for documents in rendered.values():
        for pod, spec in pod_specs(documents):
            for container in spec["containers"]:
                assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, pod
                assert "memory" in container["resources"]["limits"], pod
                assert container["securityContext"]["readOnlyRootFilesystem"] is True, pod
            assert spec["automountServiceAccountToken"] is ("tracker" not in pod), pod


def test_names_are_unique_and_short(rendered):
    for name, documents in rendered.items():
        keys = [
            (
                d["kind"],
                d["metadata"].get("namespace"),
                d["metadata"]["name"],
                d["metadata"].get("annotations", {}).get("helm.sh/hook"),
            )
            for d in documents
        ]
        assert len(keys) == len(set(keys)), name
    long = render({"tracker": {"enabled": True}}, name="r" * 53, namespace="n" * 63)
    for document in long:
        limit = 253 if document["kind"] == "CustomResourceDefinition" else 63
        assert len(document["metadata"]["name"]) <= limit, document["metadata"]["name"]


def test_every_object_is_labelled_and_in_its_namespace(rendered):
    cluster_scoped = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    for name, documents in rendered.items():
        common = value_set(name).get("commonLabels", {})
        for document in documents:
            metadata = document["metadata"]
            assert metadata["labels"].keys() >= {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "helm.sh/chart",
            }
            assert metadata["labels"].items() >= common.items()
            assert ("namespace" in metadata) is (document["kind"] not in cluster_scoped), document


def test_selectors_match_their_own_pods_alone(rendered):
    for documents in rendered.values():
        pods = [
            (document["metadata"]["name"], document["spec"]["template"]["metadata"]["labels"])
            for document in of_kind(documents, "Deployment", "StatefulSet", "Job")
        ]
        for document in of_kind(documents, "Service", "PodDisruptionBudget", "NetworkPolicy"):
            spec = document["spec"]
            selector = spec.get("podSelector", spec.get("selector"))
            selector = selector.get("matchLabels", selector)
            matched = [name for name, labels in pods if selector.items() <= labels.items()]
            assert matched == [document["metadata"]["name"].removesuffix("-metrics")]


def test_the_tracker_accepts_its_arguments():
    (tracker,) = of_kind(render(value_set("tracker")), "StatefulSet")
    options = tracker_parser().parse_args(tracker["spec"]["template"]["spec"]["containers"][0]["args"])
    assert (options.port, options.public_url) == (9000, "https://tracker.example.com")
    assert str(options.api_key_file) == "/etc/finetune-tracker/api-key"


def test_one_operator_works_at_a_time():
    (deployment,) = of_kind(render({"replicas": 2, "fullnameOverride": "ft"}), "Deployment")
    assert "--lease=$(POD_NAMESPACE)/ft" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    (role,) = [r for r in of_kind(render({"fullnameOverride": "ft"}), "Role") if r["metadata"]["name"] == "ft-lease"]
    assert role["rules"][0]["resourceNames"] == ["ft"]


@pytest.mark.parametrize("values", [value_set(name) for name in SETS], ids=SETS)
def test_the_operator_accepts_its_arguments(values):
    (deployment,) = of_kind(render(values), "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    settings = from_arguments(parser().parse_args(container["args"]))
    assert settings.liveness_port == values.get("livenessProbe", {}).get("port", 8081)
    assert (settings.metrics_port is None) is (values.get("metrics", {}).get("enabled") is False)
    known = set(re.findall(r"FINETUNE_[A-Z_]+", inspect.getsource(finetune_operator.settings)))
    assert {e["name"] for e in container["env"] if e["name"].startswith("FINETUNE_")} <= known


@pytest.mark.parametrize(
    ("values", "arguments"),
    [
        pytest.param({}, ["--namespace=$(POD_NAMESPACE)"], id="own"),
        pytest.param({"scope": {"namespaces": ["a", "b"]}}, ["--namespace=a", "--namespace=b"], id="listed"),
        pytest.param({"scope": {"mode": "Cluster"}}, ["--all-namespaces"], id="cluster"),
    ],
)
def test_scope_becomes_arguments(values, arguments):
    (deployment,) = of_kind(render(values), "Deployment")
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [argument for argument in args if "namespace" in argument.partition("=")[0]] == arguments


@pytest.mark.parametrize(
    ("image", "mirror", "expected"),
    [
        pytest.param({}, "", "finetune-operator:0.1.0", id="default"),
        pytest.param({"tag": "1"}, "m.internal/x/", "m.internal/x/finetune-operator:1", id="mirror"),
        pytest.param({"registry": "r", "repository": "a/b"}, "m.internal", "r/a/b:0.1.0", id="own-registry"),
        pytest.param(
            {"digest": f"sha256:{'0' * 64}", "tag": "1"}, "", f"finetune-operator@sha256:{'0' * 64}", id="digest"
        ),
    ],
)
def test_image_names(image, mirror, expected):
    documents = render({"image": image, "global": {"imageRegistry": mirror}})
    images = {c["image"] for _, spec in pod_specs(documents) for c in spec["containers"]}
    assert images == {expected}


def test_null_removes_a_default():
    (deployment,) = of_kind(render(value_set("openshift")), "Deployment")
    assert deployment["spec"]["template"]["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_tracker_stands_in_for_wandb_unless_a_server_is_named():
    def base_url(values: Json) -> str | None:
        (deployment,) = of_kind(render(values), "Deployment")
        env = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
        return env.get("FINETUNE_WANDB_BASE_URL")

    assert base_url({}) is None
    assert base_url({"tracker": {"enabled": True}}) == "http://finetune-operator-tracker.finetune-system.svc:8080"
    assert base_url({"tracker": {"enabled": True}, "wandb": {"baseURL": "https://w.internal"}}) == "https://w.internal"


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        pytest.param({}, {53, 443, 6443}, id="cloud"),
        pytest.param({"wandb": {"baseURL": "https://w.internal:8443"}}, {53, 443, 6443, 8443}, id="port-of-the-url"),
        pytest.param({"wandb": {"baseURL": "http://w.internal"}}, {53, 80, 443, 6443}, id="port-of-the-scheme"),
        pytest.param(
            {"networkPolicy": {"wandb": {"ports": []}, "apiServer": {"ports": [6443]}}}, {53, 6443}, id="closed"
        ),
        pytest.param({"tracker": {"enabled": True}}, {53, 443, 6443, 8080}, id="tracker"),
    ],
)
def test_egress_is_listed(values, ports):
    policies = [p for p in of_kind(render(values), "NetworkPolicy") if not p["metadata"]["name"].endswith("-tracker")]
    (policy,) = policies
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == ports


def test_the_tracker_admits_operator_and_trainer_pods_and_calls_nobody():
    (policy,) = [
        p
        for p in of_kind(render({"tracker": {"enabled": True}}), "NetworkPolicy")
        if "tracker" in p["metadata"]["name"]
    ]
    assert policy["spec"]["egress"] == []
    assert {"key": "finetune.dev/kind", "operator": "Exists"} in policy["spec"]["ingress"][0]["from"][1]["podSelector"][
        "matchExpressions"
    ]


def test_no_key_in_the_values_and_the_generated_one_survives():
    (secret,) = of_kind(render({"tracker": {"enabled": True}}), "Secret")
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert of_kind(render({"tracker": {"enabled": True, "apiKey": {"existingSecret": "mine"}}}), "Secret") == []
    assert of_kind(render({}), "Secret") == []


def test_crds_are_kept_by_default_and_the_cleanup_follows():
    def hook(values: Json) -> tuple[str, str]:
        (job,) = of_kind(render(values), "Job")
        return job["metadata"]["annotations"]["helm.sh/hook"], job["spec"]["template"]["spec"]["containers"][0]["args"][
            0
        ]

    assert hook({}) == ("post-delete", "release")
    assert hook({"crds": {"keep": False}}) == ("pre-delete", "delete")
    assert hook({"crds": {"keep": False, "enabled": False}}) == ("post-delete", "release")
    for crd in of_kind(render({}), "CustomResourceDefinition"):
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for crd in of_kind(render({"crds": {"keep": False}}), "CustomResourceDefinition"):
        assert "helm.sh/resource-policy" not in crd["metadata"].get("annotations", {})


def test_notes_say_the_next_command():
    with helm.Chart.load(CHART) as chart:
        notes = {
            name: chart.render(value_set(name), name="ft", namespace="ml")["finetune-operator/templates/NOTES.txt"]
            for name in SETS
        }
    assert "helm --namespace ml test ft" in notes["default"]
    assert "create secret generic wandb" in notes["default"]
    assert "create rolebinding" in notes["cluster"]
    assert "WARNING: crds.enabled" in notes["tenant"]
    assert "WARNING: rbac.create" in notes["paused"]
    assert "WARNING: tracker.persistence" in notes["throwaway"]


def test_versions_agree_with_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    metadata = helm.Chart.load(CHART).metadata
    assert metadata["appVersion"] == version
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["version"])
