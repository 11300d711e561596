"""What makes an object of a built-in kind invalid, by the type of the part that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from finetune_sandbox import quantity
from finetune_sandbox.apiserver.errors import FieldError, banned, required, unsupported, wrong
from finetune_sandbox.apiserver.resources import Resource
from finetune_sandbox.apiserver.schema.walk import parts
from finetune_sandbox.objects import matches

from . import meta

Obj = dict[str, Any]
Errors = Iterator[FieldError]
Rule = Callable[[Obj, str], Iterable[FieldError]]

_NOT_NEGATIVE = "must be greater than or equal to 0"
_PORT = "must be between 1 and 65535, inclusive"


def needs(*keys: str, detail: str = "") -> Rule:
    """The fields must be there and not be empty."""
    return lambda obj, at: [required(_at(at, key), detail) for key in keys if not obj.get(key)]


def one_of(key: str, *allowed: str) -> Rule:
    """The field, where it is set, holds one of these values."""
    return lambda obj, at: (
        [unsupported(_at(at, key), obj[key], allowed)] if obj.get(key, allowed[0]) not in allowed else []
    )


def not_negative(*keys: str) -> Rule:
    """The numbers are not below zero."""
    return lambda obj, at: [wrong(_at(at, key), _NOT_NEGATIVE, obj[key]) for key in keys if (obj.get(key) or 0) < 0]


def port(*keys: str) -> Rule:
    """The numbers are ports; names of ports are left to others."""

    def check(obj: Obj, at: str) -> Errors:
        for key in keys:
            if isinstance(number := obj.get(key, 0), int) and not 0 < number < 65536:
                yield wrong(_at(at, key), _PORT, number)

    return check


def _at(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _names(items: Iterable[tuple[Obj, str]]) -> Errors:
    """Names must be there, be DNS labels and differ."""
    seen: set[str] = set()
    for item, at in items:
        name = item.get("name")
        if not name:
            yield required(f"{at}.name")
        elif bad := meta.dns_label(name):
            yield from (wrong(f"{at}.name", text, name) for text in bad)
        elif name in seen:
            yield FieldError("Duplicate", f"{at}.name", "", name)
        seen.add(name or "")


def _listed(obj: Obj, at: str, *keys: str) -> list[tuple[Obj, str]]:
    return [(item, f"{_at(at, key)}[{index}]") for key in keys for index, item in enumerate(obj.get(key) or ())]


def _pod_spec(spec: Obj, at: str) -> Errors:
    volumes, containers = _listed(spec, at, "volumes"), _listed(spec, at, "initContainers", "containers")
    yield from _names(volumes)
    yield from _names(containers)
    known = {volume.get("name") for volume, _ in volumes}
    for container, where in containers:
        for mount, here in _listed(container, where, "volumeMounts"):
            if mount.get("name") and mount["name"] not in known:
                yield FieldError("NotFound", f"{here}.name", "", mount["name"])
    yield from meta.labels(spec.get("nodeSelector"), f"{at}.nodeSelector")
    if spec.get("activeDeadlineSeconds", 1) < 1:
        text = "must be between 1 and 2147483647, inclusive"
        yield wrong(f"{at}.activeDeadlineSeconds", text, spec["activeDeadlineSeconds"])
    if account := spec.get("serviceAccountName"):
        yield from (wrong(f"{at}.serviceAccountName", text, account) for text in meta.dns_subdomain(account))


def _volume(volume: Obj, at: str) -> Errors:
    for extra in [key for key in volume if key != "name"][1:]:
        yield banned(f"{at}.{extra}", "may not specify more than 1 volume type")


def _container(container: Obj, at: str) -> Errors:
    image = container.get("image", "")
    if image != image.strip():
        yield wrong(f"{at}.image", "must not have leading or trailing whitespace", image)
    paths: set[str] = set()
    for mount, here in _listed(container, at, "volumeMounts"):
        if (path := mount.get("mountPath")) in paths:
            yield wrong(f"{here}.mountPath", "must be unique", path)
        paths.add(path or "")


def _source(source: Obj, at: str) -> Errors:
    if len(source) != 1:
        choice = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield wrong(at, "may not have more than one field specified at a time" if source else choice, "")


def _variable(variable: Obj, at: str) -> Errors:
    if variable.get("valueFrom") is not None and variable.get("value"):
        yield wrong(f"{at}.valueFrom", "may not be specified when `value` is not empty", "")


def _resources(resources: Obj, at: str) -> Errors:
    amounts: dict[str, dict[str, Any]] = {}
    for key in ("limits", "requests"):
        amounts[key] = {name: quantity.parse(value) for name, value in (resources.get(key) or {}).items()}
        for name, amount in amounts[key].items():
            here = f"{at}.{key}[{name}]"
            if amount < 0:
                yield wrong(here, _NOT_NEGATIVE, str(resources[key][name]))
            if "/" not in name and not re.fullmatch("cpu|memory|ephemeral-storage|hugepages-.*", name):
                yield wrong(here, "must be a standard resource type or fully qualified", name)
    for name, amount in amounts["requests"].items():
        limit, extended = amounts["limits"].get(name), "/" in name
        if limit is None:
            if extended:
                yield required(f"{at}.limits", "Limit must be set for non overcommitable resources")
        elif amount > limit or (extended and amount != limit):
            relation = "equal to" if extended else "less than or equal to"
            text = f"must be {relation} {name} limit of {resources['limits'][name]}"
            yield wrong(f"{at}.requests", text, str(resources["requests"][name]))


def _toleration(toleration: Obj, at: str) -> Errors:
    operator = toleration.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        yield unsupported(f"{at}.operator", operator, ["Equal", "Exists"])
    if operator == "Exists" and toleration.get("value"):
        yield wrong(f"{at}.operator", "value must be empty when `operator` is 'Exists'", toleration["value"])
    if not toleration.get("key") and operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield wrong(f"{at}.operator", text, operator)
    effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"]
    if toleration.get("effect") and toleration["effect"] not in effects:
        yield unsupported(f"{at}.effect", toleration["effect"], effects)


def _job_spec(spec: Obj, at: str) -> Errors:
    indexed, policy = spec.get("completionMode") == "Indexed", spec.get("podFailurePolicy")
    if indexed and spec.get("completions") is None:
        yield required(f"{at}.completions", "when completion mode is Indexed")
    if indexed and spec.get("parallelism", 0) > 100000:
        text = "must be less than or equal to 100000 when completion mode is Indexed"
        yield wrong(f"{at}.parallelism", text, spec["parallelism"])
    for key in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
        if spec.get(key) is not None and not indexed:
            yield wrong(f"{at}.{key}", "requires indexed completion mode", spec[key])
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    if "spec" not in template:
        yield required(f"{at}.template.spec.containers")
    if policy is not None:
        yield from _failure_policy(policy, spec, pod, at)
    yield from meta.labels((template.get("metadata") or {}).get("labels"), f"{at}.template.labels")
    if pod.get("restartPolicy") == "Always":  # what defaulting puts where nothing was said
        yield required(f"{at}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _failure_policy(policy: Obj, spec: Obj, pod: Obj, at: str) -> Errors:
    if spec.get("podReplacementPolicy") == "TerminatingOrFailed":
        yield unsupported(f"{at}.podReplacementPolicy", "TerminatingOrFailed", ["Failed"])
    if pod.get("restartPolicy") != "Never":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        yield wrong(f"{at}.template.spec.restartPolicy", text, pod.get("restartPolicy"))
    names = {container.get("name") for container in pod.get("containers") or ()}
    for rule, here in _listed(policy, f"{at}.podFailurePolicy", "rules"):
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield wrong(f"{here}.action", "requires the backoffLimitPerIndex to be set", "FailIndex")
        container = (rule.get("onExitCodes") or {}).get("containerName")
        if container and container not in names:
            text = "must be one of the container or initContainer names in the pod template"
            yield wrong(f"{here}.onExitCodes.containerName", text, container)


def _failure_rule(rule: Obj, at: str) -> Errors:
    actions = ["Count", "FailIndex", "FailJob", "Ignore"]
    if not rule.get("action"):
        yield required(f"{at}.action", "valid values: " + ", ".join(f'"{item}"' for item in actions))
    elif rule["action"] not in actions:
        yield unsupported(f"{at}.action", rule["action"], actions)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
    if codes is not None and conditions:
        yield wrong(at, "specifying both OnExitCodes and OnPodConditions is not supported", "")
    if codes is None and not conditions:
        yield wrong(at, "specifying one of OnExitCodes and OnPodConditions is required", "")


def _exit_codes(codes: Obj, at: str) -> Errors:
    operator, values = codes.get("operator"), codes.get("values") or []
    if not operator:
        yield required(f"{at}.operator", 'valid values: "In", "NotIn"')
    elif operator not in ("In", "NotIn"):
        yield unsupported(f"{at}.operator", operator, ["In", "NotIn"])
    if not values:
        yield wrong(f"{at}.values", "at least one value is required", values)
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield wrong(f"{at}.values[{index}]", "must not be 0 for the In operator", value)
        if value in values[:index]:
            yield FieldError("Duplicate", f"{at}.values[{index}]", "", value)
    if values != sorted(values):
        yield wrong(f"{at}.values", "must be ordered", values)


def _job(job: Obj, _at: str) -> Errors:
    spec, name = job["spec"], job["metadata"].get("name", "")
    yield from _template_labels(spec)
    if len(name) > 63:
        yield wrong("metadata.name", "must be no more than 63 characters", name)


def _template_labels(spec: Obj) -> Errors:
    labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    if spec.get("selector") and not matches(spec["selector"], labels):
        yield wrong("spec.template.metadata.labels", "`selector` does not match template `labels`", labels)


def _workload(obj: Obj, _at: str) -> Errors:
    spec = obj["spec"]
    selector, template = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        yield required("spec.selector")
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield wrong("spec.selector", f"empty selector is invalid for {obj['kind'].lower()}", selector)
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is None:
        yield wrong("spec.template.metadata.labels", "`selector` does not match template `labels`", labels)
    yield from _template_labels(spec)
    yield from meta.labels(labels, "spec.template.labels")
    if "spec" not in template:
        yield required("spec.template.spec.containers")
    elif template["spec"]["restartPolicy"] in ("Never", "OnFailure"):
        yield unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ["Always"])


def _strategy(strategy: Obj, at: str) -> Errors:
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        yield unsupported(at, strategy, ["Recreate", "RollingUpdate"])
    if strategy["type"] == "Recreate" and strategy.get("rollingUpdate"):
        yield banned(f"{at}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")


def _service_spec(spec: Obj, at: str) -> Errors:
    if spec["type"] == "ExternalName":
        yield from needs("externalName")(spec, at)
    elif spec.get("clusterIP") != "None":
        yield from needs("ports")(spec, at)
    ports = _listed(spec, at, "ports")
    if len(ports) > 1 or any(item.get("name") for item, _ in ports):
        yield from _names(ports)
    taken: list[Obj] = []
    for item, here in ports:
        identity = {"port": item.get("port"), "protocol": item["protocol"]}
        if identity in taken:
            yield FieldError("Duplicate", here, "", identity)
        taken.append(identity)
    yield from meta.labels(spec.get("selector"), f"{at}.selector")


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_DATA_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    " (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_LARGEST = 1024 * 1024


def _secret(secret: Obj, at: str) -> Errors:
    yield from _data(secret, at)
    for key in _SECRET_KEYS.get(secret["type"], ()):
        if key not in (secret.get("data") or {}):
            yield required(f"data[{key}]")
    account = "kubernetes.io/service-account.name"
    annotations = secret["metadata"].get("annotations") or {}
    if secret["type"] == "kubernetes.io/service-account-token" and not annotations.get(account):
        yield required(f"metadata.annotations[{account}]")


def _config_map(config_map: Obj, at: str) -> Errors:
    yield from _data(config_map, at)
    for key in set(config_map.get("binaryData") or ()) & set(config_map.get("data") or ()):
        yield wrong(f"data[{key}]", "duplicate of key present in binaryData", key)


def _data(obj: Obj, _at: str) -> Errors:
    data = [(field, *item) for field in ("data", "binaryData") for item in (obj.get(field) or {}).items()]
    for field, key, _ in data:
        if not _DATA_KEY.fullmatch(key) or len(key) > 253 or key in (".", ".."):
            yield wrong(f"{field}[{key}]", _DATA_KEY_TEXT, key)
    if sum(len(value) for _, _, value in data) > _LARGEST * 4 // 3:
        yield FieldError("TooLong", "", f"may not be more than {_LARGEST} bytes")


def _event(event: Obj, _at: str) -> Errors:
    about, home = (event.get("involvedObject") or {}).get("namespace", ""), event["metadata"].get("namespace", "")
    if about != home and not (not about and home == "default"):
        yield wrong("involvedObject.namespace", "does not match event.namespace", about)


def _lease_spec(spec: Obj, at: str) -> Errors:
    if (seconds := spec.get("leaseDurationSeconds")) is not None and seconds <= 0:
        yield wrong(f"{at}.leaseDurationSeconds", "must be greater than 0", seconds)


def _binding(binding: Obj, _at: str) -> Errors:
    kinds = ("ClusterRole",) if binding["kind"] == "ClusterRoleBinding" else ("Role", "ClusterRole")
    yield from one_of("kind", *kinds)({"kind": "", **binding["roleRef"]}, "roleRef")
    yield from needs("name")(binding["roleRef"], "roleRef")
    for subject, at in _listed(binding, "", "subjects"):
        yield from needs("name")(subject, at)
        yield from one_of("kind", "Group", "ServiceAccount", "User")({"kind": "", **subject}, at)
        if subject.get("kind") == "ServiceAccount" and binding["kind"] == "ClusterRoleBinding":
            yield from needs("namespace")(subject, at)


def _policy_rule(rule: Obj, at: str) -> Errors:
    yield from needs("verbs", detail="verbs must contain at least one value")(rule, at)
    if not rule.get("nonResourceURLs"):
        yield from needs("apiGroups", detail="resource rules must supply at least one api group")(rule, at)
        yield from needs("resources", detail="resource rules must supply at least one resource")(rule, at)


def _budget_spec(spec: Obj, at: str) -> Errors:
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield wrong(at, "minAvailable and maxUnavailable cannot be both set", {})


def _priority_class(obj: Obj, _at: str) -> Errors:
    if obj["value"] > 1_000_000_000 and not obj["metadata"].get("name", "").startswith("system-"):
        yield banned("value", "maximum allowed value of a user defined priority is 1000000000")


def _claim_spec(spec: Obj, at: str) -> Errors:
    modes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
    yield from (unsupported(f"{at}.accessModes", m, modes) for m in spec.get("accessModes") or () if m not in modes)
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield required(f"{at}.resources[storage]")
    elif quantity.parse(size) <= 0:
        yield wrong(f"{at}.resources[storage]", "must be greater than zero", size)


_JOB_NUMBERS = not_negative(
    "parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_PROTOCOL = one_of("protocol", "SCTP", "TCP", "UDP")
_RULES: dict[str, tuple[Rule, ...]] = {
    "ClusterRoleBinding": (_binding,),
    "ConfigMap": (_config_map,),
    "Container": (
        needs("image"),
        one_of("imagePullPolicy", "Always", "IfNotPresent", "Never"),
        one_of("terminationMessagePolicy", "FallbackToLogsOnError", "File"),
        _container,
    ),
    "ContainerPort": (lambda obj, at: needs("containerPort")(obj, at) or port("containerPort")(obj, at), _PROTOCOL),
    "Deployment": (_workload,),
    "DeploymentSpec": (not_negative("replicas"),),
    "DeploymentStrategy": (_strategy,),
    "EnvVar": (needs("name"), _variable),
    "EnvVarSource": (_source,),
    "Event": (_event,),
    "HostPathVolumeSource": (needs("path"),),
    "Job": (_job,),
    "JobSpec": (
        _JOB_NUMBERS,
        one_of("completionMode", "Indexed", "NonIndexed"),
        one_of("podReplacementPolicy", "Failed", "TerminatingOrFailed"),
        _job_spec,
    ),
    "LeaseSpec": (not_negative("leaseTransitions"), _lease_spec),
    "PersistentVolumeClaimSpec": (needs("accessModes", detail="at least 1 access mode is required"), _claim_spec),
    "PersistentVolumeSpec": (needs("accessModes", "capacity"),),
    "PodDisruptionBudgetSpec": (_budget_spec,),
    "PodFailurePolicyOnExitCodesRequirement": (_exit_codes,),
    "PodFailurePolicyRule": (_failure_rule,),
    "PodSpec": (
        needs("containers"),
        one_of("restartPolicy", "Always", "Never", "OnFailure"),
        one_of("dnsPolicy", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        not_negative("terminationGracePeriodSeconds"),
        _pod_spec,
    ),
    "PolicyRule": (_policy_rule,),
    "PriorityClass": (_priority_class,),
    "ReplicaSet": (_workload,),
    "ReplicaSetSpec": (not_negative("replicas"),),
    "ResourceRequirements": (_resources,),
    "RoleBinding": (_binding,),
    "Secret": (_secret,),
    "ServicePort": (port("port", "targetPort"), _PROTOCOL),
    "ServiceSpec": (one_of("type", "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"), _service_spec),
    "StatefulSet": (_workload,),
    "StatefulSetSpec": (not_negative("replicas"),),
    "Toleration": (_toleration,),
    "Volume": (_volume,),
    "VolumeMount": (needs("name", "mountPath"),),
}


def check(resource: Resource, obj: Obj) -> list[FieldError]:
    """Everything wrong with an object that has its defaults."""
    claims = {claim["metadata"]["name"] for claim in (obj.get("spec") or {}).get("volumeClaimTemplates") or ()}
    found = (
        error
        for kind, part, at in parts(obj, resource.node)
        for rule in _RULES.get(kind, ())
        for error in rule(part, at)
    )
    return [error for error in found if not (error.kind == "NotFound" and error.value in claims)]
