"""An asynchronous client of any Kubernetes API server: the requests that controllers and the kubelet make."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from finetune_sandbox.objects import Object

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_CONCURRENT_REQUESTS = 12


@dataclass(frozen=True)
class Resource:
    """A type of object as the API serves it."""

    group: str
    version: str
    plural: str
    namespaced: bool = True
    kind: str = field(default="", compare=False)

    @property
    def api_version(self) -> str:
        """Group and version as objects carry them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, or of one object and its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return (
            root + scope + f"/{self.plural}" + (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")
        )


NAMESPACES = Resource("", "v1", "namespaces", namespaced=False, kind="Namespace")
NODES = Resource("", "v1", "nodes", namespaced=False, kind="Node")
PODS = Resource("", "v1", "pods", kind="Pod")
EVENTS = Resource("", "v1", "events", kind="Event")
SECRETS = Resource("", "v1", "secrets", kind="Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", kind="ConfigMap")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", kind="ServiceAccount")
SERVICES = Resource("", "v1", "services", kind="Service")
ENDPOINTS = Resource("", "v1", "endpoints", kind="Endpoints")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", kind="PersistentVolumeClaim")
VOLUMES = Resource("", "v1", "persistentvolumes", namespaced=False, kind="PersistentVolume")
JOBS = Resource("batch", "v1", "jobs", kind="Job")
DEPLOYMENTS = Resource("apps", "v1", "deployments", kind="Deployment")
REPLICA_SETS = Resource("apps", "v1", "replicasets", kind="ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", kind="StatefulSet")
CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False, kind="CustomResourceDefinition"
)


class ApiError(Exception):
    """The server refused a request; carries its Status object.

    Attributes:
        code: HTTP status code.
        reason: Machine-readable reason, such as `NotFound` or `AlreadyExists`.
    """

    def __init__(self, code: int, status: Object) -> None:
        super().__init__(status.get("message") or f"HTTP {code}")
        self.code, self.reason, self.status = code, str(status.get("reason") or ""), status


class WatchExpiredError(Exception):
    """A watch cannot continue from its resource version: list again."""


@dataclass(frozen=True)
class Access:
    """Where a server is and how to be let in: the part of a kubeconfig that clients use.

    Attributes:
        socket: A Unix socket of the same server, for requests of this process: dozens of watches cost less without TLS.
    """

    url: str
    token: str | None
    tls: ssl.SSLContext | None
    ca: bytes | None
    socket: str | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Access:
        """Reads the current context (or the first cluster and user) of a kubeconfig.

        Raises:
            ValueError: The file names no cluster.
        """
        return cls.from_config(yaml.safe_load(path.read_text()), path.parent)

    @classmethod
    def from_config(cls, config: Object, folder: Path) -> Access:
        """The same of a kubeconfig's content; files that it names are relative to the folder.

        Raises:
            ValueError: The content names no cluster.
        """
        named = {
            kind: {e["name"]: e[kind[:-1]] for e in config.get(kind) or ()}
            for kind in ("clusters", "users", "contexts")
        }
        if not named["clusters"]:
            raise ValueError("clusters is empty; the kubeconfig must name at least one cluster")
        context = named["contexts"].get(config.get("current-context") or "", {})
        cluster = named["clusters"].get(context.get("cluster")) or next(iter(named["clusters"].values()))
        user: Object = named["users"].get(context.get("user")) or next(iter(named["users"].values()), {})
        ca = _inline(cluster, "certificate-authority", folder)
        tls = None
        if cluster["server"].startswith("https"):
            tls = ssl.create_default_context(cadata=ca.decode() if ca else None)
            if cluster.get("insecure-skip-tls-verify"):
                tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
            _load_client_certificate(tls, user, folder)
        return cls(cluster["server"].rstrip("/"), user.get("token"), tls, ca)


def _inline(entry: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data)
    return (folder / entry[name]).read_bytes() if entry.get(name) else None


def _load_client_certificate(tls: ssl.SSLContext, user: Mapping[str, Any], folder: Path) -> None:
    certificate, key = _inline(user, "client-certificate", folder), _inline(user, "client-key", folder)
    if not (certificate and key):
        return
    with tempfile.NamedTemporaryFile() as file:  # the ssl module takes certificates from files alone
        file.write(certificate + b"\n" + key)
        file.flush()
        tls.load_cert_chain(file.name)


TRANSIENT = (ApiError, aiohttp.ClientError, TimeoutError)
"""What may pass when tried again; an ApiError may also be a refusal, which the caller tells by its code."""


class ApiClient:
    """Requests to one API server. Use as an async context manager."""

    def __init__(self, access: Access, user_agent: str = "finetune-sandbox") -> None:
        self.access = access
        self._user_agent = user_agent
        self._base = "http://localhost" if access.socket else access.url
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_CONCURRENT_REQUESTS)

    async def __aenter__(self) -> Self:
        headers = {"User-Agent": self._user_agent, "Accept": "application/json"}
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        connector: aiohttp.BaseConnector = aiohttp.TCPConnector(limit=0, ssl=self.access.tls or True)
        if self.access.socket:
            connector = aiohttp.UnixConnector(self.access.socket, limit=0)
        self._session = aiohttp.ClientSession(
            headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Makes one request and returns the answer's JSON object.

        Raises:
            ApiError: The server answered with an error.
            aiohttp.ClientError: There was no answer.
        """
        assert self._session, "use the client as a context manager"
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type} if data is not None else {}
        async with (
            self._slots,
            self._session.request(
                method,
                self._base + path,
                data=data,
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(60),
            ) as answer,
        ):
            text = await answer.text()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = {"message": text[:500]}
        if answer.status >= 400:
            raise ApiError(answer.status, parsed)
        return parsed if isinstance(parsed, dict) else {"items": parsed}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Reads one object."""
        return await self.request("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Reads one object; None when there is none."""
        try:
            return await self.get(resource, namespace, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def create(
        self, resource: Resource, obj: Object, namespace: str = "", subresource: str = "", name: str = ""
    ) -> Object:
        """Creates an object in its own (or the named) namespace; with `subresource`, posts to that of object `name`."""
        namespace = namespace or obj.get("metadata", {}).get("namespace", "")
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        return await self.request("POST", resource.path(namespace, name, subresource), body)

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replaces an object; its resourceVersion, if present, must be the server's."""
        meta = obj["metadata"]
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        return await self.request("PUT", resource.path(meta.get("namespace", ""), meta["name"], subresource), body)

    async def patch(
        self, resource: Resource, namespace: str, name: str, body: Any, subresource: str = "", kind: str = MERGE
    ) -> Object:
        """Patches an object; `kind` is the patch's media type."""
        return await self.request("PATCH", resource.path(namespace, name, subresource), body, content_type=kind)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        grace: int | None = None,
        propagation: str | None = None,
    ) -> Object | None:
        """Deletes an object; None when it (or that uid) is gone already."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation is not None:
            options["propagationPolicy"] = propagation
        try:
            return await self.request("DELETE", resource.path(namespace, name), options)
        except ApiError as error:
            if error.code == 404 or (uid is not None and error.code == 409):
                return None
            raise

    async def list(self, resource: Resource, namespace: str = "", **query: str) -> tuple[list[Object], str]:
        """All objects of a type and the resource version of the list."""
        answer = await self.request("GET", resource.path(namespace), query=query)
        items: list[Object] = answer.get("items") or []
        for item in items:  # servers leave the type out of list items
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind or answer.get("kind", "List").removesuffix("List"))
        return items, answer["metadata"]["resourceVersion"]

    async def watch(self, resource: Resource, version: str, **query: str) -> AsyncIterator[tuple[str, Object]]:
        """Events after a resource version until the server ends the stream.

        Raises:
            WatchExpiredError: The version is too old.
            ApiError: The server refused or broke off the watch.
        """
        assert self._session, "use the client as a context manager"
        params = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version, **query}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=None)
        async with self._session.get(self._base + resource.path(), params=params, timeout=timeout) as answer:
            if answer.status >= 400:
                text = await answer.text()
                if answer.status == 410:
                    raise WatchExpiredError(text)
                raise ApiError(answer.status, {"message": text})
            async for line in _lines(answer.content):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    if event["object"].get("code") == 410:
                        raise WatchExpiredError(event["object"].get("message", ""))
                    raise ApiError(event["object"].get("code", 500), event["object"])
                yield event["type"], event["object"]


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: the reader's own `readline` gives up on large objects."""
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
