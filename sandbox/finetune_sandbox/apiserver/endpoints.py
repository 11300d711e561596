"""Requests for resources: read, write, delete, and their subresources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import deletion, rbac, read, subresources, write
from .body import read as read_body
from .errors import ApiError, method_not_allowed
from .options import Options, read_options
from .patching import patch
from .resources import Resource
from .routing import Route
from .state import State
from .store import Obj
from .users import User


@dataclass(frozen=True)
class Call:
    """One request for a resource.

    Attributes:
        route: What it is about.
        resource: The resource it names.
        user: Who asks.
        query: The query of the request.
        media: Content type of the body.
        data: The body.
        agent: The client's name, which becomes the field manager.
    """

    route: Route
    resource: Resource
    user: User
    query: Mapping[str, str]
    media: str
    data: bytes
    agent: str

    @property
    def namespace(self) -> str | None:
        """The namespace of the objects; None for cluster-scoped resources and for all namespaces."""
        return self.route.namespace if self.resource.namespaced else None


@dataclass(frozen=True)
class Result:
    """An answer: body, HTTP code and warnings."""

    body: Obj
    code: int = 200
    warnings: tuple[str, ...] = ()


def answer(state: State, call: Call) -> Result:
    """Carries out a request other than a watch or a log."""
    route, resource = call.route, call.resource
    if not route.subresource and route.verb not in resource.verbs:
        raise method_not_allowed()
    if route.verb == "list":
        return Result(read.list_objects(state, resource, call.namespace, call.query))
    if route.verb == "get":
        found = write.current(state, resource, call.namespace, route.name)
        return Result(subresources.scale_of(resource, found) if route.subresource == "scale" else found)
    options = read_options(route.verb, call.query, call.agent, None, "apply-patch" in call.media)
    try:
        return _write(state, call, options)
    except ApiError as error:
        error.warnings = [*error.warnings, *options.warnings]
        raise


def _write(state: State, call: Call, options: Options) -> Result:
    route, resource, sub = call.route, call.resource, call.route.subresource
    if route.verb == "patch":
        if sub == "scale":
            scale = subresources.write_scale(
                state, resource, call.namespace, route.name, None, call.media, options, call.data
            )
            return Result(scale, 200, tuple(options.warnings))
        guard = lambda obj: rbac.check_escalation(state.store, call.user, resource.plural, obj)  # noqa: E731
        obj, created = patch(state, resource, call.namespace, route.name, call.data, call.media, options, sub, guard)
        return Result(obj, 201 if created else 200, tuple(options.warnings))
    body, options.duplicates = read_body(call.data, call.media, resource) if call.data else ({}, [])
    if route.verb in ("delete", "deletecollection"):
        return _delete(state, call, body if isinstance(body, dict) else {})
    if route.verb == "create":
        return _create(state, call, body, options)
    if route.verb != "update":
        raise method_not_allowed()
    if sub == "scale":
        return Result(subresources.write_scale(state, resource, call.namespace, route.name, body, None, options, b""))
    if sub == "finalize":
        return Result(subresources.finalize(state, resource, route.name, body))
    rbac.check_escalation(
        state.store,
        call.user,
        resource.plural,
        {**body, "metadata": {**(body.get("metadata") or {}), "name": route.name}},
    )
    obj, created = write.replace(state, resource, call.namespace, route.name, body, options, sub)
    return Result(obj, 201 if created else 200, tuple(options.warnings))


def _create(state: State, call: Call, body: Any, options: Options) -> Result:
    route, resource = call.route, call.resource
    if route.subresource:
        return Result(
            subresources.create(state, resource, call.namespace, route.name, route.subresource, body, options), 201
        )
    if route.name:
        raise method_not_allowed()
    if resource.verbs == ("create",):
        decoded = write.decode(resource, body, options)
        if resource.kind == "TokenReview":
            return Result(_token_review(state, decoded), 201)
        return Result(
            rbac.review(state.store, call.user, resource.kind, route.namespace or "", decoded),
            201,
            tuple(options.warnings),
        )
    if resource.group == "rbac.authorization.k8s.io":
        meta = {"name": "", **(body.get("metadata") or {}), "namespace": route.namespace or ""}
        rbac.check_escalation(state.store, call.user, resource.plural, {**body, "metadata": meta})
    return Result(write.create(state, resource, call.namespace, body, options), 201, tuple(options.warnings))


def _token_review(state: State, body: Obj) -> Obj:
    user = state.tokens.user(state, (body.get("spec") or {}).get("token", ""))
    if user is None:
        return {**body, "status": {"authenticated": False, "error": "the token is not valid"}}
    return {
        **body,
        "status": {
            "authenticated": True,
            "user": {"username": user.name, "uid": user.uid, "groups": list(user.groups)},
        },
    }


def _delete(state: State, call: Call, body: Obj) -> Result:
    route, resource, query = call.route, call.resource, call.query
    wanted = dict(body)
    for key in ("propagationPolicy", "gracePeriodSeconds", "orphanDependents"):
        if key in query:
            text = query[key]
            wanted[key] = (
                int(text) if key == "gracePeriodSeconds" else text == "true" if key == "orphanDependents" else text
            )
    options = read_options("delete", query, call.agent, wanted)
    if route.verb == "delete":
        obj = write.current(state, resource, call.namespace, route.name)
        new, gone = deletion.delete(state, resource, obj, wanted, options)
        return Result(deletion.answer(resource, write.show(resource, new), gone), 200, tuple(options.warnings))
    listed = read.list_objects(state, resource, call.namespace, query)
    for item in listed["items"]:
        meta = item["metadata"]
        found = state.store.get(resource.storage, meta.get("namespace"), meta["name"])
        if found is not None:
            deletion.delete(state, resource, found, wanted, options)
    return Result(listed, 200, tuple(options.warnings))
