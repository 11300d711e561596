"""SQLite behind one writer thread with group commit, and a few reader threads.

All writes go through one thread, so they are serialised without lock errors. The writer takes what is queued, runs
each function in its own savepoint, and commits once for all: with 64 runs streaming, one fsync serves many requests. A
future resolves only after the commit, so what a client was told survives a SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from finetune_tracker.errors import Unavailable
from finetune_tracker.migrations import MIGRATIONS

T = TypeVar("T")
Job = tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]

_LARGEST_BATCH = 64
_READERS = 3
_log = logging.getLogger(__name__)


def connect(path: Path, *, synchronous: str = "FULL", readonly: bool = False) -> sqlite3.Connection:
    """Open the database with the pragmas that every connection needs."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA busy_timeout = 10000")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA cache_size = -16000")
    db.execute("PRAGMA temp_store = MEMORY")
    db.create_function("regexp", 2, _regexp, deterministic=True)
    if readonly:
        db.execute("PRAGMA query_only = ON")
    return db


def _regexp(pattern: str, value: object) -> bool:
    """SQL's `value REGEXP pattern`; a pattern that does not compile matches nothing."""
    try:
        return value is not None and re.search(pattern[:200], str(value)[:2000]) is not None
    except re.error:
        return False


def migrate(db: sqlite3.Connection) -> int:
    """Apply the missing migrations, each in its own transaction; returns the schema version.

    Raises:
        RuntimeError: The database was written by a newer version of this program.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise RuntimeError(
            f"the database has schema {version}, this program knows {len(MIGRATIONS)}: upgrade the program"
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        with transaction(db):
            for statement in script.split(";\n"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
    return len(MIGRATIONS)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One immediate transaction: committed at the end, rolled back on any exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


class Database:
    """The tracker's database, for use from one event loop."""

    def __init__(self, path: Path, synchronous: str = "FULL") -> None:
        self._writer = connect(path, synchronous=synchronous)
        migrate(self._writer)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_loop, name="sqlite-writer", daemon=True)
        self._thread.start()
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self._path = path

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` in a transaction; returns its value once that is committed.

        Raises:
            Unavailable: SQLite could not write (busy, disk full).
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((job, future, loop))
        return await future

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` on a reader thread, on one consistent snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, job)

    def close(self) -> None:
        """Finish what is queued, then close all connections."""
        self._jobs.put(None)
        self._thread.join()
        self._readers.shutdown()
        for db in self._open:
            db.close()
        self._writer.close()

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = connect(self._path, readonly=True)
            self._open.append(db)
        db.execute("BEGIN")
        try:
            return job(db)
        finally:
            db.execute("ROLLBACK")

    def _write_loop(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, last = [first], False
            while len(batch) < _LARGEST_BATCH and not last:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                last = job is None
                if job is not None:
                    batch.append(job)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[Job]) -> None:
        results: list[tuple[Any, BaseException | None]] = []
        db = self._writer
        try:
            db.execute("BEGIN IMMEDIATE")
            for job, _, _ in batch:
                db.execute("SAVEPOINT job")
                try:
                    results.append((job(db), None))
                except Exception as e:
                    db.execute("ROLLBACK TO job")
                    results.append((None, e))
                db.execute("RELEASE job")
            db.execute("COMMIT")
        except sqlite3.Error as e:
            _log.exception("a batch of %d writes failed", len(batch))
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            results = [(None, Unavailable(f"the database cannot write: {e}"))] * len(batch)
            time.sleep(0.05)
        for (_, future, loop), (value, error) in zip(batch, results, strict=True):
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                loop.call_soon_threadsafe(_resolve, future, value, error)


def is_temporary(error: sqlite3.Error) -> bool:
    """Whether the same request may succeed later: locked, disk full, I/O errors."""
    return any(word in str(error).lower() for word in ("locked", "busy", "full", "disk i/o", "unable to open"))


def _resolve(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, sqlite3.Error) and is_temporary(error):
        future.set_exception(Unavailable(f"the database cannot write: {error}"))
    else:
        future.set_exception(error)
