"""What goes wrong, as Kubernetes says it: `Status` objects with reason, code, details and causes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

NO_VALUE = object()
"""Marks a field error that has no value to show."""

_TITLES = {
    "Required": "Required value",
    "Invalid": "Invalid value",
    "TypeInvalid": "Invalid value",
    "NotSupported": "Unsupported value",
    "Duplicate": "Duplicate value",
    "NotFound": "Not found",
    "Forbidden": "Forbidden",
    "TooLong": "Too long",
    "TooMany": "Too many",
    "Internal": "Internal error",
}


@dataclass(frozen=True)
class FieldError:
    """One broken rule of one field.

    Attributes:
        kind: Required, Invalid, TypeInvalid, NotSupported, Duplicate, NotFound, Forbidden, TooLong, TooMany.
        field: Path such as `spec.containers[0].name`.
        detail: What is expected.
        value: The offending value; `NO_VALUE` when there is none to show.
    """

    kind: str
    field: str
    detail: str = ""
    value: Any = NO_VALUE

    def message(self) -> str:
        """The text without the field name, as it stands in a cause."""
        title = _TITLES[self.kind]
        shown = (
            ""
            if self.value is NO_VALUE or self.kind in ("Required", "Forbidden", "TooLong")
            else f": {quote(self.value)}"
        )
        return title + shown + (f": {self.detail}" if self.detail else "")

    def cause(self) -> dict[str, str]:
        """The error as one of `details.causes`."""
        reason = "InternalError" if self.kind == "Internal" else "FieldValue" + self.kind
        return {"reason": reason, "message": self.message(), "field": self.field}


def quote(value: Any) -> str:
    """A value as Go's validation errors print it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(field: str, detail: str = "") -> FieldError:
    """A field that must be there."""
    return FieldError("Required", field, detail)


def wrong(field: str, detail: str, value: Any) -> FieldError:
    """A value that breaks a rule."""
    return FieldError("Invalid", field, detail, value)


def banned(field: str, detail: str) -> FieldError:
    """A field that may not be set or changed here."""
    return FieldError("Forbidden", field, detail)


def unsupported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """A value outside an enumeration."""
    return FieldError("NotSupported", field, "supported values: " + ", ".join(f'"{item}"' for item in supported), value)


class ApiError(Exception):
    """An answer that is a `Status` of failure."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details
        self.warnings: Sequence[str] = ()

    def status(self) -> dict[str, Any]:
        """The body of the answer."""
        return status_object("Failure", self.code, self.reason, self.message, self.details)


def status_object(
    status: str, code: int | None = None, reason: str = "", message: str = "", details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A `Status`; empty members are left out."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": status}
    told = {"message": message, "reason": reason, "details": details, "code": code}
    return body | {key: value for key, value in told.items() if value not in ("", None)}


def qualified(resource: str, group: str) -> str:
    """`deployments.apps`, or `pods` in the core group."""
    return f"{resource}.{group}" if group else resource


def _details(group: str, kind: str, name: str = "", **more: Any) -> dict[str, Any]:
    base = {"name": name, "group": group, "kind": kind, **more}
    return {key: value for key, value in base.items() if value not in ("", None)}


def not_found(group: str, resource: str, name: str) -> ApiError:
    """404 for an object."""
    return ApiError(
        404, "NotFound", f'{qualified(resource, group)} "{name}" not found', _details(group, resource, name)
    )


def already_exists(group: str, resource: str, name: str) -> ApiError:
    """409 for a name that is taken."""
    return ApiError(
        409, "AlreadyExists", f'{qualified(resource, group)} "{name}" already exists', _details(group, resource, name)
    )


def conflict(group: str, resource: str, name: str, why: str) -> ApiError:
    """409 for an update that lost a race or a precondition that does not hold."""
    text = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return ApiError(409, "Conflict", text, _details(group, resource, name))


def modified(group: str, resource: str, name: str) -> ApiError:
    """409 for a stale resourceVersion."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(group, resource, name, why)


def forbidden(group: str, resource: str, name: str, why: str, causes: list[dict[str, str]] | None = None) -> ApiError:
    """403 with the usual opening."""
    opening = (
        f'{qualified(resource, group)} "{name}" is forbidden' if name else f"{qualified(resource, group)} is forbidden"
    )
    return ApiError(403, "Forbidden", f"{opening}: {why}", _details(group, resource, name, causes=causes))


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with one cause for each broken rule."""
    texts = [f"{error.field}: {error.message()}" for error in errors]
    said = texts[0] if len(texts) == 1 else "[" + ", ".join(dict.fromkeys(texts)) + "]"
    details = _details(group, kind, name, causes=[error.cause() for error in errors])
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {said}', details)


def rejected() -> ApiError:
    """422 for a patch that cannot be carried out."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def unsupported_media(accepted: Sequence[str] = ()) -> ApiError:
    """415; with the accepted types where the type is a patch that the resource lacks."""
    if not accepted:
        return ApiError(415, "UnsupportedMediaType", "Unsupported Media Type", {})
    text = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return ApiError(415, "UnsupportedMediaType", text)


def expired(message: str) -> ApiError:
    """410: the resourceVersion or continue token is older than the history kept."""
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    """405."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})
