"""The cluster: any kubeconfig, context and namespace, with the `kubernetes` client's own logins. Objects are JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from finetune_operator.api import GROUP, VERSION

from finetune_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
FIELD_MANAGER = "finetune"
PLURALS = {"FinetuneJob": "finetunejobs", "SweepRun": "sweepruns"}
_TIMEOUT = (5, 60)
"""Seconds to connect and between two bytes."""


class ApiError(CliError):
    """The API server refused a request.

    Attributes:
        status: HTTP status code.
        reason: Machine-readable reason, such as `NotFound`.
    """

    def __init__(self, status: int, body: Object, what: str) -> None:
        self.status, self.reason = status, str(body.get("reason") or "")
        message = str(body.get("message") or f"HTTP {status}")
        codes = {401: ExitCode.FORBIDDEN, 403: ExitCode.FORBIDDEN, 404: ExitCode.NOT_FOUND, 422: ExitCode.USAGE}
        fixes = {
            401: "log in to the cluster again, or choose another --context",
            403: "ask an administrator for this right; `finetune doctor` lists all that are needed",
        }
        super().__init__(f"{what}: {message}", codes.get(status, ExitCode.FAILED), fixes.get(status))


def path(plural: str, namespace: str | None, name: str = "", *, group: str = "", version: str = "v1") -> str:
    """The URL path of a collection or an object; `group` empty is the core group."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{plural}" + (f"/{name}" if name else "")


def resource_path(kind: str, namespace: str | None, name: str = "") -> str:
    """The URL path of our own kinds."""
    return path(PLURALS[kind], namespace, name, group=GROUP, version=VERSION)


class Cluster:
    """One context of a kubeconfig.

    Args:
        kubeconfig: File; None takes `KUBECONFIG`, then `~/.kube/config`, then a pod's service account.
        context: Context; None takes the current one.
        namespace: Namespace; None takes the context's.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None) -> None:
        self._kubeconfig, self._context, self._namespace = kubeconfig, context, namespace

    @cached_property
    def _api(self) -> ApiClient:
        from kubernetes import client, config

        try:
            api: ApiClient = _untyped(config.new_client_from_config)(self._kubeconfig, self._context)
            return api
        except config.ConfigException as error:
            if self._kubeconfig is None and self._context is None:
                try:
                    _untyped(config.load_incluster_config)()
                    return client.ApiClient()
                except config.ConfigException:
                    pass
            raise CliError(
                f"no usable kubeconfig: {error}",
                ExitCode.UNREACHABLE,
                "set KUBECONFIG or give --kubeconfig and --context; `kubectl config get-contexts` lists them",
            ) from error

    @cached_property
    def namespace(self) -> str:
        """The namespace that commands act in."""
        if self._namespace:
            return self._namespace
        from kubernetes import config

        try:
            contexts, active = _untyped(config.list_kube_config_contexts)(self._kubeconfig)
        except config.ConfigException:
            return "default"
        chosen = next((c for c in contexts if c["name"] == self._context), active) if self._context else active
        return str((chosen or {}).get("context", {}).get("namespace") or "default")

    def request(
        self,
        method: str,
        where: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; the answer's JSON.

        Raises:
            ApiError: The server refused it.
            CliError: The server does not answer.
        """
        response = self._send(method, where, query, body, content_type)
        return json.loads(response.data or b"{}")  # type: ignore[no-any-return]

    def _send(
        self, method: str, where: str, query: dict[str, Any] | None, body: Any, content_type: str, stream: bool = False
    ) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        parameters = self._api.param_serialize(
            method=method,
            resource_path=where,
            query_params=[(k, str(v)) for k, v in (query or {}).items() if v is not None],
            header_params={"Accept": "*/*" if stream else "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = (5, None) if stream else _TIMEOUT
        try:
            answer: Any = self._api.call_api(*parameters, _request_timeout=timeout)
            if not stream:
                answer.read()
        except ApiException as error:
            raise ApiError(error.status or 0, _json(error.body), f"{method} {where}") from error
        except (HTTPError, OSError) as error:
            raise CliError(
                f"the cluster at {self._api.configuration.host} does not answer: {_root(error)}",
                ExitCode.UNREACHABLE,
                "check the network and `kubectl cluster-info`, or choose another --context",
            ) from error
        if not 200 <= answer.status < 300:
            raise ApiError(answer.status, _json(answer.read()), f"{method} {where}")
        return answer

    def get(self, where: str) -> Object | None:
        """An object, or None."""
        try:
            return self.request("GET", where)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def items(self, where: str, **query: Any) -> list[Object]:
        """All objects of a collection, page by page; none if the collection does not exist."""
        found: list[Object] = []
        token: str | None = ""
        while token is not None:
            try:
                page = self.request("GET", where, {"limit": 500, "continue": token or None, **query})
            except ApiError as error:
                if error.status == 404:
                    return found
                raise
            found.extend(page.get("items") or ())
            token = page.get("metadata", {}).get("continue") or None
        return found

    def merge(self, where: str, patch: Object) -> Object:
        """Merge-patches an object."""
        return self.request("PATCH", where, {"fieldManager": FIELD_MANAGER}, patch, MERGE_PATCH)

    def apply(self, where: str, body: Object, *, dry_run: bool = False) -> Object:
        """Applies an object server-side."""
        query = {"fieldManager": FIELD_MANAGER, "dryRun": "All" if dry_run else None}
        return self.request("PATCH", where, query, body, APPLY_PATCH)

    def lines(self, where: str, **query: Any) -> Iterator[str]:
        """The lines of a streamed answer, such as a pod's log."""
        answer = self._send("GET", where, query, None, "application/json", stream=True)
        rest = b""
        for chunk in answer.response.stream(2**14, decode_content=True):
            *full, rest = (rest + chunk).split(b"\n")
            for line in full:
                yield line.decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")

    def allowed(self, verb: str, group: str, resource: str, namespace: str | None, name: str = "") -> bool:
        """Whether the user of this kubeconfig may do something."""
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace or "", "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        where = path("selfsubjectaccessreviews", None, group="authorization.k8s.io")
        return bool(self.request("POST", where, body=review).get("status", {}).get("allowed"))


def _untyped(function: Any) -> Any:
    """A function of the client whose types are not declared."""
    return function


def _json(body: Any) -> Object:
    try:
        value = json.loads(body or "{}")
    except ValueError:
        return {"message": str(body)[:500]}
    return value if isinstance(value, dict) else {}


def _root(error: BaseException) -> str:
    cause = getattr(error, "reason", None)
    return str(cause if isinstance(cause, BaseException) else error)[:300]
