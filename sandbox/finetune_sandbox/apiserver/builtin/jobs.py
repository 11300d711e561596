"""Jobs and CronJobs: defaults and checks."""

from __future__ import annotations

from typing import Any

from finetune_sandbox.apiserver.errors import FieldError, unsupported
from finetune_sandbox.apiserver.selectors import selects

from . import meta, pods

Obj = dict[str, Any]

_PREFIXED = "batch.kubernetes.io/"
_RESTART = ["OnFailure", "Never"]
_POSITIVE = (
    "parallelism",
    "completions",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "activeDeadlineSeconds",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_SUSPENDED_MAY_CHANGE = ("nodeSelector", "tolerations", "affinity", "schedulingGates")


def default_job_spec(spec: Obj) -> None:
    """Fills in the defaults of a Job's specification."""
    pods.default_template(spec.get("template"))
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    if "backoffLimit" not in spec:
        spec["backoffLimit"] = 2147483647 if spec.get("backoffLimitPerIndex") is not None else 6
    policy = spec.get("podFailurePolicy")
    spec.setdefault("podReplacementPolicy", "Failed" if policy else "TerminatingOrFailed")
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")


def prepare_job(job: Obj) -> None:
    """Gives a new Job the selector and labels that find its pods."""
    spec, name, uid = job["spec"], job["metadata"]["name"], job["metadata"]["uid"]
    if spec.get("manualSelector") or "template" not in spec:
        return
    own = {_PREFIXED + "controller-uid": uid, _PREFIXED + "job-name": name, "controller-uid": uid, "job-name": name}
    template_meta = spec["template"].setdefault("metadata", {})
    template_meta["labels"] = {**(template_meta.get("labels") or {}), **own}
    spec.setdefault("selector", {"matchLabels": {}}).setdefault("matchLabels", {})[_PREFIXED + "controller-uid"] = uid
    if not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(template_meta["labels"])


def validate_job_spec(spec: Obj, at: str = "spec") -> list[FieldError]:
    """Checks a Job's specification."""
    errors = [
        FieldError("Invalid", f"{at}.{key}", "must be greater than or equal to 0", spec[key])
        for key in _POSITIVE
        if (spec.get(key) or 0) < 0
    ]
    mode = spec.get("completionMode")
    if mode not in ("NonIndexed", "Indexed"):
        errors.append(unsupported(f"{at}.completionMode", mode, ["Indexed", "NonIndexed"]))
    if mode == "Indexed":
        if spec.get("completions") is None:
            errors.append(FieldError("Required", f"{at}.completions", "when completion mode is Indexed"))
        if spec.get("parallelism", 0) > 100000:
            errors.append(
                FieldError(
                    "Invalid",
                    f"{at}.parallelism",
                    "must be less than or equal to 100000 when completion mode is Indexed",
                    spec["parallelism"],
                )
            )
    errors += [
        FieldError("Invalid", f"{at}.{key}", "requires indexed completion mode", spec[key])
        for key in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy")
        if spec.get(key) is not None and mode != "Indexed"
    ]
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(FieldError("Required", f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("podReplacementPolicy") not in ("Failed", "TerminatingOrFailed"):
        errors.append(
            unsupported(
                f"{at}.podReplacementPolicy", spec.get("podReplacementPolicy"), ["Failed", "TerminatingOrFailed"]
            )
        )
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        errors += _failure_policy(policy, spec, f"{at}.podFailurePolicy")
        if spec.get("podReplacementPolicy") == "TerminatingOrFailed":
            errors.append(unsupported(f"{at}.podReplacementPolicy", "TerminatingOrFailed", ["Failed"]))
    template = spec.get("template") or {}
    pod_spec = template.get("spec")
    if pod_spec is None:
        return [*errors, FieldError("Required", f"{at}.template.spec.containers")]
    errors += meta.labels((template.get("metadata") or {}).get("labels"), f"{at}.template.labels")
    return errors + pods.validate_spec(pod_spec, f"{at}.template.spec", _RESTART)


def _failure_policy(policy: Obj, spec: Obj, at: str) -> list[FieldError]:
    errors = []
    names = {
        container.get("name") for container in (spec.get("template") or {}).get("spec", {}).get("containers") or ()
    }
    actions = ["Count", "FailIndex", "FailJob", "Ignore"]
    if (spec.get("template") or {}).get("spec", {}).get("restartPolicy") != "Never":
        value = (spec.get("template") or {}).get("spec", {}).get("restartPolicy")
        errors.append(
            FieldError(
                "Invalid",
                at.replace("podFailurePolicy", "template.spec.restartPolicy"),
                'only "Never" is supported when podFailurePolicy is specified',
                value,
            )
        )
    for index, rule in enumerate(policy.get("rules") or ()):
        here = f"{at}.rules[{index}]"
        if not rule.get("action"):
            errors.append(
                FieldError("Required", f"{here}.action", "valid values: " + ", ".join(f'"{item}"' for item in actions))
            )
        elif rule["action"] not in actions:
            errors.append(unsupported(f"{here}.action", rule["action"], actions))
        elif rule["action"] == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            errors.append(
                FieldError("Invalid", f"{here}.action", "requires the backoffLimitPerIndex to be set", "FailIndex")
            )
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None and conditions:
            errors.append(
                FieldError("Invalid", here, "specifying both OnExitCodes and OnPodConditions is not supported", "")
            )
        if codes is None and not conditions:
            errors.append(
                FieldError("Invalid", here, "specifying one of OnExitCodes and OnPodConditions is required", "")
            )
        if codes is not None:
            errors += _exit_codes(codes, names, f"{here}.onExitCodes")
    return errors


def _exit_codes(codes: Obj, names: set[Any], at: str) -> list[FieldError]:
    errors = []
    operator, values = codes.get("operator"), codes.get("values") or []
    if not operator:
        errors.append(FieldError("Required", f"{at}.operator", 'valid values: "In", "NotIn"'))
    elif operator not in ("In", "NotIn"):
        errors.append(unsupported(f"{at}.operator", operator, ["In", "NotIn"]))
    if codes.get("containerName") and codes["containerName"] not in names:
        errors.append(
            FieldError(
                "Invalid",
                f"{at}.containerName",
                "must be one of the container or initContainer names in the pod template",
                codes["containerName"],
            )
        )
    if not values:
        errors.append(FieldError("Invalid", f"{at}.values", "at least one value is required", values))
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(FieldError("Invalid", f"{at}.values[{index}]", "must not be 0 for the In operator", value))
        if value in values[:index]:
            errors.append(FieldError("Duplicate", f"{at}.values[{index}]", "", value))
    if values != sorted(values):
        errors.append(FieldError("Invalid", f"{at}.values", "must be ordered", values))
    return errors


def validate_job(job: Obj) -> list[FieldError]:
    """Checks a new Job."""
    spec = job["spec"]
    errors = validate_job_spec(spec)
    labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    if spec.get("selector") and not selects(spec["selector"], labels):
        errors.append(
            FieldError(
                "Invalid", "spec.template.metadata.labels", "`selector` does not match template `labels`", labels
            )
        )
    if len(job["metadata"].get("name", "")) > 63:
        errors.append(
            FieldError("Invalid", "metadata.name", "must be no more than 63 characters", job["metadata"]["name"])
        )
    return errors


def validate_job_update(job: Obj, old: Obj) -> list[FieldError]:
    """A Job's template, selector and completions do not change, with exceptions while it is suspended."""
    new, was = job["spec"], old["spec"]
    errors = validate_job_spec(new)
    for key in (
        "completions",
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ):
        if key == "completions" and new.get("completionMode") == "Indexed" and new.get(key) == new.get("parallelism"):
            continue
        if new.get(key) != was.get(key):
            errors.append(FieldError("Invalid", f"spec.{key}", "field is immutable", new.get(key)))
    template, before = new.get("template") or {}, was.get("template") or {}
    started = (old.get("status") or {}).get("startTime") is not None
    if was.get("suspend") and not started:
        template, before = _without_scheduling(template), _without_scheduling(before)
    if template != before:
        at = "spec.template" if {**template, "spec": None} != {**before, "spec": None} else "spec.template.spec"
        errors.append(
            FieldError("Invalid", "spec.template" if at == "spec.template" else at, "field is immutable", template)
        )
    return errors


def _without_scheduling(template: Obj) -> Obj:
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in _SUSPENDED_MAY_CHANGE}
    kept = {
        key: value for key, value in (template.get("metadata") or {}).items() if key not in ("labels", "annotations")
    }
    return {**template, "spec": spec, "metadata": kept}


def default_cronjob(cronjob: Obj) -> None:
    """Fills in the defaults of a CronJob."""
    spec = cronjob.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    inner = template.get("template")
    pods.default_template(inner)


def validate_cronjob(cronjob: Obj) -> list[FieldError]:
    """Checks a CronJob."""
    spec = cronjob["spec"]
    errors = []
    schedule = spec.get("schedule", "")
    if not schedule:
        errors.append(FieldError("Required", "spec.schedule"))
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        errors.append(
            FieldError(
                "Invalid",
                "spec.schedule",
                f"expected exactly 5 fields, found {len(schedule.split())}: {schedule.split()}",
                schedule,
            )
        )
    if spec["concurrencyPolicy"] not in ("Allow", "Forbid", "Replace"):
        errors.append(unsupported("spec.concurrencyPolicy", spec["concurrencyPolicy"], ["Allow", "Forbid", "Replace"]))
    pod_spec = (spec["jobTemplate"]["spec"].get("template") or {}).get("spec")
    if pod_spec is None:
        return [*errors, FieldError("Required", "spec.jobTemplate.spec.template.spec.containers")]
    return errors + pods.validate_spec(pod_spec, "spec.jobTemplate.spec.template.spec", _RESTART)
