"""Command line: `finetune-tracker serve | user | prune | export`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from finetune_tracker import auth
from finetune_tracker.app import create_app
from finetune_tracker.database import connect, migrate, transaction
from finetune_tracker.errors import TrackerError
from finetune_tracker.export import export
from finetune_tracker.prune import prune
from finetune_tracker.settings import Settings
from finetune_tracker.wire import WireClient


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        args.run(args)
    except (TrackerError, ValueError, RuntimeError, OSError) as e:
        print(f"finetune-tracker: {e}", file=sys.stderr)
        return 1
    return 0


def serve(args: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings.from_env(data=args.data, public_url=args.public_url, entity=args.entity)
    settings.data.mkdir(parents=True, exist_ok=True)
    with _database(settings.data) as db:
        user = auth.add_user(db, settings.entity, settings.organization, admin=True)
        if args.api_key_file is not None:
            auth.add_key(db, user, args.api_key_file.read_text().strip(), "given by --api-key-file")
    sock = socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((args.host, args.port))
    host = f"[{args.host}]" if ":" in args.host else args.host
    url = settings.public_url or f"http://{host}:{sock.getsockname()[1]}"
    config = uvicorn.Config(
        create_app(settings),
        access_log=args.access_log,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=10,
        timeout_keep_alive=75,
        forwarded_allow_ips=args.forwarded_allow_ips,
        backlog=1024,
    )
    server = _Announced(config, url)
    try:
        server.run(sockets=[sock])
    finally:
        sock.close()


class _Announced(uvicorn.Server):
    """Prints the base URL once requests are served."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Without uvicorn's raising the signal again at the end: who is asked to end and does so exits with 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._url, flush=True)


def add_user(args: argparse.Namespace) -> None:
    """Add a user, or teams and a key to one; a generated key is printed once."""
    settings = Settings.from_env(data=args.data)
    key = args.api_key_file.read_text().strip() if args.api_key_file else auth.generate_key()
    with _database(settings.data) as db:
        user = auth.add_user(db, args.name, settings.organization, teams=tuple(args.team), admin=args.admin)
        auth.add_key(db, user, key, "added by the administrator")
    if args.api_key_file is None:
        print(key)


def list_users(args: argparse.Namespace) -> None:
    """One line per user: name, teams, number of keys."""
    with _database(args.data) as db:
        rows = db.execute(
            "SELECT u.name, (SELECT group_concat(e.name) FROM members m JOIN entities e ON e.id = m.entity_id "
            "WHERE m.user_id = u.id AND e.kind = 'team') AS teams, "
            "(SELECT count(*) FROM api_keys k WHERE k.user_id = u.id) AS keys FROM users u ORDER BY u.name"
        )
        for row in rows:
            print(f"{row['name']}\t{row['teams'] or '-'}\t{row['keys']} keys")


def prune_files(args: argparse.Namespace) -> None:
    """Free the space of contents that nothing refers to any more."""
    db = connect(args.data / "tracker.sqlite3")
    try:
        migrate(db)
        count, size = prune(db, args.data)
    finally:
        db.close()
    print(f"{count} files, {size} bytes")


def export_projects(args: argparse.Namespace) -> None:
    """Send projects to another W&B server; may be repeated to send what is new."""
    settings = Settings.from_env(data=args.data)
    target = WireClient(args.to, args.api_key_file.read_text().strip())
    entity = args.entity or settings.entity
    db = connect(args.data / "tracker.sqlite3")
    try:
        migrate(db)
        counts = export(
            db, args.data, target, destination=args.to, entity=entity, to_entity=args.to_entity or entity,
            projects=args.project,
        )  # fmt: skip
    finally:
        db.close()
    print(", ".join(f"{number} {kind}" for kind, number in counts.items()))


@contextlib.contextmanager
def _database(data: Path) -> Any:
    data.mkdir(parents=True, exist_ok=True)
    db = connect(data / "tracker.sqlite3")
    try:
        migrate(db)
        with transaction(db):
            yield db
    finally:
        db.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="finetune-tracker", description="A W&B-compatible server.")
    parser.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="serve until SIGTERM; prints the base URL first")
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=0, help="0 takes a free one")
    _data_argument(command)
    command.add_argument("--api-key-file", type=Path, help="file with one API key to accept for the default user")
    command.add_argument("--entity", help="name of the default user and entity (local)")
    command.add_argument("--public-url", help="address for links, if clients reach the server by another one")
    command.add_argument("--forwarded-allow-ips", default="127.0.0.1", help="proxies whose X-Forwarded-* are believed")
    command.add_argument("--access-log", action="store_true")
    command.set_defaults(run=serve)

    users = commands.add_parser("user", help="users, teams and API keys").add_subparsers(
        required=True, metavar="ACTION"
    )
    command = users.add_parser("add", help="add a user, or a key and teams to one; prints the new API key")
    command.add_argument("name")
    _data_argument(command)
    command.add_argument("--team", action="append", default=[], help="entity to make the user a member of; repeatable")
    command.add_argument("--admin", action="store_true")
    command.add_argument("--api-key-file", type=Path, help="take the key from this file and print nothing")
    command.set_defaults(run=add_user)
    command = users.add_parser("list", help="list users")
    _data_argument(command)
    command.set_defaults(run=list_users)

    command = commands.add_parser("prune", help="free the space of deleted runs' and artifacts' files")
    _data_argument(command)
    command.set_defaults(run=prune_files)

    command = commands.add_parser("export", help="send projects to another W&B server (also while this one serves)")
    _data_argument(command)
    command.add_argument("--to", required=True, metavar="URL", help="address of the other server")
    command.add_argument("--api-key-file", type=Path, required=True, help="file with an API key of the other server")
    command.add_argument("--entity", help="entity here (the default one)")
    command.add_argument("--to-entity", help="entity there (the same name)")
    command.add_argument("--project", action="append", default=[], help="project to send; repeatable (all)")
    command.set_defaults(run=export_projects)
    return parser


def _data_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, required=True, help="folder of the database and the files")


if __name__ == "__main__":
    sys.exit(main())
