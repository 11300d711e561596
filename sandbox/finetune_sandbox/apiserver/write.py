"""Creating and changing objects: decode, default, check, store."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import builtin, clock, customs, deletion
from .builtin import meta as object_meta
from .errors import (
    ApiError,
    FieldError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    modified,
    not_found,
    wrong,
)
from .options import Options
from .resources import Resource
from .schema.defaults import apply_defaults
from .schema.definitions import OBJECT_META, definition
from .schema.prune import TypeMismatchError, conform, prune
from .store import Obj

if TYPE_CHECKING:
    from .state import State

Change = Callable[[Obj], Obj]

_SYSTEM = (
    "uid",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)
_CREATED_BY_UPDATE = ("coordination.k8s.io/leases", "/events")
_CONDITIONAL = ("coordination.k8s.io/leases", "apiextensions.k8s.io/customresourcedefinitions")


def decode(resource: Resource, body: Any, options: Options, patch: bool = False) -> Obj:
    """A copy of what the client sent as the server understands it: known fields of the right types.

    Raises:
        ApiError: The body is no object of this kind, or has unknown fields while validation is strict.
    """
    if not isinstance(body, dict):
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: it is no object'
        )
    handled = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
    api_version = body.get("apiVersion") or resource.api_version
    unknown: list[str] = list(options.duplicates)
    obj: Obj
    sent = {
        **body,
        "apiVersion": api_version,
        "kind": body.get("kind") or resource.kind,
        "metadata": body.get("metadata") or {},
    }
    if not isinstance(sent["metadata"], dict):
        raise bad_request(f"{handled}: json: cannot unmarshal into Go struct field .metadata")
    try:
        if resource.custom is None:
            obj = conform(sent, resource.node, "", unknown)
        else:
            obj = prune(sent, resource.node, "", unknown, root=True)
            obj["metadata"] = conform(sent["metadata"], definition(OBJECT_META), "metadata", unknown)
    except TypeMismatchError as error:
        raise bad_request(f"{handled}: {error}") from error
    if api_version != resource.api_version:
        unknown += [key for key in body if key not in ("apiVersion", "kind", "metadata")]
    if resource.custom is not None:
        unknown.sort()
    _report(resource, unknown, options, handled, body if patch else None)
    if api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    if obj["kind"] != resource.kind and resource.custom is None:
        raise bad_request(f'{obj["kind"]} in version "{resource.version}" cannot be handled as a {resource.kind}')
    return obj


def _report(resource: Resource, unknown: list[str], options: Options, handled: str, patched: Any) -> None:
    if not unknown or options.field_validation == "Ignore":
        return
    texts = [text if text.startswith("duplicate") else f'unknown field "{text}"' for text in unknown]
    if options.field_validation == "Warn":
        options.warnings += texts
    elif patched is not None:
        text = "strict decoding error: " + ", ".join(texts)
        raise invalid("", "", "", [wrong("patch", text, options.patch)])
    else:
        raise bad_request(f"{handled}: strict decoding error: " + ", ".join(texts))


def create(
    state: State, resource: Resource, namespace: str | None, body: Any, options: Options, managed: Change | None = None
) -> Obj:
    """Stores a new object and returns it; `managed` adds managed fields that a server-side apply has worked out."""
    obj = decode(resource, body, options)
    fit_path(resource, obj, namespace, None)
    meta = obj["metadata"]
    if meta.get("resourceVersion"):
        raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
    if resource.namespaced:
        _check_namespace(state, resource, obj, namespace or "")
    for key in _SYSTEM:
        meta.pop(key, None)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = meta["generateName"][:58] + clock.suffix()
    meta["uid"], meta["creationTimestamp"] = clock.new_uid(), clock.now()
    if resource.generation or resource.custom is not None:
        meta["generation"] = 1
    if resource.has_status and resource.plural not in builtin.KEEPS_STATUS:
        obj.pop("status", None)
    finish(resource, obj)
    builtin.prepare(state, resource, obj)
    errors = check(state, resource, obj, None)
    if errors:
        raise invalid(resource.group, obj["kind"], meta.get("name", ""), errors)
    if state.store.get(resource.storage, namespace, meta["name"]) is not None:
        raise already_exists(resource.group, resource.plural, meta["name"])
    builtin.admit(state, resource, obj)
    obj = state.fields.created(resource, obj, options) if managed is None else managed(obj)
    if options.dry_run:
        return obj
    return state.stored(resource, obj)


def _check_namespace(state: State, resource: Resource, obj: Obj, namespace: str) -> None:
    home = state.store.get("/namespaces", None, namespace)
    if home is None:
        raise not_found("", "namespaces", namespace)
    if home["metadata"].get("deletionTimestamp"):
        name = obj["metadata"].get("name", "")
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise forbidden(resource.group, resource.plural, name, why, [cause])


def fit_path(resource: Resource, obj: Obj, namespace: str | None, name: str | None) -> None:
    """Checks name and namespace against the path, and fills them in."""
    meta = obj["metadata"]
    if name is not None and not meta.get("name"):
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if name is not None and meta["name"] != name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    if resource.namespaced:
        if meta.setdefault("namespace", namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    else:
        meta.pop("namespace", None)


def finish(resource: Resource, obj: Obj) -> None:
    """Fills in defaults, in place."""
    if resource.custom is None:
        builtin.default(resource, obj)
    elif obj["kind"] == resource.kind:
        apply_defaults(obj, resource.node)
        if obj.get("status", 0) is None:
            del obj["status"]


def check(state: State, resource: Resource, obj: Obj, old: Obj | None) -> list[FieldError]:
    """Everything that is wrong with a new object or a change."""
    errors = object_meta.validate(resource, obj)
    if old is not None:
        errors += object_meta.validate_update(resource, obj, old)
    if resource.custom is not None:
        return errors + customs.validate(resource, obj, old, errors)
    return errors + (builtin.validate(resource, obj) if old is None else builtin.validate_update(resource, obj, old))


def current(state: State, resource: Resource, namespace: str | None, name: str) -> Obj:
    """A stored object as this version of the resource shows it.

    Raises:
        ApiError: 404.
    """
    found = state.store.get(resource.storage, namespace if resource.namespaced else None, name)
    if found is None:
        raise not_found(resource.group, resource.plural, name)
    return show(resource, found)


def show(resource: Resource, obj: Obj) -> Obj:
    """An object in the version of a resource."""
    return obj if obj.get("apiVersion") == resource.api_version else {**obj, "apiVersion": resource.api_version}


def replace(
    state: State, resource: Resource, namespace: str | None, name: str, body: Any, options: Options, sub: str = ""
) -> tuple[Obj, bool]:
    """Carries out a PUT; returns the object and whether it was created."""
    sent = decode(resource, body, options)
    fit_path(resource, sent, namespace, name)
    found = state.store.get(resource.storage, namespace if resource.namespaced else None, name)
    if found is None and resource.storage in _CREATED_BY_UPDATE and not sub:
        sent["metadata"].pop("resourceVersion", None)
        return create(state, resource, namespace, sent, options), True
    old = current(state, resource, namespace, name)
    conditional = resource.custom is not None or resource.storage in _CONDITIONAL
    if conditional and not sent["metadata"].get("resourceVersion"):
        error = wrong("metadata.resourceVersion", "must be specified for an update", 0)
        raise invalid(resource.group, resource.plural, name, [error])
    uid = sent["metadata"].get("uid")
    if uid and uid != old["metadata"]["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
        raise conflict(resource.group, resource.plural, name, why)
    return update(state, resource, old, sent, options, sub), False


def update(
    state: State, resource: Resource, old: Obj, new: Obj, options: Options, sub: str = "", apply: Change | None = None
) -> Obj:
    """Stores a changed object if it really changed.

    Args:
        state: The server's state.
        resource: What the object is.
        old: The stored object.
        new: The wanted object, decoded.
        options: Of the request.
        sub: Subresource through which it is written: `status` changes nothing but status, and so on.
        apply: Managed fields that a server-side apply has worked out.
    """
    meta, was = new["metadata"], old["metadata"]
    name = was["name"]
    if meta.get("resourceVersion") and meta["resourceVersion"] != was["resourceVersion"]:
        raise modified(resource.group, resource.plural, name)
    new = _restrict(resource, old, new, sub)
    meta = new["metadata"]
    for key in (
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generateName",
    ):
        meta.pop(key, None)
        if key in was:
            meta[key] = was[key]
    meta.setdefault("uid", was["uid"])
    finish(resource, new)
    builtin.prepare_update(resource, new, old)
    errors = check(state, resource, new, old)
    if errors:
        raise invalid(resource.group, new["kind"], name, errors)
    if sub != "status" and builtin.counts(resource, new, old):
        meta["generation"] = was.get("generation", 0) + 1
    new = state.fields.updated(resource, old, new, options, sub) if apply is None else apply(new)
    if new == old:
        return old
    if options.dry_run:
        return new
    if was.get("deletionTimestamp") and deletion.released(resource, new):
        last = {**new, "metadata": {**new["metadata"], "resourceVersion": str(state.store.rv + 1)}}
        state.removed(resource, old)
        return last
    return state.stored(resource, new)


def _restrict(resource: Resource, old: Obj, new: Obj, sub: str) -> Obj:
    """What a write through this endpoint may change, on top of what is stored."""
    out = {**new, "metadata": dict(new["metadata"])}
    if sub == "status":
        out = {**old, "metadata": dict(old["metadata"])}
        if resource.custom is None:
            for key in ("labels", "annotations", "finalizers"):
                out["metadata"].pop(key, None)
                if key in new["metadata"]:
                    out["metadata"][key] = new["metadata"][key]
        out["metadata"]["managedFields"] = new["metadata"].get(
            "managedFields", old["metadata"].get("managedFields", [])
        )
        out.pop("status", None)
        if "status" in new:
            out["status"] = new["status"]
        return copy.deepcopy(out)
    if resource.has_status:
        out.pop("status", None)
        if "status" in old:
            out["status"] = old["status"]
    return out
