"""Who asks: users, their groups, and impersonation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MASTERS = "system:masters"


@dataclass(frozen=True)
class User:
    """A user and the groups that grant rights."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""

    @property
    def almighty(self) -> bool:
        """Everything is allowed."""
        return MASTERS in self.groups


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """The user that a ServiceAccount is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid)


def impersonated(headers: Mapping[str, str], groups: list[str]) -> User | None:
    """The user that `Impersonate-*` headers ask for; None without them."""
    name = headers.get("Impersonate-User")
    if not name:
        return None
    if name.startswith("system:serviceaccount:") and not groups:
        namespace, _, account = name.removeprefix("system:serviceaccount:").partition(":")
        return service_account(namespace, account)
    if name == ANONYMOUS.name and not groups:
        return ANONYMOUS
    return User(name, tuple(dict.fromkeys([*groups, "system:authenticated"])), headers.get("Impersonate-Uid", ""))
