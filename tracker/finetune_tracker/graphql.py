"""GraphQL without a schema file: `graphql-core` parses, plain node objects answer.

W&B's schema is large and grows with every SDK release, while clients ask for a small part of it. So an answer has
exactly the shape that was asked for, a field that no node knows is null, and each such gap is logged once. Names are
converted: GraphQL's `displayName` is the method or column `display_name`, the argument `entityName` is `entity_name`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from graphql import GraphQLError, parse
from graphql.language import ast

from finetune_tracker.errors import BadRequest
from finetune_tracker.inputs import check_arguments

F = TypeVar("F", bound=Callable[..., Any])

_MAX_TOKENS = 20_000
_MAX_DEPTH = 30
_log = logging.getLogger(__name__)
_gaps: set[tuple[str, str]] = set()


@functools.lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """`artifactID` -> `artifact_id`, `clientIDMapping` -> `client_id_mapping`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def field(method: F) -> F:
    """Mark a method of a `Node` as a GraphQL field."""
    method.__graphql_field__ = True  # type: ignore[attr-defined]
    return method


class Node:
    """An object of the graph: fields are `@field` methods, else constants, else columns of the row.

    Attributes:
        typename: GraphQL's `__typename`; the SDK checks it literally.
        interfaces: Further type names whose fragments apply.
        columns: Columns that are answered as they are.
        constants: Fields that are the same for every node, with their values.
    """

    typename: ClassVar[str]
    interfaces: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[frozenset[str]] = frozenset()
    constants: ClassVar[Mapping[str, Any]] = {}
    fields: ClassVar[dict[str, tuple[Callable[..., Any], frozenset[str]]]] = {}
    row: Any = None

    def __init_subclass__(cls) -> None:
        own = {
            name: (method, frozenset(inspect.signature(method).parameters) - {"self"})
            for name, method in vars(cls).items()
            if getattr(method, "__graphql_field__", False)
        }
        cls.fields = cls.fields | own

    def resolve(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The value of a field; None for one that does not exist."""
        key = snake_case(name)
        if (found := self.fields.get(key)) is not None:
            method, known = found
            return method(self, **{k: v for k, v in arguments.items() if k in known})
        if key in self.constants:
            return self.constants[key]
        if key in self.columns and self.row is not None:
            return self.row[key]
        note_gap(self.typename, name)
        return None


def note_gap(typename: str, name: str) -> None:
    """Log a field that clients ask for and this server does not know, once."""
    if (typename, name) not in _gaps and len(_gaps) < 1000:
        _gaps.add((typename, name))
        _log.warning("no field %s.%s: answered with null", typename, name)


class Operation:
    """One parsed request."""

    def __init__(self, query: object, variables: object = None, operation_name: object = None) -> None:
        """Parse and check.

        Raises:
            BadRequest: Malformed query, several operations without a valid name, or a missing variable.
        """
        if not isinstance(query, str) or not query.strip():
            raise BadRequest('the request needs a "query"')
        if variables is not None and not isinstance(variables, dict):
            raise BadRequest('"variables" must be an object')
        document = _parse(query)
        self._fragments = {d.name.value: d for d in document.definitions if isinstance(d, ast.FragmentDefinitionNode)}
        self._definition = _choose(document, operation_name)
        self.kind: str = self._definition.operation.value
        self._variables = _coerce(self._definition, variables or {})

    def root_fields(self) -> Iterator[tuple[str, str, dict[str, Any], ast.FieldNode]]:
        """(response key, field name, arguments, field) of each root field, in order."""
        for key, nodes in self._collect(self._definition.selection_set, None, frozenset()).items():
            yield key, nodes[0].name.value, self._arguments(nodes[0]), nodes[0]

    def project(self, value: Any, at: ast.FieldNode) -> Any:
        """The JSON answer: `value` reduced to what the selection set of `at` asks for."""
        return self._complete(value, [at], 1)

    def _complete(self, value: Any, nodes: list[ast.FieldNode], depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise BadRequest(f"the query is nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, Node | Mapping) and nodes[0].selection_set is not None:
            out: dict[str, Any] = {}
            for key, inner in self._merge(nodes, value).items():
                out[key] = self._complete(self._resolve(value, inner[0]), inner, depth + 1)
            return out
        if isinstance(value, Node):
            raise BadRequest(f"field {nodes[0].name.value!r} needs a selection of subfields")
        if isinstance(value, list | tuple):
            if nodes[0].selection_set is None and not (value and isinstance(value[0], Node)):
                return list(value)
            return [self._complete(v, nodes, depth + 1) for v in value]
        return value

    def _merge(self, nodes: list[ast.FieldNode], value: Any) -> dict[str, list[ast.FieldNode]]:
        merged: dict[str, list[ast.FieldNode]] = {}
        for node in nodes:
            for key, inner in self._collect(node.selection_set, value, frozenset()).items():
                merged.setdefault(key, []).extend(inner)
        return merged

    def _resolve(self, value: Any, node: ast.FieldNode) -> Any:
        name = node.name.value
        if name == "__typename":
            return value.typename if isinstance(value, Node) else value.get("__typename")
        if isinstance(value, Node):
            return value.resolve(name, self._arguments(node))
        return value.get(name)

    def _collect(
        self, selection: ast.SelectionSetNode | None, value: Any, active: frozenset[str]
    ) -> dict[str, list[ast.FieldNode]]:
        out: dict[str, list[ast.FieldNode]] = {}
        for item in selection.selections if selection else ():
            if not self._included(item):
                continue
            if isinstance(item, ast.FieldNode):
                out.setdefault(item.alias.value if item.alias else item.name.value, []).append(item)
                continue
            if isinstance(item, ast.FragmentSpreadNode):
                name = item.name.value
                if name in active or name not in self._fragments:
                    raise BadRequest(f"fragment {name!r} is {'part of itself' if name in active else 'not defined'}")
                fragment: Any = self._fragments[name]
                inner_active = active | {name}
            else:
                fragment, inner_active = item, active
            condition = fragment.type_condition
            if condition is None or _applies(value, condition.name.value):
                for key, nodes in self._collect(fragment.selection_set, value, inner_active).items():
                    out.setdefault(key, []).extend(nodes)
        return out

    def _included(self, item: Any) -> bool:
        for directive in item.directives or ():
            if directive.name.value in ("include", "skip"):
                condition = {a.name.value: self._value(a.value) for a in directive.arguments or ()}.get("if")
                if bool(condition) == (directive.name.value == "skip"):
                    return False
        return True

    def _arguments(self, node: ast.FieldNode) -> dict[str, Any]:
        return check_arguments({snake_case(a.name.value): self._value(a.value) for a in node.arguments or ()})

    def _value(self, node: ast.ValueNode) -> Any:
        if isinstance(node, ast.VariableNode):
            return self._variables.get(node.name.value)
        if isinstance(node, ast.ListValueNode):
            return [self._value(v) for v in node.values]
        if isinstance(node, ast.ObjectValueNode):
            return {f.name.value: self._value(f.value) for f in node.fields}
        if isinstance(node, ast.IntValueNode):
            return int(node.value[:64])
        if isinstance(node, ast.FloatValueNode):
            return float(node.value)
        if isinstance(node, ast.NullValueNode):
            return None
        return getattr(node, "value", None)


def snake_keys(value: Any) -> Any:
    """An input object with all keys in snake case, down through lists and objects."""
    if isinstance(value, dict):
        return {snake_case(str(k)): snake_keys(v) for k, v in value.items()}
    if isinstance(value, list):
        return [snake_keys(v) for v in value]
    return value


@functools.lru_cache(maxsize=512)
def _parse(query: str) -> ast.DocumentNode:
    try:
        return parse(query, no_location=True, max_tokens=_MAX_TOKENS)
    except GraphQLError as e:
        raise BadRequest(f"malformed GraphQL: {e.message}") from e
    except RecursionError as e:
        raise BadRequest("malformed GraphQL: nested too deeply") from e


def _choose(document: ast.DocumentNode, name: object) -> ast.OperationDefinitionNode:
    operations = [d for d in document.definitions if isinstance(d, ast.OperationDefinitionNode)]
    if len(operations) == 1:  # the SDK sends operationName "" with its Python-side queries
        return operations[0]
    for operation in operations:
        if operation.name is not None and operation.name.value == name:
            return operation
    raise BadRequest(f"no operation named {name!r} in the request")


def _coerce(definition: ast.OperationDefinitionNode, given: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for variable in definition.variable_definitions or ():
        name, kind = variable.variable.name.value, variable.type
        required = isinstance(kind, ast.NonNullTypeNode)
        value = given.get(name)
        if value is None and variable.default_value is not None and name not in given:
            value = _constant(variable.default_value)
        if value is None and required and variable.default_value is None:
            raise BadRequest(f"variable ${name} must not be null")
        inner = kind.type if isinstance(kind, ast.NonNullTypeNode) else kind
        if isinstance(inner, ast.ListTypeNode) and value is not None and not isinstance(value, list):
            value = [value]  # GraphQL's input coercion; the SDK's CLI relies on it
        out[name] = value
    return out


def _constant(node: ast.ValueNode) -> Any:
    empty = object.__new__(Operation)
    empty._variables = {}
    return empty._value(node)


def _applies(value: Any, condition: str) -> bool:
    if isinstance(value, Node):
        return condition == value.typename or condition in value.interfaces
    return True


def connection(
    nodes: Iterable[Any], *, offset: int = 0, more: bool = False, total: int | None = None, **extra: Any
) -> dict[str, Any]:
    """A Relay connection of one page that starts at `offset`; cursors are offsets."""
    edges = [{"node": n, "cursor": str(i)} for i, n in enumerate(nodes, offset + 1)]
    info = {
        "__typename": "PageInfo",
        "hasNextPage": more,
        "hasPreviousPage": offset > 0,
        "startCursor": edges[0]["cursor"] if edges else None,
        "endCursor": edges[-1]["cursor"] if edges else None,
    }
    return {"edges": edges, "pageInfo": info, "totalCount": len(edges) if total is None else total, **extra}


def page(first: object, after: object, *, default: int = 10_000, largest: int = 10_000) -> tuple[int, int]:
    """(limit, offset) of a page.

    Raises:
        BadRequest: `first` or `after` is not a number.
    """
    try:
        limit = default if first is None else int(str(first))
        offset = int(str(after)) if after not in (None, "") else 0
    except ValueError as e:
        raise BadRequest(f"first={first!r} and after={after!r} must be a number and a cursor") from e
    return max(0, min(limit, largest)), max(0, min(offset, 2**62))
