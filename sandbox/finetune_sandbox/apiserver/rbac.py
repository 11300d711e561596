"""Role-based access control: who may do what, from the roles and bindings in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import ApiError, forbidden, qualified
from .store import Obj, Store
from .users import User

_RBAC = "rbac.authorization.k8s.io/"


@dataclass(frozen=True)
class Attributes:
    """What is to be done: to a resource, or to a path when `path` is set."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def target(self) -> str:
        """`pods`, or `pods/log` for a subresource."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def rules_of(store: Store, user: User, namespace: str) -> Iterator[Obj]:
    """The rules that apply to a user in a namespace (empty: cluster-wide ones)."""
    for binding in store.items(_RBAC + "clusterrolebindings"):
        if _binds(binding, user):
            yield from _rules(store, binding, "")
    if namespace:
        for binding in store.items(_RBAC + "rolebindings", namespace):
            if _binds(binding, user):
                yield from _rules(store, binding, namespace)


def _binds(binding: Obj, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        home = subject.get("namespace") or binding["metadata"].get("namespace")
        if kind == "ServiceAccount" and user.name == f"system:serviceaccount:{home}:{name}":
            return True
    return False


def _rules(store: Store, binding: Obj, namespace: str) -> list[Obj]:
    reference = binding["roleRef"]
    if reference["kind"] == "ClusterRole":
        role = store.get(_RBAC + "clusterroles", None, reference["name"])
    else:
        role = store.get(_RBAC + "roles", namespace, reference["name"])
    if role is None:
        return []
    if (aggregation := role.get("aggregationRule")) is not None:
        return _aggregated(store, aggregation)
    return role.get("rules") or []


def _aggregated(store: Store, aggregation: Obj) -> list[Obj]:
    from finetune_sandbox.objects import matches

    found: list[Obj] = []
    for role in store.items(_RBAC + "clusterroles"):
        labels = role["metadata"].get("labels") or {}
        if any(matches(selector, labels) for selector in aggregation.get("clusterRoleSelectors") or ()):
            found += role.get("rules") or []
    return found


def allows(rule: Obj, wanted: Attributes) -> bool:
    """Whether one rule allows something."""
    verbs = rule.get("verbs") or ()
    if wanted.verb not in verbs and "*" not in verbs:
        return False
    if wanted.path:
        urls = rule.get("nonResourceURLs") or ()
        return any(
            url == "*" or url == wanted.path or (url.endswith("*") and wanted.path.startswith(url[:-1])) for url in urls
        )
    groups, resources, names = rule.get("apiGroups") or (), rule.get("resources") or (), rule.get("resourceNames") or ()
    if wanted.group not in groups and "*" not in groups:
        return False
    if names and wanted.name not in names:
        return False
    return (
        "*" in resources
        or wanted.target in resources
        or bool(wanted.subresource and f"*/{wanted.subresource}" in resources)
    )


def authorized(store: Store, user: User, wanted: Attributes) -> bool:
    """Whether a user may do something."""
    return user.almighty or any(allows(rule, wanted) for rule in rules_of(store, user, wanted.namespace))


def require(store: Store, user: User, wanted: Attributes) -> None:
    """Refuses what a user may not do.

    Raises:
        ApiError: 403 in the words that clients know.
    """
    if authorized(store, user, wanted):
        return
    if wanted.path:
        raise ApiError(403, "Forbidden", f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path}"', {})
    where = f' in the namespace "{wanted.namespace}"' if wanted.namespace else " at the cluster scope"
    why = f'User "{user.name}" cannot {wanted.verb} resource "{wanted.target}" in API group "{wanted.group}"{where}'
    raise forbidden(wanted.group, wanted.resource, wanted.name, why)


_ROLES = ("roles", "clusterroles")
_BINDINGS = ("rolebindings", "clusterrolebindings")


def check_escalation(store: Store, user: User, plural: str, obj: Obj) -> None:
    """Nobody grants rights that they do not have themselves, unless they may `escalate` or `bind`.

    Raises:
        ApiError: 403.
    """
    if user.almighty or plural not in _ROLES + _BINDINGS:
        return
    namespace = obj["metadata"].get("namespace", "")
    group = _RBAC.rstrip("/")
    if plural in _ROLES:
        if authorized(store, user, Attributes("escalate", group, plural, "", namespace, obj["metadata"]["name"])):
            return
        rules = obj.get("rules") or []
    else:
        reference = obj["roleRef"]
        target = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
        if authorized(store, user, Attributes("bind", group, target, "", namespace, reference["name"])):
            return
        rules = _rules(store, obj, namespace)
    own = list(rules_of(store, user, namespace))
    missing = [
        shown for rule in rules for wanted, shown in _each(rule) if not any(allows(mine, wanted) for mine in own)
    ]
    if missing:
        name = obj["metadata"]["name"]
        why = (
            f'user "{user.name}" (groups={list(user.groups)}) is attempting to grant RBAC permissions not currently'
            " held:\n" + "\n".join(missing)
        )
        raise forbidden(group, plural, name, why)


def _each(rule: Obj) -> Iterator[tuple[Attributes, str]]:
    """Each single right of a rule, with the text that shows it."""
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield Attributes(verb, path=path), f'{{NonResourceURLs:["{path}"], Verbs:["{verb}"]}}'
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                base, _, sub = resource.partition("/")
                for name in rule.get("resourceNames") or ("",):
                    yield (
                        Attributes(verb, group, base, sub, name=name),
                        f'{{APIGroups:["{group}"], Resources:["{resource}"], Verbs:["{verb}"]}}',
                    )


def review(store: Store, user: User, kind: str, namespace: str, body: Obj) -> Obj:
    """Answers an access review.

    Args:
        store: Where roles are.
        user: Who asks.
        kind: Kind of the review.
        namespace: Of the path, for local reviews.
        body: The review.
    """
    spec = body.get("spec") or {}
    about = user
    if kind in ("SubjectAccessReview", "LocalSubjectAccessReview"):
        groups = tuple(spec.get("groups") or ())
        about = User(spec.get("user", ""), groups)
    if kind == "SelfSubjectRulesReview":
        return {**body, "status": _rules_status(store, user, spec.get("namespace", ""))}
    if kind == "SelfSubjectReview":
        info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
        return {**body, "status": {"userInfo": {**info, "uid": user.uid} if user.uid else info}}
    attributes, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if attributes is not None:
        wanted = Attributes(
            attributes.get("verb", ""), attributes.get("group", ""), attributes.get("resource", ""),
            attributes.get("subresource", ""),
            attributes.get("namespace", "") or namespace, attributes.get("name", ""),
        )  # fmt: skip
    else:
        wanted = Attributes((path or {}).get("verb", ""), path=(path or {}).get("path", ""))
    allowed = authorized(store, about, wanted)
    status: dict[str, Any] = {"allowed": allowed}
    if allowed and not about.almighty:
        status["reason"] = f"RBAC: allowed for {qualified(wanted.resource, wanted.group) or wanted.path}"
    return {**body, "status": status}


def _rules_status(store: Store, user: User, namespace: str) -> Obj:
    rules = (
        [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
        if user.almighty
        else []
    )
    rules += list(rules_of(store, user, namespace))
    resources = [
        {key: rule[key] for key in ("verbs", "apiGroups", "resources", "resourceNames") if key in rule}
        for rule in rules
        if "resources" in rule
    ]
    others = [
        {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
        for rule in rules
        if "nonResourceURLs" in rule
    ]
    return {"resourceRules": resources, "nonResourceRules": others, "incomplete": False}
