"""Checks of the installation: definitions, rights, operator, secret, tracker. Pure: facts in, findings out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

from finetune_cli.doctor import workload
from finetune_cli.doctor.facts import Facts, Finding, Unknown, fault, ok, unknown

OPERATOR_PATIENCE = 30.0
"""Seconds within which a working operator has looked at a new resource."""
_KEY_LENGTH = 40
"""W&B's API keys have at least this many characters."""


def judge(facts: Facts) -> list[Finding]:
    """All findings, causes before effects."""
    checks: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
        namespace,
        definitions,
        rights,
        operator,
        secret,
        tracker,
        workload.reference,
        workload.nodes,
        workload.quota,
        workload.queue,
        workload.claims,
        workload.image,
        workload.dataset,
        workload.resource,
    )
    return [finding for check in checks for finding in check(facts)]


def namespace(facts: Facts) -> Iterator[Finding]:
    """The namespace exists."""
    if isinstance(facts.namespace_exists, Unknown):
        yield unknown("namespace", facts.namespace_exists)
    elif not facts.namespace_exists:
        fix = f"kubectl create namespace {facts.namespace}, or choose another with -n"
        yield fault("namespace", f"namespace {facts.namespace} does not exist", fix)
    else:
        yield ok("namespace", facts.namespace)


def definitions(facts: Facts) -> Iterator[Finding]:
    """The custom resource definitions are there, established, and know every field that this version writes."""
    if isinstance(facts.crds, Unknown):
        yield unknown("definitions", facts.crds)
        return
    for name, crd in facts.crds.items():
        if crd is None:
            fix = "helm install finetune charts/finetune-operator, or kubectl apply --server-side -k manifests/crds"
            yield fault("definitions", f"CustomResourceDefinition {name} is not installed", fix)
            continue
        conditions = {c["type"]: c for c in crd.get("status", {}).get("conditions") or ()}
        if conditions.get("Established", {}).get("status") != "True":
            why = conditions.get("NamesAccepted", {}).get("message") or "it is not established"
            fix = f"kubectl describe crd {name}; another definition may hold its names"
            yield fault("definitions", f"CustomResourceDefinition {name}: {why}", fix)
            continue
        lacking = sorted(facts.wanted_fields.get(name, set()) - spec_fields(crd))
        if lacking:
            fix = "kubectl apply --server-side -k manifests/crds (helm upgrade does it where crds.enabled is true)"
            yield fault(
                "definitions",
                f"CustomResourceDefinition {name} is outdated: it lacks spec.{', spec.'.join(lacking)}",
                fix,
            )
        else:
            yield ok("definitions", name)


def spec_fields(crd: dict[str, object]) -> set[str]:
    """Names directly under spec in the served version's schema."""
    spec: dict[str, object] = crd["spec"]  # type: ignore[assignment]
    for version in spec.get("versions") or ():  # type: ignore[attr-defined]
        if version.get("served"):
            schema = version.get("schema", {}).get("openAPIV3Schema", {})
            return set(schema.get("properties", {}).get("spec", {}).get("properties", {}))
    return set()


def rights(facts: Facts) -> Iterator[Finding]:
    """The user of this kubeconfig may do what the commands do."""
    if isinstance(facts.missing_rights, Unknown):
        yield unknown("rights", facts.missing_rights)
    elif facts.missing_rights:
        listed = ", ".join(f"{r.verb} {r.resource} ({r.why})" for r in facts.missing_rights)
        fix = (
            "bind the role `edit` in this namespace (the chart's rbac.aggregate adds our kinds to view, edit and admin)"
        )
        yield fault("rights", f"your user may not {listed}", fix)
    else:
        yield ok("rights", f"your user may submit, change and read in {facts.namespace}")


def operator(facts: Facts) -> Iterator[Finding]:
    """An operator is installed, runs, and looks at this namespace."""
    if facts.resource is not None and facts.resource.observed:
        yield ok("operator", f"has looked at generation {facts.resource.generation} of {facts.resource.label}")
        return
    late = facts.resource is not None and facts.submitted > OPERATOR_PATIENCE
    if isinstance(facts.operators, Unknown):
        if late:
            yield _silent(facts)
        else:
            yield unknown("operator", facts.operators)
        return
    if not facts.operators:
        if late:
            yield _silent(facts)
        else:
            message = "no Deployment of the operator is visible; it may run outside this cluster"
            yield unknown("operator", message, "helm install finetune charts/finetune-operator")
        return
    for deployment in [one for one in facts.operators if _serves(one, facts.namespace)] or facts.operators:
        where = f"Deployment {deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
        wanted = deployment.get("spec", {}).get("replicas", 1)
        if not _serves(deployment, facts.namespace):
            served = ", ".join(_namespaces(deployment))
            fix = f"add {facts.namespace} to the chart's scope.namespaces, or submit to {served}"
            yield fault("operator", f"{where} serves {served}, not {facts.namespace}", fix)
        elif wanted == 0:
            fix = "set the chart's `replicas` back to 1; running sweeps go on meanwhile, but nothing new is decided"
            yield fault("operator", f"{where} is paused: it has 0 replicas", fix)
        elif not deployment.get("status", {}).get("availableReplicas"):
            fix = "kubectl describe its pods (image, rights, memory), and kubectl logs them"
            yield fault("operator", f"{where} has no available pod", fix)
        elif late:
            yield _silent(facts, where)
        else:
            yield ok("operator", f"{where} is available")


def _namespaces(deployment: dict[str, Any]) -> list[str]:
    """Those that an operator is told to serve; empty for all of them."""
    containers = deployment.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or ()
    given = [argument for container in containers for argument in container.get("args") or ()]
    return [one.removeprefix("--namespace=") for one in given if one.startswith("--namespace=")]


def _serves(deployment: dict[str, Any], namespace: str) -> bool:
    return namespace in (_namespaces(deployment) or [namespace])


def _silent(facts: Facts, where: str = "the operator") -> Finding:
    assert facts.resource is not None
    fix = f"check that it serves namespace {facts.namespace} (the chart's scope.namespaces), and read its logs"
    message = f"{where} has not looked at {facts.resource.label} for {facts.submitted:.0f} s"
    return fault("operator", message, fix)


def secret(facts: Facts) -> Iterator[Finding]:
    """The API key's Secret exists, has the key, and the key looks like one."""
    if facts.resource is None:
        name, key = "wandb", "api-key"
    else:
        ref = facts.resource.parsed.spec.wandb.api_key_secret_ref
        name, key = ref.name, ref.key
    create = f"kubectl -n {facts.namespace} create secret generic {name} --from-literal={key}=YOUR_API_KEY"
    if isinstance(facts.secret, Unknown):
        yield unknown("secret", facts.secret)
        return
    if facts.secret is None:
        yield fault("secret", f"Secret {name} does not exist in {facts.namespace}", create)
        return
    data = facts.secret.get("data") or {}
    if key not in data:
        has = ", ".join(sorted(data)) or "nothing"
        again = f"kubectl -n {facts.namespace} delete secret {name}, then {create}"
        fix = f"set spec.wandb.apiKeySecretRef.key to the one that holds the API key, or {again}" if data else again
        yield fault("secret", f"Secret {name} lacks the key {key}; it has {has}", fix)
        return
    problem = key_problem(data[key])
    if problem:
        yield fault("secret", f"Secret {name}, key {key}: {problem}", f"kubectl delete secret {name}, then {create}")
    else:
        yield ok("secret", f"Secret {name} has {key}")


def key_problem(encoded: str) -> str | None:
    """What is wrong with an API key as a Secret holds it; the key itself is never repeated."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "it is not text"
    if text != text.strip():
        return "it begins or ends with white space (often the line feed of `echo`; use `printf`)"
    if len(text) < _KEY_LENGTH:
        return f"an API key has at least {_KEY_LENGTH} characters, this has {len(text)}"
    return None


def tracker(facts: Facts) -> Iterator[Finding]:
    """The tracker answers and accepts the key."""
    answer = facts.tracker
    if isinstance(answer, Unknown):
        yield unknown("tracker", answer)
    elif answer.state == "refused":
        fix = f"create a key on {answer.url} (User settings, API keys) and put it into the Secret"
        yield fault("tracker", f"{answer.url} refused the API key", fix)
    elif answer.state == "unreachable":
        reason = facts.resource.condition("Ready") if facts.resource else None
        fix = "check wandb.baseURL, the network policy and the proxy"
        if reason is not None and reason.reason == "TrackerUnreachable":
            yield fault("tracker", f"neither the operator nor this machine reaches {answer.url}: {answer.detail}", fix)
        elif facts.resource is None:
            message = f"{answer.url} does not answer from here: {answer.detail}"
            yield unknown("tracker", message, "name a resource, which says where its runs go, or give --tracker-url")
        elif ".svc" in answer.url:
            how = "from here, which a Service address never is; the operator tells in the resource's status"
            yield unknown("tracker", f"{answer.url} is not reachable {how}", "kubectl port-forward, and --tracker-url")
        else:
            yield fault("tracker", f"{answer.url} does not answer: {answer.detail}", fix)
    else:
        yield ok("tracker", f"{answer.url} accepts the API key of {answer.user}")
