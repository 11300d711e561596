"""Startup, liveness and readiness probes: HTTP, TCP and commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from finetune_sandbox.objects import Object

Execute = Callable[[Sequence[str], float], Awaitable[int]]


async def check(probe: Object, container: Object, execute: Execute, session: aiohttp.ClientSession) -> str | None:
    """Probes once; None when it succeeds, else why not."""
    limit = float(probe.get("timeoutSeconds", 1))
    try:
        async with asyncio.timeout(limit):
            if action := probe.get("httpGet"):
                return await _http(action, container, session)
            if action := probe.get("tcpSocket"):
                _, writer = await asyncio.open_connection(
                    action.get("host") or "127.0.0.1", port_number(action["port"], container)
                )
                writer.close()
                return None
            if action := probe.get("exec"):
                code = await execute(action["command"], limit)
                return None if code == 0 else f"command exited with {code}"
    except TimeoutError:
        return f"no answer within {limit:g} s"
    except (OSError, aiohttp.ClientError, ValueError) as error:
        return str(error) or type(error).__name__
    return "probes of this type are not supported here"


async def _http(action: Object, container: Object, session: aiohttp.ClientSession) -> str | None:
    host, port = action.get("host") or "127.0.0.1", port_number(action["port"], container)
    url = f"{action.get('scheme', 'HTTP').lower()}://{host}:{port}/{action.get('path', '/').lstrip('/')}"
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    async with session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer:
        return None if 200 <= answer.status < 400 else f"HTTP probe failed with statuscode: {answer.status}"


def port_number(port: int | str, container: Object) -> int:
    """A port by number, or by the name that the container gives it.

    Raises:
        ValueError: The container has no port of that name.
    """
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise ValueError(f"the container has no port named {port!r}")


async def watch(probe: Object, attempt: Callable[[], Awaitable[str | None]], tell: Callable[[bool, str], bool]) -> None:
    """Probes again and again, and tells of every run of successes or failures as long as the thresholds say.

    Args:
        probe: The probe, for its times and thresholds.
        attempt: Probes once.
        tell: Called with the verdict and the last failure's text; ends the watch by returning True.
    """
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    successes = failures = 0
    while True:
        problem = await attempt()
        successes, failures = (successes + 1, 0) if problem is None else (0, failures + 1)
        if problem is None and successes >= probe.get("successThreshold", 1):
            if tell(True, ""):
                return
        elif problem is not None and failures >= probe.get("failureThreshold", 3) and tell(False, problem):
            return
        await asyncio.sleep(probe.get("periodSeconds", 10))
