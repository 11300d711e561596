"""A pod's /etc/hosts: the names that cluster DNS would know. All pods share this machine's loopback address."""

from __future__ import annotations

from collections.abc import Iterable

from finetune_sandbox.objects import Object, is_deleting, key_of

_LOOPBACK = "127.0.0.1"


def hosts_file(pod: Object, services: Iterable[Object], pods: Iterable[Object]) -> str:
    """The file's text: the pod itself, Services, and pods of its namespace with a host name in a headless Service.

    Args:
        pod: The pod whose file it is.
        services: The Services of all namespaces; those of the pod's own have a short name too.
        pods: The pods of its namespace.
    """
    namespace, name = key_of(pod)
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{_LOOPBACK} {pod['spec'].get('hostname') or name}"]
    keys = sorted(key_of(service) for service in services)
    known = {service for where, service in keys if where == namespace}
    for where, service in keys:
        forms = _forms(service, where)
        lines.append(f"{_LOOPBACK} {' '.join(forms if where == namespace else forms[1:])}")
    for other in pods:
        spec = other["spec"]
        if spec.get("hostname") and spec.get("subdomain") in known and not is_deleting(other):
            full = f"{spec['hostname']}.{spec['subdomain']}"
            lines.append(f"{_LOOPBACK} {' '.join(_forms(full, namespace))}")
    return "\n".join(lines) + "\n"


def _forms(name: str, namespace: str) -> list[str]:
    return [name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"]
