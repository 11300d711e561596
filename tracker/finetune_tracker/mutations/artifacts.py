"""Mutations of artifacts: logging, using, naming and linking them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

from finetune_tracker.blobs import check_file_name, hex_digest
from finetune_tracker.context import Context
from finetune_tracker.errors import BadRequest, NotFound
from finetune_tracker.history import dump, parse_object
from finetune_tracker.ids import global_id, parse_global_id
from finetune_tracker.mutations.collections import (
    add_membership,
    ensure_collection,
    membership_row,
    named_collection,
    own_collection,
    row_of,
    set_aliases,
)
from finetune_tracker.mutations.projects import ensure_project
from finetune_tracker.views.artifact import Artifact, Membership
from finetune_tracker.views.artifact_search import artifact_row, readable_artifact

STORAGE_PREFIX = "wandb_artifacts"


def create_artifact(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Announce a version; one with the same digest in its collection is answered as already committed."""
    project = ensure_project(ctx, given.get("entity_name"), given.get("project_name"))
    names = given.get("artifact_collection_names") or [given.get("artifact_collection_name")]
    sequence = ensure_collection(ctx, project, names[0], str(given.get("artifact_type_name") or ""), "sequence")
    digest = str(given.get("digest") or "")
    aliases = [str(a["alias"]) for a in given.get("aliases") or () if isinstance(a, dict) and a.get("alias")]
    deduplicate = bool(given.get("enable_digest_deduplication"))
    same = _same_content(ctx, sequence["id"], digest) if deduplicate else None
    if same is not None:
        membership = membership_row(ctx, sequence["id"], same["id"])
        set_aliases(ctx, membership, aliases)
        return {"artifact": Artifact(ctx, same)}
    row = ctx.one(
        "SELECT * FROM artifacts WHERE sequence_id = ? AND client_id = ?", sequence["id"], given.get("client_id")
    )
    if row is None:
        run = ctx.one("SELECT id FROM runs WHERE project_id = ? AND name = ?", project["id"], given.get("run_name"))
        cursor = ctx.db.execute(
            "INSERT INTO artifacts (sequence_id, digest, state, description, metadata, client_id, sequence_client_id, "
            "run_id, wanted_aliases, deduplicate, history_step, ttl_seconds, created_at, updated_at) "
            "VALUES (?, ?, 'PENDING', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (sequence["id"], digest, given.get("description"), _metadata(given.get("metadata")), given.get("client_id"),
             given.get("sequence_client_id"), run["id"] if run else None, json.dumps(aliases),
             deduplicate, given.get("history_step"), given.get("ttl_duration_seconds"), ctx.now, ctx.now),
        )  # fmt: skip
        row = row_of(ctx, "artifacts", cursor.lastrowid)
        _tag(ctx, row["id"], given.get("tags"))
    return {"artifact": Artifact(ctx, row)}


def create_manifest(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Announce or update a version's manifest; the answer has the link to upload it to."""
    number = parse_global_id("Artifact", given.get("artifact_id") or _manifest_owner(given.get("artifact_manifest_id")))
    row = _own_artifact(ctx, number)
    base = given.get("base_artifact_id")
    ctx.db.execute(
        "UPDATE artifacts SET manifest_kind = coalesce(?, manifest_kind), base_id = coalesce(?, base_id) WHERE id = ?",
        (given.get("type"), parse_global_id("Artifact", base) if base else None, row["id"]),
    )
    file: dict[str, Any] = {"id": global_id("ManifestFile", row["id"]), "uploadUrl": None, "uploadHeaders": []}
    if given.get("digest"):
        md5 = hex_digest(given["digest"])
        file["uploadUrl"] = ctx.link(f"/upload/manifest/{row['id']}/{md5}", f"put-manifest:{row['id']}:{md5}")
    return {"artifactManifest": {"id": global_id("ArtifactManifest", row["id"]), "file": file}}


def create_files(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Links to upload an artifact's files to, in the order asked for; none for contents that are here already."""
    edges = [{"node": _upload(ctx, wish)} for wish in given.get("artifact_files") or ()]
    return {"files": {"edges": edges}}


def commit(ctx: Context, number: int, manifest_md5: str, contents: dict[str, Any]) -> dict[str, Any]:
    """Make a version final: number it, name it, list its files. A second commit changes nothing.

    Agents that start together announce the same content before any of them commits it. The first to commit makes the
    version; the others' stand for it from then on, under their own ids too, which their clients go on using.

    Args:
        ctx: The request.
        number: The artifact.
        manifest_md5: MD5 of the uploaded manifest.
        contents: The manifest's entries by file name.
    """
    row = _own_artifact(ctx, number)
    if row["state"] == "COMMITTED":
        return {"artifact": Artifact(ctx, row)}
    same = _same_content(ctx, row["sequence_id"], row["digest"]) if row["deduplicate"] else None
    if same is not None:
        ctx.db.execute("UPDATE OR IGNORE usages SET artifact_id = ? WHERE artifact_id = ?", (same["id"], row["id"]))
        ctx.db.execute(
            "UPDATE artifacts SET state = 'MERGED', same_as = ?, updated_at = ? WHERE id = ?",
            (same["id"], ctx.now, row["id"]),
        )
        set_aliases(ctx, membership_row(ctx, row["sequence_id"], same["id"]), json.loads(row["wanted_aliases"]))
        return {"artifact": Artifact(ctx, same)}
    entity = Artifact(ctx, row).entity_id
    size = 0
    for name, entry in contents.items():
        size += _add_file(ctx, row["id"], entity, check_file_name(name), entry if isinstance(entry, dict) else {})
    ctx.db.execute(
        "UPDATE artifacts SET state = 'COMMITTED', size = ?, file_count = ?, manifest_md5 = ?, updated_at = ? "
        "WHERE id = ?",
        (size, len(contents), manifest_md5, ctx.now, row["id"]),
    )
    membership = add_membership(ctx, row["sequence_id"], row["id"])
    set_aliases(ctx, membership, json.loads(row["wanted_aliases"]))
    return {"artifact": Artifact(ctx, row_of(ctx, "artifacts", row["id"]))}


def use_artifact(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Record that a run uses a version."""
    project = ctx.require_project(given.get("entity_name"), given.get("project_name"))
    run = ctx.one("SELECT id FROM runs WHERE project_id = ? AND name = ?", project["id"], given.get("run_name"))
    if run is None:
        raise NotFound(f"run {given.get('run_name')!r} not found")
    row = _readable(ctx, given.get("artifact_id"))
    ctx.db.execute(
        "INSERT INTO usages (run_id, artifact_id, used_as, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (run["id"], row["id"], given.get("used_as"), ctx.now),
    )
    return {"artifact": Artifact(ctx, row)}


def update_artifact(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Change description, metadata, time to live or tags of a version."""
    row = _own_artifact(ctx, parse_global_id("Artifact", given.get("artifact_id")))
    ctx.db.execute(
        "UPDATE artifacts SET description = coalesce(?, description), metadata = coalesce(?, metadata), "
        "ttl_seconds = coalesce(?, ttl_seconds), updated_at = ? WHERE id = ?",
        (
            given.get("description"),
            _metadata(given.get("metadata")),
            given.get("ttl_duration_seconds"),
            ctx.now,
            row["id"],
        ),
    )
    _tag(ctx, row["id"], given.get("tags_to_add"))
    for tag in given.get("tags_to_delete") or ():
        ctx.db.execute("DELETE FROM artifact_tags WHERE artifact_id = ? AND name = ?", (row["id"], tag.get("tag_name")))
    if given.get("aliases") is not None:
        set_aliases(ctx, membership_row(ctx, row["sequence_id"], row["id"]), [a["alias"] for a in given["aliases"]])
    return {"artifact": Artifact(ctx, row_of(ctx, "artifacts", row["id"]))}


def delete_artifact(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Delete a version.

    Raises:
        BadRequest: It still has aliases and `deleteAliases` is not set.
    """
    row = _own_artifact(ctx, parse_global_id("Artifact", given.get("artifact_id")))
    named = ctx.one(
        "SELECT 1 FROM aliases a JOIN memberships m ON m.id = a.membership_id WHERE m.artifact_id = ?", row["id"]
    )
    if named is not None and not given.get("delete_aliases"):
        raise BadRequest("the artifact version still has aliases: delete them first, or set deleteAliases")
    node = {"__typename": "Artifact", "id": global_id("Artifact", row["id"])}
    ctx.db.execute("DELETE FROM artifacts WHERE id = ?", (row["id"],))
    return {"artifact": node}


def add_aliases(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Point aliases at a version, in the collections they name."""
    row = _readable(ctx, given.get("artifact_id"))
    for wish in given.get("aliases") or ():
        collection = named_collection(ctx, wish)
        set_aliases(ctx, membership_row(ctx, collection["id"], row["id"]), [str(wish.get("alias"))], latest=False)
    return {"success": True}


def delete_aliases(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Remove aliases from a version."""
    row = _readable(ctx, given.get("artifact_id"))
    for wish in given.get("aliases") or ():
        collection = named_collection(ctx, wish)
        membership = membership_row(ctx, collection["id"], row["id"])
        ctx.db.execute(
            "DELETE FROM aliases WHERE membership_id = ? AND alias = ?", (membership["id"], wish.get("alias"))
        )
    return {"success": True}


def link_artifact(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Link a version into a portfolio (a registry's collection), which numbers it anew."""
    row = _linkable(ctx, given)
    kind = ctx.one(
        "SELECT t.name FROM artifact_types t JOIN collections c ON c.type_id = t.id WHERE c.id = ?", row["sequence_id"]
    )
    assert kind is not None
    if given.get("artifact_portfolio_id"):
        portfolio = own_collection(ctx, given["artifact_portfolio_id"])
    else:
        project = ensure_project(ctx, given.get("entity_name"), given.get("project_name"))
        portfolio = ensure_collection(ctx, project, given.get("artifact_portfolio_name"), kind["name"], "portfolio")
    membership = add_membership(ctx, portfolio["id"], row["id"])
    set_aliases(ctx, membership, [str(a["alias"]) for a in given.get("aliases") or () if a.get("alias")])
    return {"versionIndex": membership["version"], "artifactMembership": Membership(ctx, membership)}


def unlink_artifact(ctx: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Remove a version from a portfolio."""
    portfolio = own_collection(ctx, given.get("artifact_portfolio_id"))
    membership = membership_row(ctx, portfolio["id"], parse_global_id("Artifact", given.get("artifact_id")))
    if portfolio["kind"] != "portfolio":
        raise BadRequest("a version cannot be unlinked from the collection it was logged to")
    ctx.db.execute("DELETE FROM memberships WHERE id = ?", (membership["id"],))
    return {"success": True}


def storage_path(entity_id: int, md5: str) -> str:
    """What W&B calls the storage path of a content."""
    return f"{STORAGE_PREFIX}/{entity_id}/{md5}"


def upload_id(entity_id: int, md5: str) -> str:
    """The multipart upload of a content: the same for every attempt, so a retry continues it."""
    return hashlib.md5(f"{entity_id}/{md5}".encode(), usedforsecurity=False).hexdigest()


def _upload(ctx: Context, wish: dict[str, Any]) -> dict[str, Any]:
    row = _own_artifact(ctx, parse_global_id("Artifact", wish.get("artifact_id")))
    check_file_name(wish.get("name"))
    md5 = hex_digest(wish.get("md5"))
    entity = Artifact(ctx, row).entity_id
    node: dict[str, Any] = {
        "storagePath": storage_path(entity, md5),
        "uploadUrl": None,
        "uploadHeaders": [],
        "uploadMultipartUrls": None,
        "artifact": Artifact(ctx, row),
    }
    touched = ctx.db.execute("UPDATE blobs SET touched_at = ? WHERE entity_id = ? AND md5 = ?", (ctx.now, entity, md5))
    if touched.rowcount:
        return node
    node["uploadUrl"] = ctx.link(f"/upload/blob/{entity}/{md5}", f"put:{entity}:{md5}")
    if wish.get("upload_parts_input"):
        upload = upload_id(entity, md5)
        numbers = [int(part.get("part_number") or 0) for part in wish["upload_parts_input"]]
        node["uploadMultipartUrls"] = {
            "uploadID": upload,
            "uploadUrlParts": [
                {"partNumber": n, "uploadUrl": ctx.link(f"/upload/part/{upload}/{n}", f"put-part:{upload}:{n}")}
                for n in numbers
            ],
        }
    return node


def _add_file(ctx: Context, artifact_id: int, entity: int, name: str, entry: dict[str, Any]) -> int:
    size = entry.get("size") if isinstance(entry.get("size"), int) else 0
    ref = entry.get("ref")
    md5 = None
    if ref is None:
        md5 = hex_digest(entry.get("digest"))
        blob = ctx.one("SELECT size FROM blobs WHERE entity_id = ? AND md5 = ?", entity, md5)
        if blob is None:
            raise BadRequest(f"artifact file {name!r} was not uploaded")
        size = blob["size"]
    ctx.db.execute(
        "INSERT OR REPLACE INTO artifact_files (artifact_id, name, md5, ref, size) VALUES (?, ?, ?, ?, ?)",
        (artifact_id, name, md5, ref, size or 0),
    )
    return size or 0


def _linkable(ctx: Context, given: dict[str, Any]) -> sqlite3.Row:
    if given.get("artifact_id"):
        row = _readable(ctx, given["artifact_id"])
    else:
        found = ctx.one("SELECT id FROM artifacts WHERE client_id = ?", given.get("client_id"))
        row = _readable(ctx, global_id("Artifact", found["id"] if found else 0))
    if row["state"] != "COMMITTED":
        raise BadRequest("only a committed artifact version can be linked")
    return row


def _tag(ctx: Context, artifact_id: int, tags: Any) -> None:
    for tag in tags or ():
        name = tag.get("tag_name") if isinstance(tag, dict) else tag
        ctx.db.execute("INSERT INTO artifact_tags VALUES (?, ?) ON CONFLICT DO NOTHING", (artifact_id, str(name)))


def _manifest_owner(text: object) -> str:
    return global_id("Artifact", parse_global_id("ArtifactManifest", text))


def _metadata(text: object) -> str | None:
    return None if text is None else dump(parse_object(text, "metadata"))


def _readable(ctx: Context, text: object) -> sqlite3.Row:
    row = readable_artifact(ctx, parse_global_id("Artifact", text))
    if row is None:
        raise NotFound("no such artifact")
    return row


def _same_content(ctx: Context, sequence_id: int, digest: str) -> sqlite3.Row | None:
    return ctx.one(
        "SELECT * FROM artifacts WHERE sequence_id = ? AND state = 'COMMITTED' AND digest = ? ORDER BY id DESC",
        sequence_id, digest,
    )  # fmt: skip


def _own_artifact(ctx: Context, number: int) -> sqlite3.Row:
    row = artifact_row(ctx, number)
    home = ctx.one("SELECT project_id FROM collections WHERE id = ?", row["sequence_id"]) if row else None
    if row is None or home is None or not ctx.owns_project(home["project_id"]):
        raise NotFound("no such artifact")
    return row
