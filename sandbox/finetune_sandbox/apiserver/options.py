"""The options that requests carry in their query: dry run, field validation, field manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import FieldError, banned, invalid, required, unsupported

_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions"}


@dataclass
class Options:
    """Options of a write.

    Attributes:
        dry_run: Do everything but store.
        field_validation: Ignore, Warn or Strict.
        manager: Field manager for managedFields.
        force: A server-side apply takes fields over.
        warnings: Receives texts for `Warning` headers.
        duplicates: Duplicate keys found while reading the body.
        patch: The patch, for messages.
    """

    dry_run: bool = False
    field_validation: str = "Warn"
    manager: str = ""
    force: bool = False
    warnings: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    patch: Any = None


def read_options(
    verb: str, query: Mapping[str, str], user_agent: str, body: Any = None, apply: bool = False
) -> Options:
    """The options of a request.

    Raises:
        ApiError: 422 for values that are not supported.
    """
    kind = _KINDS.get(verb, "DeleteOptions")
    errors = []
    dry_run = query.get("dryRun") or (body or {}).get("dryRun") or []
    dry_run = [dry_run] if isinstance(dry_run, str) else dry_run
    if any(value != "All" for value in dry_run):
        errors.append(unsupported("dryRun", dry_run, ["All"]))
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        errors.append(unsupported("fieldValidation", validation, ["Ignore", "Strict", "Warn"]))
    manager = query.get("fieldManager", "")
    if len(manager) > 128:
        errors.append(FieldError("TooLong", "fieldManager", "may not be more than 128 bytes"))
    if verb == "patch":
        if apply and not manager:
            errors.append(required("fieldManager", "is required for apply patch"))
        if not apply and query.get("force"):
            errors.append(banned("force", "may not be specified for non-apply patch"))
    if errors:
        raise invalid("meta.k8s.io", kind, "", errors)
    force = query.get("force", "") in ("true", "1")
    return Options(bool(dry_run), validation, manager or (user_agent.partition("/")[0] or "unknown")[:128], force)
