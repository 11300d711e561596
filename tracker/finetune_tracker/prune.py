"""Freeing the disk space of contents that nothing refers to any more.

Deleting a run or an artifact deletes rows; its contents may belong to others too, so they stay until `prune` finds them
without an owner. It may run beside the server: a content that was touched in the last day is left alone, since its
upload may be announced but not yet committed.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

from finetune_tracker.blobs import BlobStore
from finetune_tracker.database import transaction

_OWNED = """
SELECT p.entity_id, f.md5 FROM run_files f JOIN runs r ON r.id = f.run_id JOIN projects p ON p.id = r.project_id
UNION SELECT p.entity_id, f.md5 FROM artifact_files f JOIN artifacts a ON a.id = f.artifact_id
  JOIN collections c ON c.id = a.sequence_id JOIN projects p ON p.id = c.project_id WHERE f.md5 IS NOT NULL
UNION SELECT p.entity_id, a.manifest_md5 FROM artifacts a JOIN collections c ON c.id = a.sequence_id
  JOIN projects p ON p.id = c.project_id WHERE a.manifest_md5 IS NOT NULL
"""


def prune(db: sqlite3.Connection, data: Path, *, idle: float = 86400.0) -> tuple[int, int]:
    """Delete contents without an owner, and parts of uploads that were given up; returns (files, bytes).

    Args:
        db: A writing connection.
        data: The server's data folder.
        idle: Seconds that a content must not have been touched.
    """
    blobs, limit = BlobStore(data, limit=0), time.time() - idle
    count = size = 0
    with transaction(db):
        orphans = db.execute(
            f"SELECT entity_id, md5, size FROM blobs WHERE touched_at < ? AND (entity_id, md5) NOT IN ({_OWNED})",
            (limit,),
        ).fetchall()
        for row in orphans:
            path = blobs.path(row["entity_id"], row["md5"])
            if path.exists() and path.stat().st_mtime > limit:
                continue
            db.execute("DELETE FROM blobs WHERE entity_id = ? AND md5 = ?", (row["entity_id"], row["md5"]))
            path.unlink(missing_ok=True)
            count, size = count + 1, size + row["size"]
    for folder in (data / "parts").glob("*"):
        if folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)
    return count, size
