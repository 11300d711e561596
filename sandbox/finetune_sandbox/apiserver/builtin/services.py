"""Services: defaults, addresses and checks."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from finetune_sandbox.apiserver.errors import FieldError, unsupported

from . import meta

if TYPE_CHECKING:
    from finetune_sandbox.apiserver.state import State

Obj = dict[str, Any]

_SERVICE_TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]


def default_service(obj: Obj) -> None:
    """Fills in the defaults of a Service."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port", 0)
    obj.setdefault("status", {"loadBalancer": {}})


def prepare_service(state: State, obj: Obj) -> None:
    """Gives a Service its addresses."""
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        return
    if "clusterIP" not in spec:
        taken = {service["spec"].get("clusterIP") for service in state.store.items("/services")}
        seed = zlib.crc32(f"{obj['metadata'].get('namespace')}/{obj['metadata'].get('name')}".encode())
        candidates = (
            f"10.96.{(number >> 8) & 255}.{number & 255}" for number in range(seed % 65000 + 20, seed % 65000 + 66000)
        )
        spec["clusterIP"] = next(address for address in candidates if address not in taken)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        used = {
            port.get("nodePort")
            for service in state.store.items("/services")
            for port in service["spec"].get("ports") or ()
        }
        for port in spec.get("ports") or ():
            port.setdefault("nodePort", next(number for number in range(30000, 32768) if number not in used))
            used.add(port["nodePort"])


def keep_service(obj: Obj, old: Obj) -> None:
    """A changed Service keeps its addresses."""
    if obj["spec"]["type"] != "ExternalName":
        for key in ("clusterIP", "clusterIPs"):
            if key in old["spec"] and not obj["spec"].get(key):
                obj["spec"][key] = old["spec"][key]


def validate_service(obj: Obj) -> list[FieldError]:
    """Checks a Service."""
    spec, errors = obj["spec"], []
    ports = spec.get("ports") or []
    if spec["type"] not in _SERVICE_TYPES:
        errors.append(unsupported("spec.type", spec["type"], _SERVICE_TYPES))
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        errors.append(FieldError("Required", "spec.ports"))
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        errors.append(FieldError("Required", "spec.externalName"))
    names, taken = set(), set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            errors.append(FieldError("Required", f"{at}.name"))
        elif port.get("name"):
            errors += [FieldError("Invalid", f"{at}.name", text, port["name"]) for text in meta.dns_label(port["name"])]
            if port["name"] in names:
                errors.append(FieldError("Duplicate", f"{at}.name", "", port["name"]))
            names.add(port["name"])
        for key in ("port", "targetPort"):
            value = port.get(key, 0)
            if isinstance(value, int) and not 0 < value < 65536:
                errors.append(FieldError("Invalid", f"{at}.{key}", "must be between 1 and 65535, inclusive", value))
        if port["protocol"] not in ("TCP", "UDP", "SCTP"):
            errors.append(unsupported(f"{at}.protocol", port["protocol"], ["SCTP", "TCP", "UDP"]))
        if (port.get("port"), port["protocol"]) in taken:
            errors.append(FieldError("Duplicate", at, "", {"port": port.get("port"), "protocol": port["protocol"]}))
        taken.add((port.get("port"), port["protocol"]))
    return errors + meta.labels(spec.get("selector"), "spec.selector")


def validate_service_update(obj: Obj, old: Obj) -> list[FieldError]:
    """A Service's address does not change."""
    errors = validate_service(obj)
    if (
        old["spec"].get("clusterIP")
        and obj["spec"]["type"] != "ExternalName"
        and obj["spec"].get("clusterIP") != old["spec"]["clusterIP"]
    ):
        errors.append(
            FieldError("Invalid", "spec.clusterIPs[0]", "may not change once set", obj["spec"].get("clusterIP"))
        )
    return errors
