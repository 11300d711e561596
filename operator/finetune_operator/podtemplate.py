"""Strategic merge of `trainer.podTemplate` over the generated pod template, by the merge keys of the Kubernetes API."""

from __future__ import annotations

from typing import Any

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "ports": "containerPort",
    "schedulingGates": "name",
    "resourceClaims": "name",
}
"""Lists that merge item by item, and the key that tells which items are the same; other lists are replaced, but for
tolerations, which are appended."""


def merge(base: Any, override: Any) -> Any:
    """`override` merged over `base`; null removes a key.

    Raises:
        ValueError: An item of a keyed list lacks its key.
    """
    if not (isinstance(base, dict) and isinstance(override, dict)):
        return override
    result = dict(base)
    for key, value in override.items():
        if value is None:
            result.pop(key, None)
        elif key == "tolerations" and isinstance(result.get(key), list):
            result[key] = [*result[key], *(item for item in value if item not in result[key])]
        elif key in _MERGE_KEYS and isinstance(value, list):
            result[key] = _merge_list(key, result.get(key, []), value)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _merge_list(field: str, base: list[Any], override: list[Any]) -> list[Any]:
    key = _MERGE_KEYS[field]
    items = {item[key]: item for item in base}
    for item in override:
        if not isinstance(item, dict) or key not in item:
            raise ValueError(f"podTemplate: every item of {field} needs {key}")
        items[item[key]] = merge(items.get(item[key], {}), item)
    return list(items.values())


def check(template: dict[str, Any]) -> str | None:
    """A sentence about what is wrong with a pod template override, or None."""
    if unknown := sorted(set(template) - {"metadata", "spec"}):
        return f"unknown field {unknown[0]!r}; known are metadata and spec"
    for block in ("metadata", "spec"):
        if block in template and not isinstance(template[block], dict):
            return f"{block} must be an object"
    metadata = template.get("metadata", {})
    if unknown := sorted(set(metadata) - {"labels", "annotations"}):
        return f"unknown field metadata.{unknown[0]}; known are labels and annotations"
    for block in ("labels", "annotations"):
        entries = metadata.get(block, {})
        if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
            return f"metadata.{block} must be an object of strings"
    for field in ("containers", "initContainers", "volumes"):
        items = template.get("spec", {}).get(field, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) and item.get("name") for item in items):
            return f"spec.{field} must be a list of objects with a name"
    try:
        merge({}, template)
        for container in template.get("spec", {}).get("containers", []):
            merge({"env": [], "volumeMounts": []}, container)
    except (ValueError, TypeError) as error:
        return str(error).removeprefix("podTemplate: ")
    return None
