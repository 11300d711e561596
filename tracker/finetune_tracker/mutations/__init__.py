"""Mutations: each is a function of the request's context and its input object with keys in snake case.

They run inside the writer's transaction, which commits before the client gets its answer. A mutation that first has to
compute or to read files is prepared outside of it, see `prepared`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finetune_tracker.context import Context
from finetune_tracker.mutations import accounts, artifacts, collections, projects, runs, sweeps

Mutation = Callable[[Context, dict[str, Any]], Any]

MUTATIONS: dict[str, Mutation] = {
    "upsert_bucket": runs.upsert_run,
    "create_run_files": runs.create_run_files,
    "mark_run_files_uploaded": runs.mark_run_files_uploaded,
    "delete_files": runs.delete_files,
    "delete_run": runs.delete_run,
    "stop_run": runs.stop_run,
    "update_run_state": runs.update_run_state,
    "rewind_run": runs.rewind_run,
    "notify_scriptable_run_alert": runs.alert,
    "create_agent": sweeps.create_agent,
    "upsert_model": projects.upsert_project,
    "rename_project": projects.rename_project,
    "delete_model": projects.delete_project,
    "create_artifact": artifacts.create_artifact,
    "create_artifact_manifest": artifacts.create_manifest,
    "update_artifact_manifest": artifacts.create_manifest,
    "create_artifact_files": artifacts.create_files,
    "use_artifact": artifacts.use_artifact,
    "update_artifact": artifacts.update_artifact,
    "delete_artifact": artifacts.delete_artifact,
    "add_aliases": artifacts.add_aliases,
    "delete_aliases": artifacts.delete_aliases,
    "link_artifact": artifacts.link_artifact,
    "unlink_artifact": artifacts.unlink_artifact,
    "update_artifact_sequence": collections.update_collection,
    "update_artifact_portfolio": collections.update_collection,
    "move_artifact_sequence": collections.move_collection,
    "delete_artifact_sequence": collections.delete_collection,
    "delete_artifact_portfolio": collections.delete_collection,
    "create_artifact_collection_tag_assignments": collections.tag_collection,
    "delete_artifact_collection_tag_assignments": collections.untag_collection,
    "create_team": accounts.create_team,
    "generate_api_key": accounts.generate_api_key,
    "delete_api_key": accounts.delete_api_key,
}
