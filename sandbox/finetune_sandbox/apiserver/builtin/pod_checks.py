"""What makes a part of a pod's specification invalid."""

from __future__ import annotations

import re
from typing import Any

from finetune_sandbox import quantity
from finetune_sandbox.apiserver.errors import FieldError, banned, required, unsupported, wrong

from . import meta
from .rules import NOT_NEGATIVE, PROTOCOL, Errors, Obj, Rules, listed, names, needs, not_negative, one_of, port


def _pod_spec(spec: Obj, at: str) -> Errors:
    volumes, containers = listed(spec, at, "volumes"), listed(spec, at, "initContainers", "containers")
    yield from names(volumes)
    yield from names(containers)
    known = {volume.get("name") for volume, _ in volumes}
    for container, where in containers:
        for mount, here in listed(container, where, "volumeMounts"):
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
    for mount, here in listed(container, at, "volumeMounts"):
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
                yield wrong(here, NOT_NEGATIVE, str(resources[key][name]))
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


POD_RULES: Rules = {
    "Container": (
        needs("image"),
        one_of("imagePullPolicy", "Always", "IfNotPresent", "Never"),
        one_of("terminationMessagePolicy", "FallbackToLogsOnError", "File"),
        _container,
    ),
    "ContainerPort": (lambda obj, at: needs("containerPort")(obj, at) or port("containerPort")(obj, at), PROTOCOL),
    "EnvVar": (needs("name"), _variable),
    "EnvVarSource": (_source,),
    "HostPathVolumeSource": (needs("path"),),
    "PodSpec": (
        needs("containers"),
        one_of("restartPolicy", "Always", "Never", "OnFailure"),
        one_of("dnsPolicy", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        not_negative("terminationGracePeriodSeconds"),
        _pod_spec,
    ),
    "ResourceRequirements": (_resources,),
    "Toleration": (_toleration,),
    "Volume": (_volume,),
    "VolumeMount": (needs("name", "mountPath"),),
}
