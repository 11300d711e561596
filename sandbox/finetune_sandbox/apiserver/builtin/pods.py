"""Pods and pod templates: defaults and checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, unsupported

from . import meta

Obj = dict[str, Any]

_SECRET_VOLUMES = {
    "secret": ("defaultMode", 420),
    "configMap": ("defaultMode", 420),
    "projected": ("defaultMode", 420),
    "downwardAPI": ("defaultMode", 420),
}
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_ENUMS: dict[str, list[str]] = {
    "restartPolicy": ["Always", "Never", "OnFailure"],
    "dnsPolicy": ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
}
_PROBES = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_QOS_RESOURCES = ("cpu", "memory")


def default_template(template: Obj | None) -> None:
    """Fills in the defaults of a pod template."""
    if template is not None:
        template.setdefault("metadata", {})
        default_spec(template.setdefault("spec", {}))


def default_spec(spec: Obj) -> None:
    """Fills in the defaults of a pod specification."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for container in _all_containers(spec):
        _default_container(container)
    if spec.get("hostNetwork"):
        for container in _all_containers(spec):
            for port in container.get("ports") or ():
                port.setdefault("hostPort", port.get("containerPort"))


def _all_containers(spec: Obj) -> Iterator[Obj]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _default_volume(volume: Obj) -> None:
    if not set(volume) - {"name"}:
        volume["emptyDir"] = {}
    for kind, (key, value) in _SECRET_VOLUMES.items():
        if kind in volume:
            volume[kind].setdefault(key, value)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)


def _default_container(container: Obj) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    image = container.get("image", "").rpartition("/")[2]
    latest = "@" not in image and (":" not in image or image.endswith(":latest"))
    container.setdefault("imagePullPolicy", "Always" if latest and image else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        if variable.get("value") == "" and "valueFrom" not in variable:
            del variable["value"]
        field = (variable.get("valueFrom") or {}).get("fieldRef")
        if field:
            field.setdefault("apiVersion", "v1")
    limits = container["resources"].get("limits")
    if limits:
        requests = container["resources"].setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            for key, value in _PROBES.items():
                container[probe].setdefault(key, value)
            if "httpGet" in container[probe]:
                container[probe]["httpGet"].setdefault("path", "/")
                container[probe]["httpGet"].setdefault("scheme", "HTTP")


def default_pod(pod: Obj) -> None:
    """Fills in the defaults of a pod."""
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)


def prepare_pod(pod: Obj) -> None:
    """What the server and its admission plugins set in a new pod."""
    spec = pod["spec"]
    tolerations = spec.setdefault("tolerations", [])
    for key in _TOLERATED:
        if not any(
            item.get("key", key) == key and item.get("effect", "NoExecute") == "NoExecute" for item in tolerations
        ):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort by the requests and limits of all containers."""
    resources = [container.get("resources") or {} for container in _all_containers(spec)]
    if not any(
        (found.get(key) or {}).get(name)
        for found in resources
        for key in ("requests", "limits")
        for name in _QOS_RESOURCES
    ):
        return "BestEffort"
    for found in resources:
        limits, requests = found.get("limits") or {}, found.get("requests") or {}
        if any(not limits.get(name) or requests.get(name, limits[name]) != limits[name] for name in _QOS_RESOURCES):
            return "Burstable"
    return "Guaranteed"


def validate_spec(spec: Obj, at: str, restart: list[str] | None = None) -> list[FieldError]:
    """Checks a pod specification.

    Args:
        spec: The specification.
        at: Its path.
        restart: Restart policies that the owner of a template allows; all when None.
    """
    errors: list[FieldError] = []
    names: set[str] = set()
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        errors += _name(volume.get("name"), f"{at}.volumes[{index}].name", volumes)
        sources = [key for key in volume if key != "name"]
        for extra in sources[1:]:
            errors.append(
                FieldError("Forbidden", f"{at}.volumes[{index}].{extra}", "may not specify more than 1 volume type")
            )
        path = (volume.get("hostPath") or {}).get("path", "x")
        if not path:
            errors.append(FieldError("Required", f"{at}.volumes[{index}].hostPath.path"))
    if not spec.get("containers"):
        errors.append(FieldError("Required", f"{at}.containers"))
    for key in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(key) or ()):
            errors += _container(container, f"{at}.{key}[{index}]", names, volumes)
    for key, supported in _ENUMS.items():
        value = spec.get(key)
        if key == "restartPolicy" and restart is not None and value not in restart:
            if value == "Always":  # what defaulting puts where nothing was said
                errors.append(
                    FieldError(
                        "Required",
                        f"{at}.{key}",
                        "valid values: " + ", ".join(f'"{item}"' for item in sorted(restart, reverse=True)),
                    )
                )
            else:
                errors.append(unsupported(f"{at}.{key}", value, restart))
        elif value not in supported:
            errors.append(unsupported(f"{at}.{key}", value, supported))
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        errors += _toleration(toleration, f"{at}.tolerations[{index}]")
    errors += meta.labels(spec.get("nodeSelector"), f"{at}.nodeSelector")
    for key in ("activeDeadlineSeconds",):
        if key in spec and spec[key] < 1:
            errors.append(
                FieldError("Invalid", f"{at}.{key}", "must be between 1 and 2147483647, inclusive", spec[key])
            )
    if spec["terminationGracePeriodSeconds"] < 0:
        text = "must be greater than or equal to 0"
        errors.append(
            FieldError("Invalid", f"{at}.terminationGracePeriodSeconds", text, spec["terminationGracePeriodSeconds"])
        )
    if spec.get("serviceAccountName"):
        errors += [
            FieldError("Invalid", f"{at}.serviceAccountName", text, spec["serviceAccountName"])
            for text in meta.dns_subdomain(spec["serviceAccountName"])
        ]
    return errors


def _name(name: str | None, at: str, seen: set[str]) -> list[FieldError]:
    if not name:
        return [FieldError("Required", at)]
    if bad := meta.dns_label(name):
        return [FieldError("Invalid", at, text, name) for text in bad]
    if name in seen:
        return [FieldError("Duplicate", at, "", name)]
    seen.add(name)
    return []


def _container(container: Obj, at: str, names: set[str], volumes: set[str]) -> list[FieldError]:
    errors = _name(container.get("name"), f"{at}.name", names)
    image = container.get("image", "")
    if not image:
        errors.append(FieldError("Required", f"{at}.image"))
    elif image != image.strip():
        errors.append(FieldError("Invalid", f"{at}.image", "must not have leading or trailing whitespace", image))
    if container.get("imagePullPolicy") not in ("Always", "IfNotPresent", "Never"):
        errors.append(
            unsupported(f"{at}.imagePullPolicy", container.get("imagePullPolicy"), ["Always", "IfNotPresent", "Never"])
        )
    if container.get("terminationMessagePolicy") not in ("File", "FallbackToLogsOnError"):
        errors.append(
            unsupported(
                f"{at}.terminationMessagePolicy",
                container.get("terminationMessagePolicy"),
                ["FallbackToLogsOnError", "File"],
            )
        )
    mounts: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{at}.volumeMounts[{index}]"
        if not mount.get("name"):
            errors.append(FieldError("Required", f"{here}.name"))
        elif mount["name"] not in volumes:
            errors.append(FieldError("NotFound", f"{here}.name", "", mount["name"]))
        if not mount.get("mountPath"):
            errors.append(FieldError("Required", f"{here}.mountPath"))
        elif mount["mountPath"] in mounts:
            errors.append(FieldError("Invalid", f"{here}.mountPath", "must be unique", mount["mountPath"]))
        mounts.add(mount.get("mountPath", ""))
    for index, variable in enumerate(container.get("env") or ()):
        here = f"{at}.env[{index}]"
        if not variable.get("name"):
            errors.append(FieldError("Required", f"{here}.name"))
        source = variable.get("valueFrom")
        if source is not None:
            if variable.get("value"):
                errors.append(
                    FieldError("Invalid", f"{here}.valueFrom", "may not be specified when `value` is not empty", "")
                )
            if len(source) != 1:
                text = (
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
                    if not source
                    else "may not have more than one field specified at a time"
                )
                errors.append(FieldError("Invalid", f"{here}.valueFrom", text, ""))
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if not number:
            errors.append(FieldError("Required", f"{at}.ports[{index}].containerPort"))
        elif not 0 < number < 65536:
            errors.append(
                FieldError(
                    "Invalid", f"{at}.ports[{index}].containerPort", "must be between 1 and 65535, inclusive", number
                )
            )
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            errors.append(unsupported(f"{at}.ports[{index}].protocol", port.get("protocol"), ["SCTP", "TCP", "UDP"]))
    return errors + _resources(container.get("resources") or {}, f"{at}.resources")


def _resources(resources: Obj, at: str) -> list[FieldError]:
    from finetune_sandbox.apiserver.quantity import parse

    errors, amounts = [], {}
    for key in ("limits", "requests"):
        for name, value in (resources.get(key) or {}).items():
            try:
                amounts[key, name] = parse(value)
            except ValueError:
                continue
            if amounts[key, name] < 0:
                errors.append(
                    FieldError("Invalid", f"{at}.{key}[{name}]", "must be greater than or equal to 0", str(value))
                )
            if (
                name not in ("cpu", "memory", "ephemeral-storage")
                and "/" not in name
                and not name.startswith("hugepages-")
            ):
                errors.append(
                    FieldError(
                        "Invalid", f"{at}.{key}[{name}]", "must be a standard resource type or fully qualified", name
                    )
                )
    for (key, name), value in amounts.items():
        limit = amounts.get(("limits", name))
        if key == "requests" and limit is not None and value > limit:
            text = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            errors.append(FieldError("Invalid", f"{at}.requests", text, str(resources["requests"][name])))
        if "/" in name and key == "requests" and limit is not None and limit != value:
            errors.append(
                FieldError(
                    "Invalid",
                    f"{at}.requests",
                    f"must be equal to {name} limit of {resources['limits'][name]}",
                    str(resources["requests"][name]),
                )
            )
        if "/" in name and key == "requests" and limit is None:
            errors.append(FieldError("Required", f"{at}.limits", "Limit must be set for non overcommitable resources"))
    return errors


def _toleration(toleration: Obj, at: str) -> list[FieldError]:
    errors = []
    operator = toleration.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        errors.append(unsupported(f"{at}.operator", operator, ["Equal", "Exists"]))
    if operator == "Exists" and toleration.get("value"):
        errors.append(
            FieldError(
                "Invalid", f"{at}.operator", "value must be empty when `operator` is 'Exists'", toleration["value"]
            )
        )
    if not toleration.get("key") and operator != "Exists":
        errors.append(
            FieldError(
                "Invalid",
                f"{at}.operator",
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
                operator,
            )
        )
    if toleration.get("effect") not in (None, "", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        errors.append(
            unsupported(f"{at}.effect", toleration["effect"], ["NoExecute", "NoSchedule", "PreferNoSchedule"])
        )
    return errors


_MUTABLE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")


def validate_pod_update(pod: Obj, old: Obj) -> list[FieldError]:
    """A pod's specification hardly changes: images, deadline, more tolerations, gates that go."""
    errors = []
    new_spec, old_spec = pod["spec"], old["spec"]
    was, now = old_spec.get("tolerations") or [], new_spec.get("tolerations") or []
    if any(item not in now for item in was):
        errors.append(
            FieldError(
                "Forbidden", "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
            )
        )
    gated = bool(old_spec.get("schedulingGates"))
    gone = (*_MUTABLE, "schedulingGates", *(("nodeSelector", "affinity") if gated else ()))
    if _frozen(new_spec, gone) != _frozen(old_spec, gone):
        text = (
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
        )
        errors.append(FieldError("Forbidden", "spec", text))
    return errors


def _frozen(spec: Obj, without: tuple[str, ...]) -> Obj:
    out = {key: value for key, value in spec.items() if key not in without}
    for key in ("containers", "initContainers"):
        if key in out:
            out[key] = [{name: value for name, value in container.items() if name != "image"} for container in out[key]]
    return out
