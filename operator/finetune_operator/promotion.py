"""Gates and promotion: from a result's numbers to a place in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from finetune_operator import names
from finetune_operator.actions import Promote, Promoted
from finetune_operator.api.shared import PromotionSpec
from finetune_operator.api.status import GateStatus, PromotionRecord, PromotionStatus
from finetune_operator.conditions import timestamp
from finetune_operator.trial import gates as numbers

ERROR_TYPE_GATE = "maxErrorTypeDegradation"
_HISTORY = 10


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a candidate measured, on the held-out test set.

    Attributes:
        worst_error_type: Largest absolute rise of the word error rate within one error type.
    """

    relative_improvement: float | None
    p_value: float | None
    suites_passed: int
    suites_total: int
    worst_error_type: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The run up for promotion."""

    run_id: str
    artifact: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """Next state of a promotion, and what it needs first."""

    status: PromotionStatus
    action: Promote | None = None


def evaluate(spec: PromotionSpec, evidence: Evidence) -> tuple[GateStatus, ...]:
    """Every gate's verdict, from the numbers; a number that is missing passes no gate that was asked for."""
    bounds = numbers(spec)
    gain, p_value = evidence.relative_improvement, evidence.p_value
    verdicts = [
        GateStatus(
            name="minImprovement",
            value=gain,
            threshold=bounds.min_improvement,
            passed=gain is not None and gain >= bounds.min_improvement and gain > 0,
        ),
        GateStatus(
            name="significance",
            value=p_value,
            threshold=bounds.significance,
            passed=p_value is not None and p_value <= bounds.significance,
        ),
    ]
    if evidence.suites_total:
        rate = evidence.suites_passed / evidence.suites_total
        verdicts.append(
            GateStatus(
                name="minRegressionPassRate",
                value=round(rate, 6),
                threshold=bounds.min_regression_pass_rate,
                passed=rate >= bounds.min_regression_pass_rate,
            )
        )
    if bounds.max_error_type_degradation is not None:
        worst = evidence.worst_error_type
        verdicts.append(
            GateStatus(
                name=ERROR_TYPE_GATE,
                value=worst,
                threshold=bounds.max_error_type_degradation,
                passed=worst is not None and worst <= bounds.max_error_type_degradation,
            )
        )
    return tuple(verdicts)


def _record(status: PromotionStatus, action: str, by: str, now: datetime) -> tuple[PromotionRecord, ...]:
    record = PromotionRecord.model_validate(
        {"artifact": status.artifact, "version": status.version, "at": timestamp(now), "by": by, "action": action}
    )
    return (*status.history, record)[-_HISTORY:]


def step(
    spec: PromotionSpec,
    current: PromotionStatus | None,
    candidate: Candidate,
    evidence: Evidence,
    annotations: Mapping[str, str],
    promoted: Promoted | None,
    now: datetime,
) -> Step:
    """Decides the next step of a promotion; called again with `promoted` once the registry has answered."""
    old = current or PromotionStatus()
    if old.run == candidate.run_id and old.state in ("Promoted", "RolledBack"):
        return _rollback(spec, old, annotations, promoted, now)
    gates = evaluate(spec, evidence)
    base = PromotionStatus(
        run=candidate.run_id, artifact=candidate.artifact, gates=gates, history=old.history, rollback=old.rollback
    )
    if missed := [gate for gate in gates if not gate.passed]:
        reason = "; ".join(
            f"{gate.name}: {'not measured' if gate.value is None else round(gate.value, 4)}, bound {gate.threshold:g}"
            for gate in missed
        )
        return Step(_decided(base, old, "Rejected", f"Gates not met: {reason}.", now))
    approver = annotations.get(names.APPROVED_BY_ANNOTATION)
    used = approver in {record.by for record in old.history if record.action == "Promoted"}
    if spec.approval == "Manual" and (used or not approver):
        wait = f"All gates are met; annotate the resource with {names.APPROVED_BY_ANNOTATION}=NAME to promote."
        if used:  # it was given for an earlier model, before anybody could have seen this one
            wait += f" An earlier model has used {approver!r}: run `finetune approve`, or choose another value."
        return Step(_decided(base, old, "AwaitingApproval", wait, now))
    by = approver if spec.approval == "Manual" and approver else "operator"
    base = base.model_copy(update={"approved_by": approver if spec.approval == "Manual" else None})
    if spec.registry is None:
        done = base.model_copy(update={"history": _record(base, "Promoted", by, now)})
        return Step(_decided(done, old, "Promoted", "All gates are met.", now))
    if candidate.artifact is None:
        return Step(_decided(base, old, "Rejected", "The run logged no model artifact to link to the registry.", now))
    if promoted is None:
        pending = base.model_copy(update={"state": "Pending", "reason": "All gates are met; linking to the registry."})
        return Step(pending, Promote(spec.registry, artifact=candidate.artifact))
    done = base.model_copy(
        update={"version": promoted.version, "previous": promoted.previous, "aliases": spec.registry.aliases}
    )
    done = done.model_copy(update={"history": _record(done, "Promoted", by, now)})
    message = f"All gates are met; {spec.registry.model}:{promoted.version} is {', '.join(spec.registry.aliases)}."
    return Step(_decided(done, old, "Promoted", message, now))


def _decided(new: PromotionStatus, old: PromotionStatus, state: str, reason: str, now: datetime) -> PromotionStatus:
    same = old.state == state and old.run == new.run
    at = old.at if same and old.at else timestamp(now)
    return new.model_copy(update={"state": state, "reason": reason, "at": at})


def _rollback(
    spec: PromotionSpec,
    old: PromotionStatus,
    annotations: Mapping[str, str],
    promoted: Promoted | None,
    now: datetime,
) -> Step:
    wish = annotations.get(names.ROLLBACK_ANNOTATION)
    if not wish or wish == old.rollback or spec.registry is None:
        return Step(old)
    if old.previous is None:
        reason = "Rollback asked for, but no earlier version held the aliases."
        return Step(old.model_copy(update={"rollback": wish, "reason": reason}))
    if promoted is None:
        return Step(old, Promote(spec.registry, version=old.previous))
    back = old.model_copy(
        update={
            "state": "RolledBack",
            "version": old.previous,
            "previous": old.version,
            "rollback": wish,
            "reason": f"Rolled back to {spec.registry.model}:{old.previous} ({wish}).",
            "at": timestamp(now),
        }
    )
    return Step(back.model_copy(update={"history": _record(back, "RolledBack", wish, now)}))
