"""The Deployment controller: replaces one ReplicaSet by the next, all at once or step by step."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

from finetune_sandbox.client import DEPLOYMENTS, PODS, REPLICA_SETS, ApiError
from finetune_sandbox.controllers.base import Context, Controller
from finetune_sandbox.controllers.job_rules import is_active, is_terminating
from finetune_sandbox.controllers.pods import template_hash
from finetune_sandbox.objects import (
    Key,
    Object,
    condition,
    is_deleting,
    key_of,
    owner_reference,
    seconds_of,
    text_time,
    uid_of,
    without_nulls,
)

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


def resolve(value: int | str | None, default: str, total: int, up: bool) -> int:
    """A number of pods given as such or in percent of all."""
    value = default if value is None else value
    if isinstance(value, int) or not value.endswith("%"):
        return int(value)
    share = total * int(value[:-1]) / 100
    return math.ceil(share) if up else math.floor(share)


def scales(deployment: Object, new: Object, old: Sequence[Object], old_pods: int) -> dict[str, int]:
    """How many replicas each ReplicaSet (by uid) shall have next.

    Args:
        deployment: The Deployment.
        new: The ReplicaSet of its present template.
        old: Its other ReplicaSets.
        old_pods: Pods of the old ones that still run, even if told to stop.
    """
    total = deployment["spec"].get("replicas", 1)
    strategy = deployment["spec"].get("strategy") or {}
    wanted = {uid_of(replica_set): replica_set["spec"].get("replicas", 0) for replica_set in (new, *old)}
    if strategy.get("type") == "Recreate":
        wanted.update({uid_of(replica_set): 0 for replica_set in old})
        wanted[uid_of(new)] = 0 if old_pods else total
        return wanted
    rolling = strategy.get("rollingUpdate") or {}
    surge = resolve(rolling.get("maxSurge"), "25%", total, up=True)
    unavailable = resolve(rolling.get("maxUnavailable"), "25%", total, up=False)
    unavailable = 1 if surge == unavailable == 0 else unavailable
    now = wanted[uid_of(new)]
    room = total + surge - sum(wanted.values())
    wanted[uid_of(new)] = total if now > total else now + max(min(room, total - now), 0)
    available = [(replica_set.get("status") or {}).get("availableReplicas", 0) for replica_set in old]
    new_available = (new.get("status") or {}).get("availableReplicas", 0)
    spare = sum(wanted[uid_of(o)] for o in old) + now - (total - unavailable) - (now - min(new_available, now))
    for replica_set, healthy in zip(old, available, strict=True):  # unhealthy ones first: they are missed by nobody
        drop = max(min(spare, wanted[uid_of(replica_set)] - healthy), 0)
        wanted[uid_of(replica_set)] -= drop
        spare -= drop
    spare = min(spare, sum(available) + new_available - (total - unavailable))
    for replica_set in old:
        drop = max(min(spare, wanted[uid_of(replica_set)]), 0)
        wanted[uid_of(replica_set)] -= drop
        spare -= drop
    return wanted


class DeploymentController(Controller):
    """Rolls Deployments out."""

    name = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.deployments, self.sets = self.informers[DEPLOYMENTS], self.informers[REPLICA_SETS]
        self.pods = self.informers[PODS]
        self.deployments.on_change(self.enqueue)
        self.sets.on_change(self.enqueue_owner("Deployment"))
        self.sets.on_delete(self.enqueue_owner("Deployment"))
        self.pods.on_delete(self._pod_gone)

    def _pod_gone(self, pod: Object) -> None:
        """A Recreate rollout waits for the last old pod."""
        for reference in pod["metadata"].get("ownerReferences") or ():
            owner = self.sets.items.get((pod["metadata"]["namespace"], reference["name"]))
            if owner:
                self.enqueue_owner("Deployment")(owner, None)

    async def sync(self, key: Key) -> None:
        """One step of a rollout, then a report."""
        deployment = self.deployments.items.get(key)
        if deployment is None or is_deleting(deployment):
            return
        owned = self.sets.owned_by(uid_of(deployment))
        new = self._current(deployment, owned) or (
            None if deployment["spec"].get("paused") else await self._create(deployment, owned)
        )
        if new and not deployment["spec"].get("paused"):
            new = await self._renumber(deployment, new, owned)
            old = [replica_set for replica_set in owned if uid_of(replica_set) != uid_of(new)]
            await self._scale(deployment, new, old)
            await self._forget_history(deployment, old)
        await self._report(deployment, new)

    def _current(self, deployment: Object, owned: list[Object]) -> Object | None:
        def bare(template: Object) -> Object:
            copied = copy.deepcopy(template)
            (copied.get("metadata") or {}).get("labels", {}).pop(HASH, None)
            return copied

        wanted = bare(deployment["spec"]["template"])
        return next((replica_set for replica_set in owned if bare(replica_set["spec"]["template"]) == wanted), None)

    async def _create(self, deployment: Object, owned: list[Object]) -> Object:
        template, collisions = (
            copy.deepcopy(deployment["spec"]["template"]),
            (deployment.get("status") or {}).get("collisionCount", 0),
        )
        name = template_hash({**template, "collisions": collisions})
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = name
        selector = copy.deepcopy(deployment["spec"]["selector"])
        selector.setdefault("matchLabels", {})[HASH] = name
        namespace, owner_name = key_of(deployment)
        body = {
            "metadata": {
                "name": f"{owner_name}-{name}",
                "namespace": namespace,
                "labels": template["metadata"]["labels"],
                "annotations": {**_annotations(deployment), REVISION: str(max(map(_revision, owned), default=0) + 1)},
                "ownerReferences": [owner_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": {
                "replicas": 0,
                "selector": selector,
                "template": template,
                "minReadySeconds": deployment["spec"].get("minReadySeconds", 0),
            },
        }
        try:
            created = await self.client.create(REPLICA_SETS, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                self.recorder.event(
                    deployment, "Warning", "ReplicaSetCreateError", f"Failed to create new replica set: {error}"
                )
            raise
        self.sets.observe(created)
        return created

    async def _renumber(self, deployment: Object, new: Object, owned: list[Object]) -> Object:
        """Gives the present ReplicaSet the highest revision, also after a roll-back, and notes it on the Deployment."""
        highest = max((_revision(r) for r in owned if uid_of(r) != uid_of(new)), default=0)
        wanted = {**_annotations(deployment), REVISION: str(max(_revision(new), highest + 1 if owned else 1))}
        annotations = new["metadata"].get("annotations") or {}
        if any(annotations.get(name) != value for name, value in wanted.items()):
            namespace, name = key_of(new)
            new = await self.client.patch(REPLICA_SETS, namespace, name, {"metadata": {"annotations": wanted}})
            self.sets.observe(new)
        if (deployment["metadata"].get("annotations") or {}).get(REVISION) != wanted[REVISION]:
            body = {"metadata": {"annotations": {REVISION: wanted[REVISION]}}}
            self.deployments.observe(await self.client.patch(DEPLOYMENTS, *key_of(deployment), body, "status"))
        return new

    async def _scale(self, deployment: Object, new: Object, old: list[Object]) -> None:
        old_pods = sum(is_active(pod) or is_terminating(pod) for r in old for pod in self.pods.owned_by(uid_of(r)))
        wanted = scales(deployment, new, old, old_pods)
        for replica_set in (new, *old):
            before, after = replica_set["spec"].get("replicas", 0), wanted[uid_of(replica_set)]
            if before == after:
                continue
            namespace, name = key_of(replica_set)
            body = {"metadata": {"uid": uid_of(replica_set)}, "spec": {"replicas": after}}
            self.sets.observe(await self.client.patch(REPLICA_SETS, namespace, name, body))
            message = f"Scaled {'up' if after > before else 'down'} replica set {name} from {before} to {after}"
            self.recorder.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _forget_history(self, deployment: Object, old: list[Object]) -> None:
        unused = [
            r
            for r in old
            if not r["spec"].get("replicas") and not (r.get("status") or {}).get("replicas") and not is_deleting(r)
        ]
        excess = len(unused) - deployment["spec"].get("revisionHistoryLimit", 10)
        for replica_set in sorted(unused, key=_revision)[: max(excess, 0)]:
            await self.client.delete(
                REPLICA_SETS, *key_of(replica_set), uid=uid_of(replica_set), propagation="Background"
            )

    async def _report(self, deployment: Object, new: Object | None) -> None:
        deployment = self.deployments.items.get(key_of(deployment), deployment)
        status = deployment_status(deployment, new, self.sets.owned_by(uid_of(deployment)), self.now())
        if status != deployment.get("status"):
            self.deployments.observe(await self.client.update(DEPLOYMENTS, {**deployment, "status": status}, "status"))
        progressing = condition({"status": status}, "Progressing")
        if progressing and progressing["reason"] not in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
            limit = deployment["spec"].get("progressDeadlineSeconds", 600)
            self.queue.add_after(key_of(deployment), seconds_of(progressing["lastUpdateTime"]) + limit + 1 - self.now())


def deployment_status(deployment: Object, new: Object | None, owned: Sequence[Object], now: float) -> Object:
    """The status to report: counters over all ReplicaSets, and the conditions Available and Progressing."""

    def total(counter: str) -> int:
        return sum((replica_set.get("status") or {}).get(counter, 0) for replica_set in owned)

    wanted = deployment["spec"].get("replicas", 1)
    updated = (new.get("status") or {}).get("replicas", 0) if new else 0
    available, known = total("availableReplicas"), deployment.get("status") or {}
    status: Object = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": total("replicas"),
        "updatedReplicas": updated,
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(max(wanted, total("replicas")) - available, 0),
        "collisionCount": known.get("collisionCount"),
    }
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
    least = wanted - (wanted if recreate else resolve(rolling.get("maxUnavailable"), "25%", wanted, up=False))
    enough = available >= (wanted if recreate else least)
    name = new["metadata"]["name"] if new else ""
    complete = new is not None and updated == wanted == total("replicas") == available
    facts = [
        ("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        if enough
        else ("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        _progress(deployment, status, name, complete, now),
    ]
    status["conditions"] = [_condition(deployment, *fact, now, bool(known) and _moved(known, status)) for fact in facts]
    return without_nulls(status)


def _progress(deployment: Object, status: Object, name: str, complete: bool, now: float) -> tuple[str, str, str, str]:
    if deployment["spec"].get("paused"):
        return "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused"
    if complete:
        return "Progressing", "True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
    before, limit = condition(deployment, "Progressing"), deployment["spec"].get("progressDeadlineSeconds", 600)
    stuck = (
        before and not _moved(deployment.get("status") or {}, status) and before["reason"] != "NewReplicaSetAvailable"
    )
    if before and stuck and seconds_of(before["lastUpdateTime"]) + limit < now:
        return "Progressing", "False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'
    return "Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'


def _moved(before: Object, after: Object) -> bool:
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    return any(before.get(name, 0) != after.get(name, 0) for name in names)


def _condition(
    deployment: Object, kind: str, status: str, reason: str, message: str, now: float, moved: bool
) -> Object:
    before = condition(deployment, kind)
    same = before is not None and before["status"] == status
    unchanged = same and before is not None and before["reason"] == reason and not (moved and kind == "Progressing")
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": before["lastTransitionTime"] if before and same else text_time(now),
        "lastUpdateTime": before["lastUpdateTime"] if before and unchanged else text_time(now),
    }


def _annotations(deployment: Object) -> dict[str, str]:
    """What a ReplicaSet inherits: not what kubectl and this controller keep for themselves."""
    own = {REVISION, "kubectl.kubernetes.io/last-applied-configuration", "deprecated.deployment.rollback.to"}
    return {name: value for name, value in (deployment["metadata"].get("annotations") or {}).items() if name not in own}


def _revision(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))
