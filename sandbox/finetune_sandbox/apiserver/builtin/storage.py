"""PersistentVolumes, their claims and StorageClasses: defaults and checks."""

from __future__ import annotations

from typing import Any

from finetune_sandbox.apiserver import quantity
from finetune_sandbox.apiserver.errors import FieldError, unsupported

Obj = dict[str, Any]

_ACCESS_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]


def default_claim(obj: Obj) -> None:
    """Fills in the defaults of a PersistentVolumeClaim."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def validate_claim(obj: Obj) -> list[FieldError]:
    """Checks a PersistentVolumeClaim."""
    spec, errors = obj["spec"], []
    if not spec.get("accessModes"):
        errors.append(FieldError("Required", "spec.accessModes", "at least 1 access mode is required"))
    errors += [
        unsupported("spec.accessModes", mode, _ACCESS_MODES)
        for mode in spec.get("accessModes") or ()
        if mode not in _ACCESS_MODES
    ]
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errors.append(FieldError("Required", "spec.resources[storage]"))
    elif quantity.parse(storage) <= 0:
        errors.append(FieldError("Invalid", "spec.resources[storage]", "must be greater than zero", storage))
    return errors


def validate_claim_update(obj: Obj, old: Obj) -> list[FieldError]:
    """A claim's specification is for good but for its volume once and a growing size."""
    new, was = dict(obj["spec"]), dict(old["spec"])
    if not was.get("volumeName"):
        new.pop("volumeName", None)
    new.pop("resources", None)
    was.pop("resources", None)
    if new != was:
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        return [FieldError("Forbidden", "spec", text)]
    return []


def default_volume(obj: Obj) -> None:
    """Fills in the defaults of a PersistentVolume."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def validate_volume(obj: Obj) -> list[FieldError]:
    """Checks a PersistentVolume."""
    spec, errors = obj["spec"], []
    if not spec.get("accessModes"):
        errors.append(FieldError("Required", "spec.accessModes"))
    if "storage" not in (spec.get("capacity") or {}):
        errors.append(FieldError("Required", "spec.capacity"))
    return errors


def default_storage_class(obj: Obj) -> None:
    """Fills in the defaults of a StorageClass."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")
