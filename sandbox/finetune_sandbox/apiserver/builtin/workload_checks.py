"""What makes a Job, a Deployment or another owner of pods invalid."""

from __future__ import annotations

from finetune_sandbox.apiserver.errors import FieldError, banned, required, unsupported, wrong
from finetune_sandbox.objects import matches

from . import meta
from .rules import Errors, Obj, Rules, listed, not_negative, one_of


def _job_spec(spec: Obj, at: str) -> Errors:
    indexed, policy = spec.get("completionMode") == "Indexed", spec.get("podFailurePolicy")
    if indexed and spec.get("completions") is None:
        yield required(f"{at}.completions", "when completion mode is Indexed")
    if indexed and spec.get("parallelism", 0) > 100000:
        text = "must be less than or equal to 100000 when completion mode is Indexed"
        yield wrong(f"{at}.parallelism", text, spec["parallelism"])
    for key in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
        if spec.get(key) is not None and not indexed:
            yield wrong(f"{at}.{key}", "requires indexed completion mode", spec[key])
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    if "spec" not in template:
        yield required(f"{at}.template.spec.containers")
    if policy is not None:
        yield from _failure_policy(policy, spec, pod, at)
    yield from meta.labels((template.get("metadata") or {}).get("labels"), f"{at}.template.labels")
    if pod.get("restartPolicy") == "Always":  # what defaulting puts where nothing was said
        yield required(f"{at}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _failure_policy(policy: Obj, spec: Obj, pod: Obj, at: str) -> Errors:
    if spec.get("podReplacementPolicy") == "TerminatingOrFailed":
        yield unsupported(f"{at}.podReplacementPolicy", "TerminatingOrFailed", ["Failed"])
    if pod.get("restartPolicy") != "Never":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        yield wrong(f"{at}.template.spec.restartPolicy", text, pod.get("restartPolicy"))
    names = {container.get("name") for container in pod.get("containers") or ()}
    for rule, here in listed(policy, f"{at}.podFailurePolicy", "rules"):
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield wrong(f"{here}.action", "requires the backoffLimitPerIndex to be set", "FailIndex")
        container = (rule.get("onExitCodes") or {}).get("containerName")
        if container and container not in names:
            text = "must be one of the container or initContainer names in the pod template"
            yield wrong(f"{here}.onExitCodes.containerName", text, container)


def _failure_rule(rule: Obj, at: str) -> Errors:
    actions = ["Count", "FailIndex", "FailJob", "Ignore"]
    if not rule.get("action"):
        yield required(f"{at}.action", "valid values: " + ", ".join(f'"{item}"' for item in actions))
    elif rule["action"] not in actions:
        yield unsupported(f"{at}.action", rule["action"], actions)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
    if codes is not None and conditions:
        yield wrong(at, "specifying both OnExitCodes and OnPodConditions is not supported", "")
    if codes is None and not conditions:
        yield wrong(at, "specifying one of OnExitCodes and OnPodConditions is required", "")


def _exit_codes(codes: Obj, at: str) -> Errors:
    operator, values = codes.get("operator"), codes.get("values") or []
    if not operator:
        yield required(f"{at}.operator", 'valid values: "In", "NotIn"')
    elif operator not in ("In", "NotIn"):
        yield unsupported(f"{at}.operator", operator, ["In", "NotIn"])
    if not values:
        yield wrong(f"{at}.values", "at least one value is required", values)
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield wrong(f"{at}.values[{index}]", "must not be 0 for the In operator", value)
        if value in values[:index]:
            yield FieldError("Duplicate", f"{at}.values[{index}]", "", value)
    if values != sorted(values):
        yield wrong(f"{at}.values", "must be ordered", values)


def _job(job: Obj, _at: str) -> Errors:
    spec, name = job["spec"], job["metadata"].get("name", "")
    yield from _template_labels(spec)
    if len(name) > 63:
        yield wrong("metadata.name", "must be no more than 63 characters", name)


def _template_labels(spec: Obj) -> Errors:
    labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    if spec.get("selector") and not matches(spec["selector"], labels):
        yield wrong("spec.template.metadata.labels", "`selector` does not match template `labels`", labels)


def _workload(obj: Obj, _at: str) -> Errors:
    spec = obj["spec"]
    selector, template = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        yield required("spec.selector")
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield wrong("spec.selector", f"empty selector is invalid for {obj['kind'].lower()}", selector)
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is None:
        yield wrong("spec.template.metadata.labels", "`selector` does not match template `labels`", labels)
    yield from _template_labels(spec)
    yield from meta.labels(labels, "spec.template.labels")
    if "spec" not in template:
        yield required("spec.template.spec.containers")
    elif template["spec"]["restartPolicy"] in ("Never", "OnFailure"):
        yield unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ["Always"])


def _strategy(strategy: Obj, at: str) -> Errors:
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        yield unsupported(at, strategy, ["Recreate", "RollingUpdate"])
    if strategy["type"] == "Recreate" and strategy.get("rollingUpdate"):
        yield banned(f"{at}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")


_JOB_NUMBERS = not_negative(
    "parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
WORKLOAD_RULES: Rules = {
    "Deployment": (_workload,),
    "DeploymentSpec": (not_negative("replicas"),),
    "DeploymentStrategy": (_strategy,),
    "Job": (_job,),
    "JobSpec": (
        _JOB_NUMBERS,
        one_of("completionMode", "Indexed", "NonIndexed"),
        one_of("podReplacementPolicy", "Failed", "TerminatingOrFailed"),
        _job_spec,
    ),
    "PodFailurePolicyOnExitCodesRequirement": (_exit_codes,),
    "PodFailurePolicyRule": (_failure_rule,),
    "ReplicaSet": (_workload,),
    "ReplicaSetSpec": (not_negative("replicas"),),
    "StatefulSet": (_workload,),
    "StatefulSetSpec": (not_negative("replicas"),),
}
