"""What may be done about a promotion, and the patch that asks the operator for it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from finetune_operator.api.status import PromotionStatus
from finetune_operator.names import APPROVED_BY_ANNOTATION, ROLLBACK_ANNOTATION

from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource

Patch = dict[str, Any]
IN_SERVICE = ("Promoted", "RolledBack")


def _annotate(key: str, value: str) -> Patch:
    return {"metadata": {"annotations": {key: value}}}


def _refused(resource: Resource, what: str, fix: str) -> CliError:
    return CliError(f"{resource.label} {what}", ExitCode.REFUSED, fix)


def approve(resource: Resource, approver: str) -> Patch:
    """The annotation that approves; an approver that an earlier promotion has used is named with the run, as new.

    Raises:
        CliError: Nothing awaits approval.
    """
    state = resource.parsed.status.promotion
    if state is None or state.state != "AwaitingApproval":
        what = (
            f"awaits no approval (promotion: {state.state})" if state else "awaits no approval: it has no promotion yet"
        )
        raise _refused(resource, what, f"see where it stands with `finetune watch --once {resource.label}`")
    used = any(record.by == approver for record in state.history)
    return _annotate(APPROVED_BY_ANNOTATION, f"{approver} for {state.run}" if used else approver)


def rollback(resource: Resource, who: str, now: datetime) -> Patch:
    """The annotation that asks for the previous version; its value is new each time, as each is carried out once.

    Raises:
        CliError: Nothing of this resource is in service, or nothing was before it.
    """
    state = resource.parsed.status.promotion
    if state is None or state.state not in IN_SERVICE:
        what = "has nothing in service that could be rolled back"
        raise _refused(resource, what, "roll back the resource that was promoted; `kubectl get finetune -A` shows it")
    if state.previous is None:
        raise _refused(resource, "replaced no earlier version, so there is none to return to", "promote another model")
    return _annotate(ROLLBACK_ANNOTATION, f"{who} {now:%Y-%m-%dT%H:%M:%SZ}")


def promote(
    resource: Resource, model: str | None, aliases: tuple[str, ...], approver: str, gates: dict[str, str]
) -> Patch | None:
    """The patch that puts a finished result into service if it meets its gates; None when it already is there.

    Raises:
        CliError: It has no result, it did not meet its gates, or there is no registry to put it into.
    """
    if resource.outcome is not True:
        what = "is not complete, so there is nothing to promote"
        raise _refused(resource, what, f"wait for it with `finetune watch {resource.label}`")
    spec, state = resource.parsed.spec.promotion, resource.parsed.status.promotion
    asked: dict[str, Any] = {}
    if model is not None:
        asked["registry"] = {"model": model, **({"aliases": list(aliases)} if aliases else {})}
    elif aliases:
        if spec is None or spec.registry is None:
            raise CliError("--alias needs --model: the resource names no registered model", ExitCode.USAGE)
        asked["registry"] = {"aliases": list(aliases)}
    if gates:
        asked["gates"] = gates
    if spec is None and not asked:
        fix = "name the registered model: `finetune promote NAME --model stt --alias production`"
        raise _refused(resource, "asks for no promotion", fix)
    if not asked and state is not None:
        if state.state in IN_SERVICE:
            return None
        if state.state == "Rejected":
            fix = "train a better model, or change the bounds knowingly (--min-improvement, --significance)"
            raise _refused(resource, f"was rejected: {state.reason}", fix)
    patch: Patch = {"spec": {"promotion": asked}} if asked else {}
    waits = state is not None and state.state == "AwaitingApproval"
    if waits or (spec is not None and spec.approval == "Manual"):
        patch |= _annotate(APPROVED_BY_ANNOTATION, approver)
    return patch


def settled(resource: Resource, before: PromotionStatus | None) -> bool:
    """Whether the operator has answered a wish that was made when the promotion stood as `before`."""
    state = resource.parsed.status.promotion
    if state is None or not resource.observed:
        return False
    if before is not None and state == before:
        return False
    return state.state != "Pending"
