"""W&B's own search engine, `sweeps`, in a process of its own.

A Bayesian suggestion takes up to seconds of pure CPU; in this process it would hold the interpreter lock and with it
every file stream. So the engine is a child that reads requests and writes answers as JSON lines, at low priority, and
that ends when its input ends, so a killed server leaves nothing behind. It also keeps numpy, scipy and scikit-learn
(about 200 MB) out of servers that host no sweep.

`python -m finetune_tracker.engine` is that child; `Engine` is the server's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import os
import sys
import warnings
from typing import Any, TextIO

from finetune_tracker.errors import BadRequest, Unavailable

_log = logging.getLogger(__name__)
_LINE_LIMIT = 256 << 20
_TIMEOUT = 300.0


class Engine:
    """Starts the child when it is first needed, and again if it died."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def validate(self, spec: dict[str, Any]) -> tuple[list[str], int | None]:
        """(warnings about the configuration, number of grid points or None if it is not a finite grid).

        Raises:
            BadRequest: The configuration cannot be searched.
        """
        answer = await self._call({"op": "validate", "spec": spec})
        return answer["warnings"], answer["grid_size"]

    async def suggest(self, spec: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The next trial's `{parameter: {"value": v}}`; None when the search is exhausted.

        Args:
            spec: The sweep's configuration.
            runs: All runs so far: `{name, state, config, summaryMetrics, history}`.
        """
        suggestion: dict[str, Any] | None = (await self._call({"op": "suggest", "spec": spec, "runs": runs}))["config"]
        return suggestion

    async def stop(self, spec: dict[str, Any], runs: list[dict[str, Any]]) -> list[str]:
        """Names of the runs that early termination ends."""
        names: list[str] = (await self._call({"op": "stop", "spec": spec, "runs": runs}))["names"]
        return names

    async def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._lock:
            try:
                answer = await asyncio.wait_for(self._exchange(request), _TIMEOUT)
            except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as e:
                await self.close()
                raise Unavailable("the search engine stopped; it will be started again") from e
            except asyncio.CancelledError:
                await self.close()  # a half-read answer would be taken for the next one
                raise
        if "error" in answer:
            raise BadRequest(f"sweep configuration: {answer['error']}")
        return answer

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            command = (sys.executable, "-m", "finetune_tracker.engine")
            process = self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_LIMIT
            )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        answer: dict[str, Any] = json.loads(await process.stdout.readuntil(b"\n"))
        return answer


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Serve one request, in the child; every error of the engine becomes `{"error": message}`."""
    import sweeps

    try:
        spec = request["spec"]
        if request["op"] == "validate":
            return {"warnings": _violations(spec), "grid_size": _grid_size(spec)}
        runs = [sweeps.SweepRun(**run) for run in request["runs"]]
        if request["op"] == "stop":
            return {"names": [run.name for run in sweeps.stop_runs(spec, runs)]}
        suggestion = _next_run(spec, runs)
        return {"config": None if suggestion is None else _plain(suggestion.config)}
    except Exception as e:
        return {"error": f"{e or type(e).__name__}"}


def serve(source: TextIO, sink: TextIO) -> None:
    """Answer each line of `source` until it ends."""
    for line in source:
        sink.write(json.dumps(answer(json.loads(line))) + "\n")
        sink.flush()


def _violations(spec: dict[str, Any]) -> list[str]:
    import sweeps

    found = [str(v) for v in sweeps.schema_violations_from_proposed_config(spec)]
    _next_run(spec, [])  # what this raises, every hand-out would raise
    return found


def _next_run(spec: dict[str, Any], runs: list[Any]) -> Any:
    """`sweeps.next_run`, which imports scikit-learn whatever the method: half a second that only bayes needs."""
    method = spec.get("method")
    if method == "grid":
        from sweeps.grid_search import grid_search_next_runs

        return grid_search_next_runs(runs, spec)[0]
    if method == "random":
        from sweeps.random_search import random_search_next_runs

        return random_search_next_runs(spec)[0]
    import sweeps

    return sweeps.next_run(spec, runs)


def _grid_size(spec: dict[str, Any]) -> int | None:
    import numpy as np
    from sweeps.params import HyperParameter, HyperParameterSet

    if spec.get("method") != "grid":
        return None
    size = 1
    for p in HyperParameterSet.from_config(spec["parameters"]):
        if p.type == HyperParameter.CATEGORICAL:
            # Equal values are one grid point: the engine compares them by hash.
            size *= len({json.dumps(v, sort_keys=True, default=str) for v in p.config["values"]})
        elif p.type == HyperParameter.INT_UNIFORM:
            size *= p.config["max"] - p.config["min"] + 1
        elif p.type == HyperParameter.Q_UNIFORM:
            size *= len(np.arange(p.config["min"], p.config["max"], p.config["q"]))
    return size


def _plain(value: Any) -> Any:
    """The value with numpy scalars as Python numbers."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def quiet() -> None:
    """Ignore two warnings that mean nothing here and would fill the server's log."""
    # sweeps 0.3.0 uses a pydantic 1 name in its model; the model works all the same.
    warnings.filterwarnings("ignore", message="Valid config keys have changed in V2", category=UserWarning)
    # scikit-learn on a kernel whose length scale ends at its bound, as it does with few runs.
    warnings.filterwarnings("ignore", message="The optimal value found for dimension", category=UserWarning)


def main() -> None:
    """Run the child on stdin and stdout."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    quiet()
    # The imports take seconds, and somebody waits for the answer; only then does this process step back.
    importlib.import_module("sweeps.random_search")
    importlib.import_module("sweeps.grid_search")
    with contextlib.suppress(OSError):
        os.nice(5)
    sink, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not end up among the answers
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(sys.stdin, sink)


if __name__ == "__main__":
    main()
