"""File contents on disk, stored under their MD5 per entity.

MD5 because it is the digest W&B's manifests name files by. Names that users choose stay in the database, so no path on
disk is ever built from them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import IO

from finetune_tracker.errors import BadRequest, TooLarge, Unavailable

_MD5 = re.compile(r"[0-9a-f]{32}")
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_BUFFER = 1 << 20
_MAX_NAME = 2048


def check_file_name(name: object) -> str:
    """A relative path that stays inside the folder a client downloads to.

    Raises:
        BadRequest: It is absolute, climbs out with `..`, is empty, too long or has control characters.
    """
    if not isinstance(name, str) or not name or len(name) > _MAX_NAME:
        raise BadRequest(f"a file name needs 1 to {_MAX_NAME} characters")
    parts = name.replace("\\", "/").split("/")
    if name[0] in "/\\" or ".." in parts or any(ord(c) < 32 for c in name) or re.match(r"[A-Za-z]:[\\/]", name):
        raise BadRequest(f"file name {name[:200]!r} must be relative and stay inside its folder")
    return name


def hex_digest(digest: object) -> str:
    """The hex form of a base64 MD5.

    Raises:
        BadRequest: Not an MD5.
    """
    try:
        raw = base64.b64decode(str(digest), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise BadRequest(f"{str(digest)[:80]!r} is not a base64 MD5 digest")
    return raw.hex()


class BlobStore:
    """The files below one folder: `blobs/` for contents, `parts/` for unfinished multipart uploads, `tmp/`."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit

    def prepare(self) -> None:
        """Make the folders; what a killed process left unfinished is removed."""
        shutil.rmtree(self._root / "tmp", ignore_errors=True)
        for name in ("blobs", "parts", "tmp"):
            (self._root / name).mkdir(parents=True, exist_ok=True)

    def path(self, entity_id: int, md5: str) -> Path:
        """Where a content lives.

        Raises:
            BadRequest: `md5` is not the hex form of an MD5.
        """
        if not _MD5.fullmatch(md5):
            raise BadRequest("not an MD5 digest")
        return self._root / "blobs" / str(int(entity_id)) / md5[:2] / md5

    async def receive(
        self, chunks: AsyncIterator[bytes], entity_id: int, expected: str | None = None
    ) -> tuple[str, int]:
        """Store a stream durably; returns (hex MD5, size in bytes).

        Raises:
            BadRequest: The content does not have the `expected` MD5.
            TooLarge: It exceeds the limit.
            Unavailable: The disk is full.
        """
        temporary, md5, size = await self._spool(chunks)
        try:
            if expected is not None and md5 != expected:
                raise BadRequest(f"the uploaded content has MD5 {md5}, announced was {expected}: it changed on the way")
            await asyncio.to_thread(self._keep, temporary, self.path(entity_id, md5))
        finally:
            temporary.unlink(missing_ok=True)
        return md5, size

    async def receive_part(self, chunks: AsyncIterator[bytes], upload: str, number: int) -> str:
        """Store one part of a multipart upload; returns its hex MD5, which serves as ETag.

        Raises:
            BadRequest: Malformed upload id or part number.
        """
        target = self._part(upload, number)
        temporary, md5, _ = await self._spool(chunks)
        try:
            await asyncio.to_thread(self._keep, temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return md5

    def join_parts(self, upload: str, numbers: Iterable[int], entity_id: int, expected: str) -> int:
        """Join the parts to one content; returns its size. Blocks: for a worker thread.

        Raises:
            BadRequest: A part is missing, or the whole does not have the `expected` MD5.
        """
        md5, size = hashlib.md5(usedforsecurity=False), 0
        with self._temporary() as sink:
            temporary = Path(sink.name)
            try:
                for number in numbers:
                    part = self._part(upload, number)
                    if not part.exists():
                        raise BadRequest(f"part {number} was not uploaded")
                    with part.open("rb") as source:
                        while data := source.read(_BUFFER):
                            md5.update(data)
                            size += len(data)
                            sink.write(data)
                if md5.hexdigest() != expected:
                    raise BadRequest(f"the parts have MD5 {md5.hexdigest()}, announced was {expected}")
                sink.flush()
                self._keep(temporary, self.path(entity_id, expected))
            finally:
                temporary.unlink(missing_ok=True)
        shutil.rmtree(self._root / "parts" / upload, ignore_errors=True)
        return size

    def _part(self, upload: str, number: int) -> Path:
        if not _UPLOAD_ID.fullmatch(upload) or not 1 <= number <= 100_000:
            raise BadRequest("malformed multipart upload")
        return self._root / "parts" / upload / str(number)

    def _temporary(self) -> IO[bytes]:
        return tempfile.NamedTemporaryFile(dir=self._root / "tmp", delete=False)

    async def _spool(self, chunks: AsyncIterator[bytes]) -> tuple[Path, str, int]:
        digest, size, buffer = hashlib.md5(usedforsecurity=False), 0, bytearray()
        sink = self._temporary()

        def drain() -> None:
            digest.update(buffer)
            sink.write(buffer)
            buffer.clear()

        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > self._limit:
                    raise TooLarge(f"the file exceeds {self._limit} bytes")
                buffer += chunk
                if len(buffer) >= _BUFFER:
                    await asyncio.to_thread(drain)
            drain()
            sink.close()
        except BaseException as e:
            sink.close()
            os.unlink(sink.name)
            if isinstance(e, OSError):
                raise Unavailable(f"the file cannot be stored: {e.strerror}") from e
            raise
        return Path(sink.name), digest.hexdigest(), size

    def _keep(self, temporary: Path, target: Path) -> None:
        """Move into place once the bytes are on disk, so that an acknowledged file survives a power cut."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
