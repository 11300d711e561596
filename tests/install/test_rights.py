"""Least privilege: what is granted, where, and above all what is not."""

import pytest

from tests.install.support import SETS, Json, of_kind, render, value_set


def grants(documents: list[Json]) -> list[tuple[str, str, str]]:
    """(subject, where, right) of every binding; where is a namespace or `*` for the whole cluster."""
    roles = {
        (role["kind"], role["metadata"].get("namespace"), role["metadata"]["name"]): role["rules"]
        for role in of_kind(documents, "Role", "ClusterRole")
    }
    found = []
    for binding in of_kind(documents, "RoleBinding", "ClusterRoleBinding"):
        namespace = binding["metadata"].get("namespace")
        reference = binding["roleRef"]
        rules = roles[(reference["kind"], namespace if reference["kind"] == "Role" else None, reference["name"])]
        subject = binding["subjects"][0]["name"]
        for rule in rules:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            found += [
                (subject, namespace or "*", f"{verb} {resource} {name}")
                for resource in rule["resources"]
                for verb in rule["verbs"]
                for name in rule.get("resourceNames", ["*"])
            ]
    return found


@pytest.mark.parametrize("name", SETS)
def test_secrets_are_only_got_and_never_cluster_wide(name):
    secrets = [(where, right) for _, where, right in grants(render(value_set(name))) if " secrets " in right]
    assert all(right.startswith("get ") for _, right in secrets)
    assert all(where != "*" for where, _ in secrets)


def test_namespaced_mode_binds_nothing_cluster_wide():
    documents = render({"scope": {"namespaces": ["a", "b"]}})
    assert of_kind(documents, "ClusterRoleBinding") == []
    assert {where for _, where, right in grants(documents) if "leases" not in right} == {"a", "b"}
    tenant = render(value_set("tenant"))
    assert of_kind(tenant, "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition") == []


def test_secrets_by_name():
    rights = [right for _, _, right in grants(render(value_set("tenant"))) if " secrets " in right]
    assert sorted(rights) == ["get secrets wandb", "get secrets wandb-staging"]


def test_cluster_mode_reads_secrets_where_it_was_let():
    documents = render({"scope": {"mode": "Cluster"}, "secretAccess": {"namespaces": ["speech"]}})
    assert {(where, right) for _, where, right in grants(documents) if " secrets " in right} == {
        ("speech", "get secrets *")
    }
    assert [role["metadata"]["name"] for role in of_kind(documents, "ClusterRole")].count(
        "finetune-operator-secret-reader"
    ) == 1
    nowhere = render({"scope": {"mode": "Cluster"}})
    assert [right for _, _, right in grants(nowhere) if " secrets " in right] == []


def test_the_cleanup_may_touch_our_kinds_alone():
    for keep in (True, False):
        rights = [right for who, _, right in grants(render({"crds": {"keep": keep}})) if who.endswith("-cleanup")]
        assert rights
        assert all(right.split()[1] in {"finetunejobs", "sweepruns"} for right in rights)
        assert any(right.startswith("delete") for right in rights) is not keep


def test_users_roles_aggregate():
    roles = {r["metadata"]["name"].rpartition("-")[2]: r for r in of_kind(render({}), "ClusterRole")}
    assert roles["view"]["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert roles["edit"]["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] == "true"
    assert all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in roles["view"]["rules"])


def test_nothing_is_granted_without_rbac_create():
    assert grants(render({"rbac": {"create": False}})) == []
