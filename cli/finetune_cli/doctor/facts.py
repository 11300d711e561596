"""What `doctor` knows. Whatever could not be read is an `Unknown` with its reason, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from finetune_cli.cluster import Object
from finetune_cli.resources import Resource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that could not be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class TrackerAnswer:
    """What the tracker said to the API key.

    Attributes:
        user: Owner of the key, when it was accepted.
    """

    url: str
    state: Literal["accepted", "refused", "unreachable"]
    detail: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Right:
    """A right that the user of the kubeconfig needs."""

    verb: str
    group: str
    resource: str
    why: str


RIGHTS = (
    Right("create", "finetune.dev", "sweepruns", "to submit sweeps"),
    Right("create", "finetune.dev", "finetunejobs", "to submit trainings"),
    Right("patch", "finetune.dev", "sweepruns", "to approve, roll back, suspend and scale"),
    Right("patch", "finetune.dev", "finetunejobs", "to approve, roll back and suspend"),
    Right("list", "", "pods", "to say why pods do not start"),
    Right("get", "", "pods/log", "to show logs"),
)


@dataclass(frozen=True)
class Facts:
    """Everything that the checks judge.

    Attributes:
        resource: The resource that was asked about, if any.
        submitted: Its age in seconds; to tell a slow operator from an absent one.
        secret: The API key's Secret; None if it does not exist.
        dataset: What a pod with the trainer's image said about the dataset; None if none was asked.
    """

    namespace: str
    namespace_exists: bool | Unknown = True
    crds: dict[str, Object | None] | Unknown = field(default_factory=dict)
    wanted_fields: dict[str, set[str]] = field(default_factory=dict)
    missing_rights: Sequence[Right] | Unknown = ()
    operators: Sequence[Object] | Unknown = ()
    resource: Resource | None = None
    submitted: float = 0.0
    source_exists: bool | Unknown | None = None
    secret: Object | Unknown | None = None
    tracker: TrackerAnswer | Unknown = Unknown("not asked")
    nodes: Sequence[Object] | Unknown = ()
    pods: Sequence[Object] | Unknown = ()
    claims: dict[str, Object | Unknown | None] = field(default_factory=dict)
    quotas: Sequence[Object] | Unknown = ()
    queue_exists: bool | Unknown | None = None
    dataset: ProbeAnswer | Unknown | None = None


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What a pod of the trainer's image found when it read the dataset."""

    readable: bool
    detail: str


Level = Literal["ok", "fault", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one check.

    Attributes:
        check: What was looked at.
        level: `unknown` where it could not be judged from here.
        message: What was found, in a sentence.
        fix: What to do about a fault.
    """

    check: str
    level: Level
    message: str
    fix: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        out = {"check": self.check, "level": self.level, "message": self.message}
        return out | ({"fix": self.fix} if self.fix else {})


def ok(check: str, message: str) -> Finding:
    """Nothing wrong."""
    return Finding(check, "ok", message)


def fault(check: str, message: str, fix: str) -> Finding:
    """Something wrong, with its fix."""
    return Finding(check, "fault", message, fix)


def unknown(check: str, what: Unknown | str, fix: str = "") -> Finding:
    """Could not be judged."""
    return Finding(check, "unknown", what.reason if isinstance(what, Unknown) else what, fix)
