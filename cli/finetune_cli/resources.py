"""Our two kinds as objects of the cluster: finding them by name, and reading them with the API's own models."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass

from finetune_operator.api import FinetuneJob, SweepRun
from finetune_operator.api.status import Condition
from pydantic import ValidationError

from finetune_cli.cluster import PLURALS, ApiError, Cluster, Object, resource_path
from finetune_cli.errors import CliError, ExitCode

ALIASES = {
    **dict.fromkeys(("finetunejob", "finetunejobs", "ftj", "job", "finetunejob.finetune.dev"), "FinetuneJob"),
    **dict.fromkeys(("sweeprun", "sweepruns", "swr", "sweep", "sweeprun.finetune.dev"), "SweepRun"),
}
MODELS: dict[str, type[FinetuneJob] | type[SweepRun]] = {"FinetuneJob": FinetuneJob, "SweepRun": SweepRun}


@dataclass(frozen=True, slots=True)
class Resource:
    """A FinetuneJob or SweepRun, as the cluster has it and parsed."""

    raw: Object
    parsed: FinetuneJob | SweepRun

    @property
    def kind(self) -> str:
        """FinetuneJob or SweepRun."""
        return str(self.raw["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.raw["metadata"]["namespace"])

    @property
    def path(self) -> str:
        """Its URL path."""
        return resource_path(self.kind, self.namespace, self.name)

    @property
    def label(self) -> str:
        """`sweeprun/errors`, as kubectl prints it."""
        return f"{self.kind.lower()}/{self.name}"

    @property
    def generation(self) -> int:
        """Generation of its spec."""
        return int(self.raw["metadata"].get("generation", 1))

    @property
    def observed(self) -> bool:
        """Whether the operator has looked at the present spec, be it that it was kept from acting on it."""
        ready = self.condition("Ready")
        seen = self.parsed.status.observed_generation, ready.observed_generation if ready else None
        return self.generation in seen

    def condition(self, kind: str) -> Condition | None:
        """The condition of a type."""
        return next((c for c in self.parsed.status.conditions if c.type == kind), None)

    def holds(self, kind: str) -> bool:
        """Whether a condition is true, judged on the present spec."""
        found = self.condition(kind)
        current = self.parsed.status.observed_generation == self.generation
        return found is not None and found.status == "True" and current

    @property
    def outcome(self) -> bool | None:
        """True when complete, False when failed or stalled, None while it goes on."""
        if self.holds("Complete"):
            return True
        return False if self.holds("Failed") or self.holds("Stalled") else None


def parse(raw: Object) -> Resource:
    """An object of the cluster as a `Resource`; a status that cannot be read counts as absent.

    Raises:
        CliError: The spec is not one that this version knows.
    """
    model = MODELS[raw["kind"]]
    try:
        return Resource(raw, model.model_validate({"spec": raw.get("spec", {}), "status": raw.get("status") or {}}))
    except ValidationError as error:
        name = f"{raw['kind'].lower()}/{raw['metadata']['name']}"
        fix = "install the version of `finetune` that belongs to the cluster's operator"
        raise CliError(f"{name}: {explain(error)}", ExitCode.USAGE, fix) from error


def explain(error: ValidationError) -> str:
    """The first few faults, each with its field as written in YAML."""
    faults = []
    for fault in error.errors()[:5]:
        field = ""
        for part in fault["loc"]:
            field += f"[{part}]" if isinstance(part, int) else ("." if field else "") + str(part)
        message = f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
        if fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(fault["loc"][-1]), _field_names(), 1)
            message = f"there is no such field{f', did you mean {near[0]}?' if near else ''}"
        faults.append(f"{field or 'document'}: {message}")
    return "; ".join(faults)


@functools.cache
def _field_names() -> tuple[str, ...]:
    """All fields of both specs, at any depth, as written in YAML."""
    schemas = [model.model_json_schema(by_alias=True) for model in MODELS.values()]
    parts = [part for schema in schemas for part in schema["$defs"].values()]
    return tuple({name for part in parts for name in part.get("properties", ())})


def split(reference: str) -> tuple[str | None, str]:
    """`swr/errors` -> (SweepRun, errors); a bare name has no kind.

    Raises:
        CliError: An unknown kind.
    """
    prefix, slash, name = reference.partition("/")
    if not slash:
        return None, reference
    if prefix.lower() not in ALIASES or not name:
        fix = "write NAME, sweeprun/NAME (swr/NAME) or finetunejob/NAME (ftj/NAME)"
        raise CliError(f"{reference!r} names no kind of this project", ExitCode.USAGE, fix)
    return ALIASES[prefix.lower()], name


def find(cluster: Cluster, reference: str) -> Resource:
    """The resource that a reference names.

    Raises:
        CliError: There is none, or a bare name fits both kinds.
    """
    kind, name = split(reference)
    kinds = [kind] if kind else list(PLURALS)
    found = [raw for k in kinds if (raw := cluster.get(resource_path(k, cluster.namespace, name))) is not None]
    if len(found) > 1:
        fix = f"write sweeprun/{name} or finetunejob/{name}"
        raise CliError(f"{name!r} is both a SweepRun and a FinetuneJob", ExitCode.USAGE, fix)
    if not found:
        message = f"no {kind or 'SweepRun or FinetuneJob'} {name!r} in namespace {cluster.namespace!r}"
        raise CliError(message, ExitCode.NOT_FOUND, _instead(cluster, kinds, name))
    return parse(found[0])


def _instead(cluster: Cluster, kinds: list[str], name: str) -> str:
    """Where the resource may be, or what it may be called, as far as this user may look."""
    near = difflib.get_close_matches(name, [listed.partition("/")[2] for listed in names(cluster)], 1)
    if near:
        return f"did you mean {near[0]}?"
    try:
        found = [raw["metadata"] for kind in kinds for raw in cluster.items(resource_path(kind, None))]
    except ApiError:
        found = []
    elsewhere = sorted({metadata["namespace"] for metadata in found if metadata["name"] == name})
    if elsewhere:
        return f"there is one in namespace {' and '.join(elsewhere)}: give -n {elsewhere[0]}"
    return "list them with `kubectl get finetune -A`, and choose the namespace with -n"


def reload(cluster: Cluster, resource: Resource) -> Resource:
    """The same resource, as it is now.

    Raises:
        CliError: It has been deleted.
    """
    raw = cluster.get(resource.path)
    if raw is None:
        raise CliError(f"{resource.label} has been deleted", ExitCode.NOT_FOUND)
    return parse(raw)


def names(cluster: Cluster) -> list[str]:
    """References to all resources of the namespace."""
    out: list[str] = []
    for kind in PLURALS:
        try:
            listed = cluster.items(resource_path(kind, cluster.namespace))
        except ApiError:
            continue
        out.extend(f"{kind.lower()}/{raw['metadata']['name']}" for raw in listed)
    return sorted(out)
