"""A container's command line and environment, from its specification and the objects it refers to."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from finetune_sandbox.client import CONFIG_MAPS, SECRETS, Resource
from finetune_sandbox.kubelet.images import Image, default_path
from finetune_sandbox.objects import Object, key_of
from finetune_sandbox.quantity import parse

Fetch = Callable[[Resource, str], Awaitable[Object | None]]
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class ConfigError(Exception):
    """A container refers to something that is not there; the text is that of the kubelet."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by known variables; unknown ones stay, `$$` is one dollar."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return _REFERENCE.sub(value, text)


def command_line(container: Object, image: Image, variables: Mapping[str, str]) -> list[str]:
    """What the container executes: `command` replaces the image's entrypoint, `args` follow.

    Raises:
        ConfigError: There is nothing to execute.
    """
    command = container.get("command") or list(image.command)
    argv = [expand(part, variables) for part in [*command, *(container.get("args") or ())]]
    if not argv:
        raise ConfigError("no command specified")
    return argv


async def environment(
    pod: Object, container: Object, image: Image, given: Mapping[str, str], fetch: Fetch
) -> dict[str, str]:
    """The container's variables: image, cluster, `envFrom`, then `env`.

    Args:
        pod: The pod, for fieldRef.
        container: The container.
        image: Its image.
        given: What the kubelet itself sets.
        fetch: Reads a Secret or ConfigMap of the pod's namespace.

    Raises:
        ConfigError: A Secret, ConfigMap or key is missing and not optional.
    """
    variables = {"PATH": default_path(), **image.env, **given}
    for source in container.get("envFrom") or ():
        data = await _all_of(pod, source, fetch)
        prefix = source.get("prefix", "")
        variables.update({prefix + name: value for name, value in data.items() if _NAME.fullmatch(prefix + name)})
    for variable in container.get("env") or ():
        if (source := variable.get("valueFrom")) is None:
            variables[variable["name"]] = expand(variable.get("value") or "", variables)
        elif (value := await _value_from(pod, container, source, fetch)) is not None:
            variables[variable["name"]] = value
    return variables


async def _all_of(pod: Object, source: Object, fetch: Fetch) -> dict[str, str]:
    for name, resource in (("secretRef", SECRETS), ("configMapRef", CONFIG_MAPS)):
        if reference := source.get(name):
            found = await fetch(resource, reference["name"])
            if found is None and not reference.get("optional"):
                raise ConfigError(_not_found(resource, reference["name"]))
            return decoded(resource, found or {})
    return {}


async def _value_from(pod: Object, container: Object, source: Object, fetch: Fetch) -> str | None:
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return resource_value(pod, container, reference)
    for name, resource in (("secretKeyRef", SECRETS), ("configMapKeyRef", CONFIG_MAPS)):
        if reference := source.get(name):
            found = await fetch(resource, reference["name"])
            if found is None:
                if reference.get("optional"):
                    return None
                raise ConfigError(_not_found(resource, reference["name"]))
            value = decoded(resource, found).get(reference["key"])
            if value is None and not reference.get("optional"):
                kind = resource.kind
                raise ConfigError(f"couldn't find key {reference['key']} in {kind} {'/'.join(key_of(found))}")
            return value
    return None


def _not_found(resource: Resource, name: str) -> str:
    return f'{resource.kind.lower()} "{name}" not found'


def raw_data(resource: Resource, obj: Object) -> dict[str, bytes]:
    """All entries of a Secret or ConfigMap as bytes."""
    if resource == SECRETS:
        return {name: base64.b64decode(value) for name, value in (obj.get("data") or {}).items()}
    texts = {name: value.encode() for name, value in (obj.get("data") or {}).items()}
    return texts | {name: base64.b64decode(value) for name, value in (obj.get("binaryData") or {}).items()}


def decoded(resource: Resource, obj: Object) -> dict[str, str]:
    """All entries as text, as environment variables can hold them."""
    return {name: value.decode(errors="surrogateescape") for name, value in raw_data(resource, obj).items()}


def field_value(pod: Object, path: str) -> str:
    """A pod's own field, as the downward API names it.

    Raises:
        ConfigError: The path is not one that the downward API has.
    """
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((meta.get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f'{name}="{value}"' for name, value in sorted((meta.get(path[9:]) or {}).items()))
    plain: dict[str, Any] = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": status.get("hostIP", "127.0.0.1"),
        "status.podIP": status.get("podIP", "127.0.0.1"),
        "status.podIPs": status.get("podIP", "127.0.0.1"),
        "status.hostIPs": status.get("hostIP", "127.0.0.1"),
    }
    if path not in plain:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(plain[path])


def resource_value(pod: Object, container: Object, reference: Object) -> str:
    """A container's own request or limit, divided by the divisor and rounded up."""
    name = reference.get("containerName") or container.get("name")
    owner = next((c for c in pod["spec"]["containers"] if c["name"] == name), container)
    kind, _, resource = reference["resource"].partition(".")
    amount = parse(((owner.get("resources") or {}).get(kind) or {}).get(resource, 0))
    divisor = parse(reference.get("divisor") or 1) or parse(1)
    return str(math.ceil(amount / divisor))
