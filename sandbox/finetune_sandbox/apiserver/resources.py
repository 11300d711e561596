"""The resources that the server has: a table of the built-in ones, to which CRDs add theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .schema.definitions import definition, kinds
from .schema.node import Node

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

# group/version, kind, plural, short names, subresources, flags.
# Flags: c cluster-scoped, g has a generation, n no deletecollection, o only create (reviews), a in category `all`.
_BUILTIN = """
v1 Namespace namespaces ns status,finalize cn
v1 Node nodes no status c
v1 Pod pods po status,binding,eviction,log ga
v1 PodTemplate podtemplates - -
v1 ReplicationController replicationcontrollers rc status,scale ga
v1 Service services svc status an
v1 Endpoints endpoints ep -
v1 ConfigMap configmaps cm -
v1 Secret secrets - -
v1 ServiceAccount serviceaccounts sa token
v1 Event events ev -
v1 LimitRange limitranges limits -
v1 ResourceQuota resourcequotas quota status
v1 PersistentVolume persistentvolumes pv status c
v1 PersistentVolumeClaim persistentvolumeclaims pvc status
apps/v1 Deployment deployments deploy status,scale ga
apps/v1 ReplicaSet replicasets rs status,scale ga
apps/v1 StatefulSet statefulsets sts status,scale ga
apps/v1 ControllerRevision controllerrevisions - -
batch/v1 Job jobs - status ga
rbac.authorization.k8s.io/v1 Role roles - -
rbac.authorization.k8s.io/v1 RoleBinding rolebindings - -
rbac.authorization.k8s.io/v1 ClusterRole clusterroles - - c
rbac.authorization.k8s.io/v1 ClusterRoleBinding clusterrolebindings - - c
networking.k8s.io/v1 NetworkPolicy networkpolicies netpol - g
networking.k8s.io/v1 Ingress ingresses ing status g
networking.k8s.io/v1 IngressClass ingressclasses - - cg
policy/v1 PodDisruptionBudget poddisruptionbudgets pdb status g
autoscaling/v2 HorizontalPodAutoscaler horizontalpodautoscalers hpa status a
coordination.k8s.io/v1 Lease leases - -
discovery.k8s.io/v1 EndpointSlice endpointslices - - g
scheduling.k8s.io/v1 PriorityClass priorityclasses pc - cg
storage.k8s.io/v1 StorageClass storageclasses sc - c
storage.k8s.io/v1 CSIDriver csidrivers - - c
storage.k8s.io/v1 CSINode csinodes - - c
storage.k8s.io/v1 VolumeAttachment volumeattachments - status c
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration validatingwebhookconfigurations - - cg
admissionregistration.k8s.io/v1 MutatingWebhookConfiguration mutatingwebhookconfigurations - - cg
apiextensions.k8s.io/v1 CustomResourceDefinition customresourcedefinitions crd,crds status cg
authentication.k8s.io/v1 TokenReview tokenreviews - - co
authentication.k8s.io/v1 SelfSubjectReview selfsubjectreviews - - co
authorization.k8s.io/v1 SubjectAccessReview subjectaccessreviews - - co
authorization.k8s.io/v1 SelfSubjectAccessReview selfsubjectaccessreviews - - co
authorization.k8s.io/v1 LocalSubjectAccessReview localsubjectaccessreviews - - o
authorization.k8s.io/v1 SelfSubjectRulesReview selfsubjectrulesreviews - - co
"""

_CATEGORIES = {"customresourcedefinitions": ("api-extensions",)}


@dataclass(eq=False)
class Resource:
    """One resource in one version.

    Attributes:
        group: API group; empty for the core group.
        version: Such as `v1`.
        kind: Such as `Pod`.
        plural: Such as `pods`.
        node: Compiled schema of the kind.
        subresources: Names of the subresources.
        generation: Objects count the changes of their specification.
        custom: The specification of the CRD that defines it; None for built-in resources.
        selectable: Paths by label for field selectors beside name and namespace.
        scale: Paths of the scale subresource: spec, status, selector.
        columns: Printer columns of a custom resource.
        definition: Name of the OpenAPI definition of a built-in kind.
        whole: Schema with metadata, made when server-side apply first needs it.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    node: Node
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = ALL_VERBS
    generation: bool = False
    custom: Mapping[str, Any] | None = None
    selectable: Mapping[str, str] = field(default_factory=dict)
    scale: tuple[str, str, str] | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    definition: str = ""
    whole: Node | None = None

    def __post_init__(self) -> None:
        self.singular = self.singular or self.kind.lower()
        self.list_kind = self.list_kind or self.kind + "List"
        self.storage = f"{self.group}/{self.plural}"
        self.api_version = f"{self.group}/{self.version}" if self.group else self.version

    @property
    def has_status(self) -> bool:
        """Status is written through its own endpoint."""
        return "status" in self.subresources


_SELECTABLE = {
    "pods": "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork"
    " status.phase status.podIP status.nominatedNodeName",
    "events": "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid"
    " involvedObject.apiVersion"
    " involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent source type",
    "secrets": "type",
    "namespaces": "status.phase",
    "nodes": "spec.unschedulable",
    "jobs": "status.successful",
    "replicasets": "status.replicas",
    "services": "spec.clusterIP spec.type",
    "customresourcedefinitions": "",
}
_PATHS = {"source": "source.component", "status.successful": "status.succeeded"}


class Registry:
    """Finds resources by path, and lists them for discovery."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        for line in _BUILTIN.strip().splitlines():
            self._add_builtin(line)

    def _add_builtin(self, line: str) -> None:
        group_version, kind, plural, short, subresources, *rest = line.split()
        flags = rest[0] if rest else ""
        group, _, version = group_version.rpartition("/")
        name = kinds()[(group, version, kind)]
        node = definition(name)
        subs = frozenset(subresources.split(",")) - {"-"}
        verbs: tuple[str, ...] = ("create",) if "o" in flags else ALL_VERBS
        if "n" in flags and plural == "namespaces":
            verbs = tuple(verb for verb in verbs if verb != "deletecollection")
        self.add(
            Resource(
                group, version, kind, plural, "c" not in flags, node,
                short_names=() if short == "-" else tuple(short.split(",")),
                categories=("all",) if "a" in flags else _CATEGORIES.get(plural, ()),
                subresources=subs, verbs=verbs, generation="g" in flags, definition=name,
                selectable={label: _PATHS.get(label, label) for label in _SELECTABLE.get(plural, "").split()},
                scale=("spec.replicas", "status.replicas", "") if "scale" in subs else None,
            )
        )  # fmt: skip

    def add(self, resource: Resource) -> None:
        """Serves a resource."""
        self._by_path[resource.group, resource.version, resource.plural] = resource

    def drop(self, group: str, plural: str) -> None:
        """Stops serving all versions of a resource."""
        for key in [key for key in self._by_path if (key[0], key[2]) == (group, plural)]:
            del self._by_path[key]

    def get(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource at a path."""
        return self._by_path.get((group, version, plural))

    def find(self, group: str, plural: str) -> Resource | None:
        """Any version of a resource."""
        return next((found for key, found in self._by_path.items() if (key[0], key[2]) == (group, plural)), None)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def groups(self) -> dict[str, list[str]]:
        """Versions of each group, the preferred one first."""
        found: dict[str, list[str]] = {}
        for resource in self:
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return {group: sorted(versions, key=version_priority) for group, versions in found.items()}


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes does: v2, v1, v1beta2, v1beta1, v1alpha1, anything else."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if not found:
        return (3, 0, 0, version)
    stability = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stability, -int(found[1]), -int(found[3] or 0), version)
