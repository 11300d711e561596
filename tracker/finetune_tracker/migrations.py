"""The database schema as numbered scripts: script N brings `PRAGMA user_version` from N-1 to N. Append, never edit.

Times are seconds since the epoch, JSON is text, names that users choose never become file names: contents are stored
under their digest, per entity, so that equal files are stored once and no tenant can claim another's by its digest.
"""

from __future__ import annotations

_V1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entities (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE users (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, email TEXT NOT NULL, admin INTEGER NOT NULL DEFAULT 0,
    entity_id INTEGER NOT NULL REFERENCES entities, created_at REAL NOT NULL);
CREATE TABLE members (
    entity_id INTEGER NOT NULL REFERENCES entities ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, PRIMARY KEY (entity_id, user_id)) WITHOUT ROWID;
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, hash TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL);
CREATE TABLE projects (
    id INTEGER PRIMARY KEY, entity_id INTEGER NOT NULL REFERENCES entities, name TEXT NOT NULL,
    description TEXT, access TEXT NOT NULL DEFAULT 'PRIVATE', allow_all_types INTEGER NOT NULL DEFAULT 1,
    views TEXT, user_id INTEGER, created_at REAL NOT NULL, updated_at REAL NOT NULL, UNIQUE (entity_id, name));
CREATE TABLE sweeps (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE, name TEXT NOT NULL,
    display_name TEXT, description TEXT, state TEXT NOT NULL, config TEXT NOT NULL, spec TEXT NOT NULL,
    method TEXT NOT NULL, run_cap INTEGER, grid_size INTEGER, exhausted INTEGER NOT NULL DEFAULT 0,
    controller TEXT, scheduler TEXT,
    user_id INTEGER, created_at REAL NOT NULL, updated_at REAL NOT NULL, heartbeat_at REAL,
    UNIQUE (project_id, name));
CREATE TABLE agents (
    id INTEGER PRIMARY KEY, sweep_id INTEGER NOT NULL REFERENCES sweeps ON DELETE CASCADE, name TEXT NOT NULL,
    host TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL, heartbeat_at REAL NOT NULL);
CREATE INDEX agents_by_sweep ON agents (sweep_id);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    name TEXT NOT NULL, display_name TEXT NOT NULL, state TEXT NOT NULL, description TEXT, notes TEXT,
    config TEXT NOT NULL DEFAULT '{}', summary TEXT NOT NULL DEFAULT '{}', system TEXT NOT NULL DEFAULT '{}',
    tags TEXT NOT NULL DEFAULT '[]', group_name TEXT, job_type TEXT, commit_hash TEXT, repo TEXT,
    host TEXT, program TEXT,
    user_id INTEGER, sweep_id INTEGER REFERENCES sweeps ON DELETE SET NULL, agent_id INTEGER, params TEXT,
    prior INTEGER NOT NULL DEFAULT 0, issued INTEGER NOT NULL DEFAULT 1, seen INTEGER NOT NULL DEFAULT 0,
    left_at REAL, started INTEGER NOT NULL DEFAULT 0,
    restarted INTEGER NOT NULL DEFAULT 0, stopped INTEGER NOT NULL DEFAULT 0, preempting INTEGER NOT NULL DEFAULT 0,
    exitcode INTEGER, history_lines INTEGER NOT NULL DEFAULT 0, events_lines INTEGER NOT NULL DEFAULT 0,
    log_lines INTEGER NOT NULL DEFAULT 0, history_keys TEXT NOT NULL DEFAULT '{}',
    history_start INTEGER NOT NULL DEFAULT 0, last_step INTEGER NOT NULL DEFAULT -1,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, heartbeat_at REAL NOT NULL, UNIQUE (project_id, name));
CREATE INDEX runs_by_project ON runs (project_id, created_at);
CREATE INDEX runs_by_sweep ON runs (sweep_id, id);
CREATE INDEX runs_by_agent ON runs (agent_id);
CREATE INDEX runs_in_flight ON runs (state) WHERE state IN ('pending', 'running', 'preempting');
CREATE TABLE history (
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, offset INTEGER NOT NULL, step INTEGER NOT NULL,
    line TEXT NOT NULL, PRIMARY KEY (run_id, offset)) WITHOUT ROWID;
CREATE INDEX history_by_step ON history (run_id, step);
CREATE TABLE events (
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, offset INTEGER NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (run_id, offset)) WITHOUT ROWID;
CREATE TABLE logs (
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, offset INTEGER NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (run_id, offset)) WITHOUT ROWID;
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, title TEXT NOT NULL,
    text TEXT NOT NULL, severity TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE blobs (
    entity_id INTEGER NOT NULL REFERENCES entities, md5 TEXT NOT NULL, size INTEGER NOT NULL, touched_at REAL NOT NULL,
    PRIMARY KEY (entity_id, md5)) WITHOUT ROWID;
CREATE TABLE run_files (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL,
    md5 TEXT NOT NULL, size INTEGER NOT NULL, updated_at REAL NOT NULL, UNIQUE (run_id, name));
CREATE TABLE artifact_types (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE, name TEXT NOT NULL,
    description TEXT, created_at REAL NOT NULL, UNIQUE (project_id, name));
CREATE TABLE collections (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    type_id INTEGER NOT NULL REFERENCES artifact_types, kind TEXT NOT NULL, name TEXT NOT NULL, description TEXT,
    next_version INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL, updated_at REAL NOT NULL,
    UNIQUE (project_id, name));
CREATE TABLE collection_tags (
    collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE, name TEXT NOT NULL,
    PRIMARY KEY (collection_id, name)) WITHOUT ROWID;
CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sequence_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
    digest TEXT NOT NULL, state TEXT NOT NULL, description TEXT, metadata TEXT, client_id TEXT, sequence_client_id TEXT,
    run_id INTEGER REFERENCES runs ON DELETE SET NULL, wanted_aliases TEXT NOT NULL DEFAULT '[]', history_step INTEGER,
    ttl_seconds INTEGER, size INTEGER NOT NULL DEFAULT 0, file_count INTEGER NOT NULL DEFAULT 0,
    manifest_md5 TEXT, manifest_kind TEXT, base_id INTEGER, created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE INDEX artifacts_by_sequence ON artifacts (sequence_id, digest);
CREATE INDEX artifacts_by_client ON artifacts (client_id);
CREATE INDEX artifacts_by_run ON artifacts (run_id);
CREATE TABLE artifact_tags (
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE, name TEXT NOT NULL,
    PRIMARY KEY (artifact_id, name)) WITHOUT ROWID;
CREATE TABLE artifact_files (
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE, name TEXT NOT NULL, md5 TEXT, ref TEXT,
    size INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (artifact_id, name)) WITHOUT ROWID;
CREATE TABLE memberships (
    id INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE, version INTEGER NOT NULL,
    created_at REAL NOT NULL, UNIQUE (collection_id, version), UNIQUE (collection_id, artifact_id));
CREATE INDEX memberships_by_artifact ON memberships (artifact_id);
CREATE TABLE aliases (
    id INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
    alias TEXT NOT NULL,
    membership_id INTEGER NOT NULL REFERENCES memberships ON DELETE CASCADE, UNIQUE (collection_id, alias));
CREATE INDEX aliases_by_membership ON aliases (membership_id);
CREATE TABLE usages (
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE, used_as TEXT, created_at REAL NOT NULL,
    PRIMARY KEY (run_id, artifact_id)) WITHOUT ROWID;
CREATE INDEX usages_by_artifact ON usages (artifact_id);
"""

_V2 = """
CREATE TABLE sweep_priors (
    sweep_id INTEGER NOT NULL REFERENCES sweeps ON DELETE CASCADE,
    run_id INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, PRIMARY KEY (sweep_id, run_id)) WITHOUT ROWID;
"""

# The version that an artifact of the same content stands for, and whether its client wants such.
_V3 = """
ALTER TABLE artifacts ADD COLUMN same_as INTEGER REFERENCES artifacts ON DELETE CASCADE;
ALTER TABLE artifacts ADD COLUMN deduplicate INTEGER NOT NULL DEFAULT 1;
CREATE INDEX artifacts_by_same ON artifacts (same_as);
"""

MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3)
