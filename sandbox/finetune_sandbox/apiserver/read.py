"""Lists: selectors, chunks, and lists of the past."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune_sandbox.packed import encode

from .errors import bad_request, expired
from .resources import Resource
from .selectors import Predicate, field_selector, label_selector
from .store import Obj, key_of
from .write import show

if TYPE_CHECKING:
    from .state import State

_EXPIRED = "The provided continue parameter is too old to display a consistent list result."


@dataclass(frozen=True)
class Selection:
    """Which objects a request is about."""

    labels: Predicate | None
    fields: Predicate | None

    def __call__(self, obj: Obj) -> bool:
        """Whether an object is selected."""
        if self.labels is not None and not self.labels(obj["metadata"].get("labels") or {}):
            return False
        return self.fields is None or self.fields(obj)

    @property
    def all(self) -> bool:
        """Everything is selected."""
        return self.labels is None and self.fields is None


def selection(resource: Resource, query: Mapping[str, str], name: str = "") -> Selection:
    """The selectors of a request."""
    supported = {"metadata.name": "metadata.name", **resource.selectable}
    if resource.namespaced:
        supported["metadata.namespace"] = "metadata.namespace"
    fields = query.get("fieldSelector", "")
    if name:
        fields = ",".join(filter(None, [fields, f"metadata.name={name}"]))
    return Selection(label_selector(query.get("labelSelector", "")), field_selector(fields, supported))


def whole_list(state: State, resource: Resource, namespace: str | None, query: Mapping[str, str]) -> bytes | None:
    """A list of everything as JSON, put together without decoding what is in it; None for other lists."""
    plain = resource.custom is None and "list" in resource.verbs
    if not plain or not {"resourceVersion", "timeoutSeconds"}.issuperset(query):
        return None
    head = {"kind": resource.list_kind, "apiVersion": resource.api_version}
    opening = encode({**head, "metadata": {"resourceVersion": str(state.store.rv)}})[:-1] + b',"items":['
    typed = len(encode({"apiVersion": resource.api_version, "kind": resource.kind}))  # which items come without
    texts = state.store.texts(resource.storage, namespace)
    return opening + b",".join(b"{" + text[typed:] for text in texts) + b"]}"


def list_objects(state: State, resource: Resource, namespace: str | None, query: Mapping[str, str]) -> Obj:
    """The list that a GET of a collection answers."""
    chosen = selection(resource, query)
    store = state.store
    limit = int(query.get("limit") or 0)
    rv, start = store.rv, None
    found: Iterable[Obj]
    if token := query.get("continue"):
        rv, start = _read_token(token)
        try:
            found = (
                store.items_at(resource.storage, namespace, rv)
                if rv < store.rv
                else store.items(resource.storage, namespace)
            )
        except LookupError:
            raise expired(_EXPIRED) from None
    elif query.get("resourceVersionMatch") == "Exact" and query.get("resourceVersion"):
        rv = _version(query["resourceVersion"])
        try:
            found = store.items_at(resource.storage, namespace, rv)
        except LookupError:
            raise expired(f"The resourceVersion for the provided list is too old: {rv}") from None
    else:
        found = store.items(resource.storage, namespace)
    found = [obj for obj in found if chosen(obj)]
    if start is not None:
        found = [obj for obj in found if key_of(obj) > start]
    meta: dict[str, Any] = {"resourceVersion": str(rv)}
    if 0 < limit < len(found):
        meta["continue"] = _token(rv, key_of(found[limit - 1]))
        if chosen.all:
            meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    items = [show(resource, obj) for obj in found]
    if resource.custom is None:
        items = [{key: value for key, value in obj.items() if key not in ("kind", "apiVersion")} for obj in items]
    return {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta, "items": items}


def _token(rv: int, key: tuple[str, str]) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": rv, "start": "/".join(key)})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    try:
        value = json.loads(raw)
        namespace, _, name = value["start"].partition("/")
        return int(value["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError):
        first = f"\\u{raw[0]:04x}" if raw and not 32 <= raw[0] < 127 else raw[:1].decode("latin-1")
        text = f"continue key is not valid: invalid character '{first}' looking for beginning of value"
        raise bad_request(f"invalid continue token: {text}") from None


def _version(text: str) -> int:
    if not text.isdigit():
        raise bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)
