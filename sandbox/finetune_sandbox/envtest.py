"""A real control plane on loopback: etcd and kube-apiserver from KUBEBUILDER_ASSETS, as controller-runtime's envtest.

They bring no controllers and no kubelet: the sandbox's own serve them, as they serve its own API server.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import serialization

from finetune_sandbox.apiserver.tls import Pki
from finetune_sandbox.client import Access, ApiClient, ApiError
from finetune_sandbox.kubelet.isolation import die_with_parent

ASSETS = "KUBEBUILDER_ASSETS"
START_SECONDS = 60.0
_HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def envtest(data: Path, port: int) -> AsyncIterator[dict[str, Any]]:
    """Runs both programs; yields the administrator's kubeconfig once the server is ready.

    Raises:
        ValueError: KUBEBUILDER_ASSETS is not set or lacks a program.
        OSError: A program ended, or was not ready in time; its log is named.
    """
    programs = _programs()
    pki, folder = Pki(data / "pki", _HOST), data / "envtest"
    folder.mkdir(exist_ok=True)
    client_port, peer_port, port = _free_port(), _free_port(), port or _free_port()
    token = secrets.token_urlsafe(32)
    async with contextlib.AsyncExitStack() as stack:
        etcd = await stack.enter_async_context(
            _running(programs["etcd"], etcd_flags(folder, client_port, peer_port), folder)
        )
        flags = apiserver_flags(folder, pki, client_port, port, token)
        server = await stack.enter_async_context(_running(programs["kube-apiserver"], flags, folder))
        config = _kubeconfig(f"https://{_HOST}:{port}", pki, token)
        await _ready(config, [etcd, server], folder)
        yield config


def _programs() -> dict[str, Path]:
    assets = os.environ.get(ASSETS)
    if not assets:
        raise ValueError(f"{ASSETS} is not set; name the folder that has etcd and kube-apiserver")
    found = {name: Path(assets) / name for name in ("etcd", "kube-apiserver")}
    for name, path in found.items():
        if not os.access(path, os.X_OK):
            raise ValueError(f"{ASSETS}={assets} has no program {name}")
    return found


def etcd_flags(folder: Path, client_port: int, peer_port: int) -> list[str]:
    """Flags of an etcd that keeps its data below the folder; it need not survive a power cut."""
    client, peer = f"http://{_HOST}:{client_port}", f"http://{_HOST}:{peer_port}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def apiserver_flags(folder: Path, pki: Pki, etcd_port: int, port: int, token: str) -> list[str]:
    """Flags of a kube-apiserver with RBAC whose administrator has that token; writes the files that they name."""
    tokens, key = folder / "tokens.csv", folder / "service-account.key"
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    _write_secret(tokens, f'{token},admin,admin,"system:masters"\n'.encode())
    _write_secret(key, pki.signer.private_bytes(*pem))
    return [
        f"--etcd-servers=http://{_HOST}:{etcd_port}",
        f"--bind-address={_HOST}",
        f"--advertise-address={_HOST}",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--tls-cert-file={pki.cert_file}",
        f"--tls-private-key-file={pki.key_file}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",
    ]


def _write_secret(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def _running(program: Path, flags: list[str], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a program that ends with this one, its output in a file."""
    with (folder / f"{program.name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(program), *flags, stdout=log, stderr=log, preexec_fn=die_with_parent, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 5)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ready(config: dict[str, Any], processes: list[asyncio.subprocess.Process], folder: Path) -> None:
    access = Access.from_config(config, folder)
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    async with ApiClient(access) as client:
        while asyncio.get_running_loop().time() < deadline:
            if any(process.returncode is not None for process in processes):
                raise OSError(f"the control plane ended at once; see the logs in {folder}")
            with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
                await client.request("GET", "/readyz")
                return
            await asyncio.sleep(0.1)
    raise OSError(f"the control plane was not ready within {START_SECONDS:g} s; see the logs in {folder}")


def _kubeconfig(url: str, pki: Pki, token: str) -> dict[str, Any]:
    name, authority = "finetune-sandbox", base64.b64encode(pki.ca_file.read_bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin", "namespace": "default"}}],
    }
