"""Who is asking: API keys, users, entities, and signed links for uploads and downloads."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import sqlite3
import time
from dataclasses import dataclass

from finetune_tracker.errors import BadRequest, Forbidden, NotFound, Unauthorized

_KEY = re.compile(r"(?:[A-Za-z0-9_]+-)?[A-Za-z0-9_-]{40,}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Viewer:
    """The user behind a request.

    Attributes:
        entity: Name of the default entity.
        entities: Name -> id of every entity the user may read and write.
    """

    id: int
    name: str
    email: str
    admin: bool
    entity: str
    entities: dict[str, int]

    def entity_id(self, name: str | None) -> int:
        """The id of an entity the user belongs to; None stands for the default.

        Raises:
            Forbidden: The user is no member, or there is no such entity (both look alike on purpose).
        """
        found = self.entities.get(name or self.entity)
        if found is None:
            raise Forbidden(f"permission denied: {self.name} is not a member of entity {name!r}")
        return found


def generate_key() -> str:
    """A new API key of 40 characters, W&B's usual form."""
    return secrets.token_hex(20)


def check_key(key: str) -> str:
    """The key, if the SDK would accept it.

    Raises:
        BadRequest: Too short or with characters that the SDK refuses.
    """
    if not _KEY.fullmatch(key):
        raise BadRequest("an API key needs at least 40 characters of A-Z, a-z, 0-9, _ and -")
    return key


def hash_key(key: str) -> str:
    """What is stored of a key. Keys are random with 160 bits, so one SHA-256 without salt leaves nothing to guess."""
    return hashlib.sha256(key.encode()).hexdigest()


def bearer(header: str | None) -> str:
    """The API key in an `Authorization` header (Basic with any user name, or Bearer).

    Raises:
        Unauthorized: No usable header.
    """
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            pass
    raise Unauthorized("an API key is needed: set WANDB_API_KEY")


def find_viewer(db: sqlite3.Connection, key_hash: str) -> Viewer:
    """The owner of a key.

    Raises:
        Unauthorized: Nobody owns it.
    """
    user = db.execute(
        "SELECT u.*, e.name AS entity FROM api_keys k JOIN users u ON u.id = k.user_id "
        "JOIN entities e ON e.id = u.entity_id WHERE k.hash = ?",
        (key_hash,),
    ).fetchone()
    if user is None:
        raise Unauthorized("this API key is not known here")
    rows = db.execute(
        "SELECT e.name, e.id FROM members m JOIN entities e ON e.id = m.entity_id WHERE m.user_id = ? ORDER BY e.name",
        (user["id"],),
    )
    entities = {row["name"]: row["id"] for row in rows}
    return Viewer(user["id"], user["name"], user["email"], bool(user["admin"]), user["entity"], entities)


def ensure_entity(db: sqlite3.Connection, name: str, kind: str = "team") -> int:
    """The id of an entity, created if need be.

    Raises:
        BadRequest: The name does not fit in a URL.
    """
    if not _NAME.fullmatch(name):
        raise BadRequest(f"entity name {name!r} must start with a letter or digit and use only A-Z, a-z, 0-9, _ . -")
    db.execute(
        "INSERT INTO entities (name, kind, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (name, kind, time.time()),
    )
    return int(db.execute("SELECT id FROM entities WHERE name = ?", (name,)).fetchone()["id"])


def add_user(
    db: sqlite3.Connection, name: str, organization: str, *, teams: tuple[str, ...] = (), admin: bool = False
) -> int:
    """The id of a user, created with a personal entity if need be, and made a member of `teams`."""
    entity = ensure_entity(db, name, "user")
    db.execute(
        "INSERT INTO users (name, email, admin, entity_id, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (name, f"{name}@localhost", admin, entity, time.time()),
    )
    user = int(db.execute("SELECT id FROM users WHERE name = ?", (name,)).fetchone()["id"])
    for member_of in (entity, ensure_entity(db, organization, "organization"), *(ensure_entity(db, t) for t in teams)):
        db.execute("INSERT INTO members VALUES (?, ?) ON CONFLICT DO NOTHING", (member_of, user))
    return user


def add_key(db: sqlite3.Connection, user: int, key: str, description: str = "") -> None:
    """Let `key` act as a user.

    Raises:
        BadRequest: The key is malformed or belongs to someone else.
    """
    row = db.execute("SELECT user_id FROM api_keys WHERE hash = ?", (hash_key(check_key(key)),)).fetchone()
    if row is not None and row["user_id"] != user:
        raise BadRequest("this API key already belongs to another user")
    db.execute(
        "INSERT INTO api_keys (user_id, hash, description, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (user, hash_key(key), description, time.time()),
    )


def server_secret(db: sqlite3.Connection) -> bytes:
    """The secret that signs links, created at the first start."""
    db.execute("INSERT INTO meta VALUES ('secret', ?) ON CONFLICT DO NOTHING", (secrets.token_hex(32),))
    return bytes.fromhex(db.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()["value"])


class Signer:
    """Signs what a link may do, so that uploads and downloads need no API key (the SDK sends none with them)."""

    def __init__(self, secret: bytes, lifetime: float) -> None:
        self._secret = secret
        self._lifetime = lifetime

    def sign(self, claim: str) -> str:
        """A token for `claim` that expires."""
        expires = str(int(time.time() + self._lifetime))
        return f"{expires}.{self._mac(claim, expires)}"

    def check(self, claim: str, token: str) -> None:
        """Accept a valid token.

        Raises:
            Forbidden: Forged or for something else.
            NotFound: Expired.
        """
        expires, _, mac = token.partition(".")
        if not expires.isdecimal() or not hmac.compare_digest(mac.encode(), self._mac(claim, expires).encode()):
            raise Forbidden("this link was not issued by this server")
        if int(expires) < time.time():
            raise NotFound("this link has expired")

    def _mac(self, claim: str, expires: str) -> str:
        return hmac.new(self._secret, f"{expires}\n{claim}".encode(), hashlib.sha256).hexdigest()
