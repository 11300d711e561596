"""What the chart's hooks run, inside the operator's image: the uninstall clean-up and `helm test`.

    hook.py release  takes the operator's finalizer off every resource (the operator is gone, the resources stay)
    hook.py delete   deletes every resource, lets the operator end their sweeps, then forces what is left
    hook.py check    tries what the operator needs: metrics, tracker, and each right it was given

It uses the standard library alone, so that it depends on nothing but the image's interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GROUP = "/apis/finetune.dev/v1alpha1"
KINDS = ("sweepruns", "finetunejobs")
FINALIZER_PREFIX = "finetune.dev/"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
Object = dict[str, Any]


class GoneError(Exception):
    """The object, or its whole kind, does not exist (404)."""


class ConflictError(Exception):
    """The object changed meanwhile (409)."""


def call(method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> Object:
    """One request to the API server as the pod's ServiceAccount.

    Raises:
        GoneError: the path does not exist.
        ConflictError: the object was changed by another writer.
        SystemExit: any other refusal, with the server's own message.
    """
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    request = urllib.request.Request(
        f"https://{f'[{host}]' if ':' in host else host}:{port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}", "Content-Type": content_type},
    )
    tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    try:
        with direct.open(request, timeout=30) as response:
            answer: Object = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        if error.code == 404:
            raise GoneError(path) from error
        if error.code == 409:
            raise ConflictError(path) from error
        raise SystemExit(f"{method} {path}: HTTP {error.code}: {text[:500]}") from error


def resources(namespaces: list[str]) -> Iterator[tuple[str, Object]]:
    """Path and object of every resource of ours in the namespaces; in all of them if none is given."""
    for scope in [f"/namespaces/{namespace}" for namespace in namespaces] or [""]:
        for kind in KINDS:
            token: str | None = ""
            while token is not None:
                try:
                    page = call("GET", f"{GROUP}{scope}/{kind}?limit=200" + (f"&continue={token}" if token else ""))
                except GoneError:  # the CRD was removed before
                    break
                for item in page["items"]:
                    metadata = item["metadata"]
                    yield f"{GROUP}/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}", item
                token = page["metadata"].get("continue") or None


def release(path: str, item: Object) -> bool:
    """Takes our finalizers off; tells whether there were any."""
    while True:
        metadata = item["metadata"]
        kept = [name for name in metadata.get("finalizers", []) if not name.startswith(FINALIZER_PREFIX)]
        if kept == metadata.get("finalizers", []):
            return False
        patch = {"metadata": {"finalizers": kept, "resourceVersion": metadata["resourceVersion"]}}
        try:
            call("PATCH", path, patch, "application/merge-patch+json")
        except GoneError:
            return True
        except ConflictError:
            item = call("GET", path)
            continue
        return True


def release_all(namespaces: list[str]) -> None:
    """Releases every resource in scope."""
    count = sum(release(path, item) for path, item in resources(namespaces))
    print(f"released the finalizer of {count} resources")


def delete_all(namespaces: list[str], timeout: float) -> None:
    """Deletes every resource in scope; after `timeout` seconds takes the finalizers of the rest off."""
    deadline = time.monotonic() + timeout
    deleted: set[str] = set()
    while left := list(resources(namespaces)):
        for path, _ in left:
            if path not in deleted:
                deleted.add(path)
                try:
                    call("DELETE", path, {"propagationPolicy": "Background"})
                except GoneError:
                    continue
        if time.monotonic() > deadline:
            for path, item in left:
                print(f"forced: {path}: the operator did not finish it within {timeout:.0f} s")
                release(path, item)
            break
        time.sleep(1)
    print(f"deleted {len(deleted)} resources")


def fetch(url: str) -> str:
    """Body of a URL of the release's own Services, waiting up to a minute for their first answer."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
                return str(response.read().decode())
        except OSError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url}: {error}") from error
            time.sleep(1)


def missing_rights(rules: list[Object], namespaces: list[str]) -> list[str]:
    """Which of the rights the API server denies to this ServiceAccount, as readable lines."""
    missing = []
    for namespace in namespaces or [""]:
        for rule in rules:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames", [""]):
                            kind, _, subresource = resource.partition("/")
                            attributes = {
                                "verb": verb,
                                "group": group,
                                "resource": kind,
                                "subresource": subresource,
                                "namespace": namespace,
                                "name": name,
                            }
                            review = call(
                                "POST",
                                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                                {
                                    "apiVersion": "authorization.k8s.io/v1",
                                    "kind": "SelfSubjectAccessReview",
                                    "spec": {"resourceAttributes": attributes},
                                },
                            )
                            if not review["status"]["allowed"]:
                                where = f"in {namespace}" if namespace else "in every namespace"
                                missing.append(f"{verb} {resource} {name} {where}".replace("  ", " "))
    return missing


def check(plan: Object) -> None:
    """Tries everything in the plan.

    Raises:
        SystemExit: something failed; the message lists all of it.
    """
    failures = []
    if plan["metricsURL"] and "# TYPE" not in fetch(plan["metricsURL"]):
        failures.append(f"{plan['metricsURL']} serves no Prometheus metrics")
    if plan["trackerURL"]:
        fetch(f"{plan['trackerURL']}/healthz")
    for kind in KINDS:
        for scope in [f"/namespaces/{namespace}" for namespace in plan["namespaces"]] or [""]:
            try:
                call("GET", f"{GROUP}{scope}/{kind}?limit=1")
            except GoneError:
                failures.append(f"{kind}.finetune.dev is not served: install the CRDs (crds.enabled)")
                break
    for rights in plan["rights"]:
        failures += [f"not allowed: {right}" for right in missing_rights(rights["rules"], rights["namespaces"])]
    if failures:
        raise SystemExit("\n".join(failures))
    print("metrics, resources and rights: all fine")


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["release", "delete", "check"])
    parser.add_argument("--namespace", action="append", default=[], help="repeatable; all namespaces if absent")
    parser.add_argument("--timeout", type=float, default=120, help="delete: seconds before finalizers are forced off")
    parser.add_argument("--plan", type=Path, help="check: JSON file that says what to try")
    options = parser.parse_args(arguments)
    if options.action == "release":
        release_all(options.namespace)
    elif options.action == "delete":
        delete_all(options.namespace, options.timeout)
    else:
        check(json.loads(options.plan.read_text()))


if __name__ == "__main__":
    main()
