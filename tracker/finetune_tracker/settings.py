"""Limits and timeouts of one server."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ENV_PREFIX = "FINETUNE_TRACKER_"


@dataclass(frozen=True)
class Settings:
    """Everything that may be tuned; each field is also an environment variable, e.g. `FINETUNE_TRACKER_RUN_TIMEOUT=20`.

    Attributes:
        data: Folder of the database and the files.
        entity: Default user and entity, owner of the key given by `--api-key-file`.
        organization: The one organisation of this server; its registries are shared by all entities.
        public_url: Address for upload and download links; by default that of each request.
        run_timeout: Seconds of silence after which a running run counts as crashed. The SDK posts every 15 s, or every
            30 s with system metrics off, so below 60 live runs are at risk.
        run_grace: Seconds of silence after which a run counts as crashed that its agent no longer reports as alive.
        agent_timeout: Seconds without heartbeat after which an agent counts as lost and its unstarted run is taken
            back.
        stop_interval: Least seconds between two early-termination decisions of one sweep.
        url_lifetime: Seconds that a signed upload or download link stays valid.
        max_graphql_bytes: Largest GraphQL request.
        max_stream_bytes: Largest file-stream request, after decompression.
        max_upload_bytes: Largest uploaded file or part.
        synchronous: SQLite's `synchronous` pragma; FULL also survives a power cut, NORMAL only the death of the
            process.
    """

    data: Path
    entity: str = "local"
    organization: str = "local-org"
    public_url: str = ""
    run_timeout: float = 90.0
    run_grace: float = 30.0
    agent_timeout: float = 60.0
    stop_interval: float = 5.0
    url_lifetime: float = 7 * 86400.0
    max_graphql_bytes: int = 32 << 20
    max_stream_bytes: int = 256 << 20
    max_upload_bytes: int = 64 << 30
    synchronous: str = "FULL"

    def __post_init__(self) -> None:
        if self.synchronous not in ("FULL", "NORMAL"):
            raise ValueError(f"synchronous must be FULL or NORMAL, not {self.synchronous!r}")
        for name in ("run_timeout", "run_grace", "agent_timeout", "url_lifetime"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, not {getattr(self, name)}")

    @classmethod
    def from_env(cls, **given: Any) -> Settings:
        """Settings from `given`, then the environment, then the defaults.

        Raises:
            ValueError: A variable does not parse; the message names it.
        """
        values = {k: v for k, v in given.items() if v is not None}
        kinds: dict[str, type] = {"float": float, "int": int, "str": str, "Path": Path}
        for f in fields(cls):
            text = os.environ.get(ENV_PREFIX + f.name.upper())
            if text is not None and f.name not in values:
                try:
                    values[f.name] = kinds[str(f.type)](text)
                except ValueError as e:
                    raise ValueError(f"{ENV_PREFIX}{f.name.upper()}={text!r} is not a {f.type}") from e
        return cls(**values)
