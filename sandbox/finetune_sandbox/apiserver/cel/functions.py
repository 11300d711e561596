"""The functions of CEL and of its Kubernetes libraries: signatures for the checker, bodies for evaluation.

A signature reads `receiver.name(arguments) result`; one upper-case letter is a type parameter.
"""

from __future__ import annotations

import base64
import ipaddress
import itertools
import math
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from finetune_sandbox import quantity
from finetune_sandbox.apiserver.builtin import meta
from finetune_sandbox.apiserver.schema.formats import FORMATS
from finetune_sandbox.apiserver.schema.validate import regex

from .types import Type
from .values import (
    NOTHING,
    CelError,
    Optional,
    Quantity,
    divide,
    index_of,
    int_of,
    parsed,
    remainder,
    to_duration,
    to_semver,
    to_text,
    to_timestamp,
    to_url,
    valid,
)


@dataclass(frozen=True)
class Overload:
    """One way to call a function."""

    member: bool
    args: tuple[Type, ...]
    result: Type
    call: Callable[..., Any]


def _type(text: str) -> Type:
    name, _, inner = text.partition("(")
    params, depth, start = [], 0, 0
    inner = inner[:-1] if inner else ""
    for at, char in enumerate(inner + ","):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0 and inner:
            params.append(_type(inner[start:at].strip()))
            start = at + 1
    return Type(name, tuple(params))


def _split_args(text: str) -> list[str]:
    return re.findall(r"[\w@]+(?:\((?:[^()]|\([^()]*\))*\))?", text)


NAMESPACES = frozenset({"sets", "base64", "optional", "format", "cel"})
"""Names before the dot of functions that have no receiver."""

FUNCTIONS: dict[str, list[Overload]] = {}


def _define(signature: str, call: Callable[..., Any]) -> None:
    found = re.fullmatch(r"(?:([\w()]+(?:\([\w(), ]*\))?)\.)?([\w@!?:+*/%<>=&|\[\]-]+)\((.*)\) ([\w(), ]+)", signature)
    assert found, signature
    receiver, name, args, result = found.groups()
    if receiver in NAMESPACES:
        receiver, name = None, f"{receiver}.{name}"
    types = ([_type(receiver)] if receiver else []) + [_type(arg) for arg in _split_args(args)]
    FUNCTIONS.setdefault(name, []).append(Overload(bool(receiver), tuple(types), _type(result), call))


def _or_value(optional: Optional, default: Any) -> Any:
    return optional.value if optional.present else default


def _value(optional: Optional) -> Any:
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


def _extreme(pick: Callable[..., Any], name: str) -> Callable[[list[Any]], Any]:
    def call(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{name} called on empty list")
        return pick(items)

    return call


def _format_names() -> dict[str, Callable[[str], list[str]]]:
    dns = {
        "dns1123Label": meta.dns_label, "dns1123Subdomain": meta.dns_subdomain, "dns1035Label": meta.dns_1035,
        "qualifiedName": meta.qualified_name, "labelValue": meta.label_value,
    }  # fmt: skip
    checks = {
        name: (lambda text, check=check: [] if check(text) else ["does not match"]) for name, check in FORMATS.items()
    }
    named = {
        "uri": checks["uri"],
        "uuid": checks["uuid"],
        "byte": checks["byte"],
        "date": checks["date"],
        "datetime": checks["date-time"],
    }
    return {**dns, **named}


_NAMED_FORMATS = _format_names()


def _named_format(name: str) -> Callable[[], Any]:
    return lambda: _NAMED_FORMATS[name]


def _check_format(check: Callable[[str], list[str]], text: str) -> Optional:
    found = check(text)
    return Optional(found) if found else Optional()


def _quantity(text: str) -> Quantity:
    return Quantity(quantity.parse(text))


_LIBRARY: dict[str, Callable[..., Any]] = {
    "!_(bool) bool": lambda a: not a,
    "-_(int) int": lambda a: int_of(-a),
    "-_(double) double": lambda a: -a,
    "_==_(A, A) bool": lambda a, b: a == b and isinstance(a, bool) == isinstance(b, bool),
    "_!=_(A, A) bool": lambda a, b: a != b or isinstance(a, bool) != isinstance(b, bool),
    "_-_(timestamp, timestamp) duration": lambda a, b: a - b,
    "_-_(timestamp, duration) timestamp": lambda a, b: a - b,
    "_+_(timestamp, duration) timestamp": lambda a, b: a + b,
    "_+_(duration, timestamp) timestamp": lambda a, b: a + b,
    "_+_(list(A), list(A)) list(A)": lambda a, b: a + b,
    "_/_(int, int) int": divide,
    "_/_(uint, uint) uint": divide,
    "_/_(double, double) double": lambda a, b: a / b if b else math.copysign(math.inf, a) if a else math.nan,
    "_%_(int, int) int": remainder,
    "_%_(uint, uint) uint": remainder,
    "@in(A, list(A)) bool": lambda a, b: a in b,
    "@in(A, map(A, B)) bool": lambda a, b: a in b,
    "type(A) type(A)": lambda a: a,
    "dyn(A) dyn": lambda a: a,
    "int(string) int": parsed(int, "type"),
    "int(timestamp) int": lambda a: int(a.timestamp()),
    "double(string) double": parsed(float, "type"),
    "bool(string) bool": lambda a: a.lower() in ("true", "t", "1"),
    "bytes(string) bytes": lambda a: a.encode(),
    "duration(string) duration": parsed(to_duration, "type"),
    "timestamp(string) timestamp": parsed(to_timestamp, "type"),
    "string.startsWith(string) bool": lambda a, b: a.startswith(b),
    "string.endsWith(string) bool": lambda a, b: a.endswith(b),
    "string.contains(string) bool": lambda a, b: b in a,
    "string.matches(string) bool": lambda a, b: regex(b).search(a) is not None,
    "matches(string, string) bool": lambda a, b: regex(b).search(a) is not None,
    "string.charAt(int) string": lambda a, b: a[b : b + 1],
    "string.indexOf(string) int": lambda a, b: a.find(b),
    "string.indexOf(string, int) int": lambda a, b, c: a.find(b, c),
    "string.lastIndexOf(string) int": lambda a, b: a.rfind(b),
    "string.lastIndexOf(string, int) int": lambda a, b, c: a.rfind(b, 0, c + len(b)),
    "string.lowerAscii() string": lambda a: re.sub("[A-Z]+", lambda m: m[0].lower(), a),
    "string.upperAscii() string": lambda a: re.sub("[a-z]+", lambda m: m[0].upper(), a),
    "string.replace(string, string) string": lambda a, b, c: a.replace(b, c),
    "string.replace(string, string, int) string": lambda a, b, c, d: a.replace(b, c, d),
    "string.split(string) list(string)": lambda a, b: a.split(b) if b else list(a),
    "string.split(string, int) list(string)": lambda a, b, c: a.split(b,
    c - 1) if c > 0 else [] if c == 0 else a.split(b),
    "string.substring(int) string": lambda a, b: a[b:],
    "string.substring(int, int) string": lambda a, b, c: a[b:c],
    "string.trim() string": lambda a: a.strip(),
    "string.reverse() string": lambda a: a[::-1],
    "string.find(string) string": lambda a, b: ((found := regex(b).search(a)) and found.group(0)) or "",
    "string.findAll(string) list(string)": lambda a, b: [found.group(0) for found in regex(b).finditer(a)],
    "string.findAll(string, int) list(string)": lambda a, b,
    c: [f.group(0) for f in regex(b).finditer(a)][: c if c >= 0 else None],
    "list(string).join() string": "".join,
    "list(string).join(string) string": lambda a, b: b.join(a),
    "list(A).isSorted() bool": lambda a: all(left <= right for left, right in itertools.pairwise(a)),
    "list(A).sum() A": sum,
    "list(A).min() A": _extreme(min, "min"),
    "list(A).max() A": _extreme(max, "max"),
    "list(A).indexOf(A) int": index_of,
    "list(A).lastIndexOf(A) int": lambda a, b: index_of(a, b, True),
    "list(A).distinct() list(A)": lambda a: [item for at, item in enumerate(a) if item not in a[:at]],
    "sets.contains(list(A), list(A)) bool": lambda a, b: all(item in a for item in b),
    "sets.equivalent(list(A), list(A)) bool": lambda a,
    b: all(item in a for item in b) and all(item in b for item in a),
    "sets.intersects(list(A), list(A)) bool": lambda a, b: any(item in a for item in b),
    "base64.encode(bytes) string": lambda a: base64.b64encode(a).decode(),
    "base64.decode(string) bytes": parsed(base64.b64decode, "base64"),
    "optional.of(A) optional_type(A)": Optional,
    "optional.none() optional_type(A)": Optional,
    "optional.ofNonZeroValue(A) optional_type(A)": lambda a: Optional(a) if a else Optional(),
    "optional_type(A).hasValue() bool": lambda a: a.present,
    "optional_type(A).value() A": _value,
    "optional_type(A).orValue(A) A": _or_value,
    "optional_type(A).or(optional_type(A)) optional_type(A)": lambda a, b: a if a.present else b,
    "quantity(string) quantity": parsed(_quantity, "quantity"),
    "isQuantity(string) bool": valid(_quantity),
    "quantity.asInteger() int": lambda a: int_of(a.amount),
    "quantity.asApproximateFloat() double": lambda a: float(a.amount),
    "quantity.isInteger() bool": lambda a: a.amount == a.amount.to_integral_value(),
    "quantity.sign() int": lambda a: (a.amount > 0) - (a.amount < 0),
    "quantity.add(quantity) quantity": lambda a, b: Quantity(a.amount + b.amount),
    "quantity.add(int) quantity": lambda a, b: Quantity(a.amount + b),
    "quantity.sub(quantity) quantity": lambda a, b: Quantity(a.amount - b.amount),
    "quantity.sub(int) quantity": lambda a, b: Quantity(a.amount - b),
    "url(string) url": parsed(to_url, "url"),
    "isURL(string) bool": valid(to_url),
    "url.getScheme() string": lambda a: a.scheme,
    "url.getHost() string": lambda a: a.netloc,
    "url.getHostname() string": lambda a: a.hostname or "",
    "url.getPort() string": lambda a: str(a.port or ""),
    "url.getEscapedPath() string": lambda a: urllib.parse.quote(a.path),
    "url.getQuery() map(string, list(string))": lambda a: urllib.parse.parse_qs(a.query, keep_blank_values=True),
    "ip(string) ip": parsed(ipaddress.ip_address, "ip"),
    "isIP(string) bool": valid(ipaddress.ip_address),
    "ip.family() int": lambda a: a.version,
    "ip.isLoopback() bool": lambda a: a.is_loopback,
    "ip.isUnspecified() bool": lambda a: a.is_unspecified,
    "cidr(string) cidr": parsed(lambda a: ipaddress.ip_network(a, strict=False), "cidr"),
    "isCIDR(string) bool": valid(lambda a: ipaddress.ip_network(a, strict=False)),
    "cidr.containsIP(string) bool": lambda a, b: ipaddress.ip_address(b) in a,
    "cidr.containsIP(ip) bool": lambda a, b: b in a,
    "cidr.prefixLength() int": lambda a: a.prefixlen,
    "semver(string) semver": parsed(to_semver, "semver"),
    "isSemver(string) bool": valid(to_semver),
    "semver.major() int": lambda a: a[0],
    "semver.minor() int": lambda a: a[1],
    "semver.patch() int": lambda a: a[2],
    "format.named(string) optional_type(named_format)": lambda a: Optional(_NAMED_FORMATS.get(a, NOTHING)),
    "named_format.validate(string) optional_type(list(string))": _check_format,
}  # fmt: skip

for _signature, _call in _LIBRARY.items():
    _define(_signature, _call)
for _kind in ("string", "bytes", "list(A)", "map(A, B)"):
    _define(f"size({_kind}) int", len)
    _define(f"{_kind}.size() int", len)
for _kind in ("int", "uint", "double", "string", "bytes", "duration"):
    if _kind in ("int", "uint"):
        _define(f"_+_({_kind}, {_kind}) {_kind}", lambda a, b: int_of(a + b))
        _define(f"_-_({_kind}, {_kind}) {_kind}", lambda a, b: int_of(a - b))
        _define(f"_*_({_kind}, {_kind}) {_kind}", lambda a, b: int_of(a * b))
    else:
        _define(f"_+_({_kind}, {_kind}) {_kind}", lambda a, b: a + b)
    if _kind in ("double", "duration"):
        _define(f"_-_({_kind}, {_kind}) {_kind}", lambda a, b: a - b)
_define("_*_(double, double) double", lambda a, b: a * b)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_NUMBERS = ("int", "uint", "double")
for _operator, _call in _COMPARE.items():
    for _kind in ("bool", "string", "bytes", "timestamp", "duration"):
        _define(f"_{_operator}_({_kind}, {_kind}) bool", _call)
    for _left in _NUMBERS:
        for _right in _NUMBERS:
            _define(f"_{_operator}_({_left}, {_right}) bool", _call)
for _kind in ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration"):
    _define(f"string({_kind}) string", to_text)
for _kind in _NUMBERS:
    _define(f"int({_kind}) int", int_of)
    _define(f"uint({_kind}) uint", int_of)
    _define(f"double({_kind}) double", float)
for _kind in ("quantity", "semver"):
    _define(f"{_kind}.isLessThan({_kind}) bool", _COMPARE["<"])
    _define(f"{_kind}.isGreaterThan({_kind}) bool", _COMPARE[">"])
    _define(f"{_kind}.compareTo({_kind}) int", lambda a, b: (a > b) - (a < b))
for _name in _NAMED_FORMATS:
    _define(f"format.{_name}() named_format", _named_format(_name))
for _kind in ("bool", "int", "double", "string", "bytes", "timestamp", "duration"):
    _define(f"{_kind}({_kind}) {_kind}", lambda a: a) if _kind not in ("int", "double", "string") else None
_CLOCK: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda a: a.year,
    "getMonth": lambda a: a.month - 1,
    "getDate": lambda a: a.day,
    "getDayOfMonth": lambda a: a.day - 1,
    "getDayOfWeek": lambda a: a.isoweekday() % 7,
    "getHours": lambda a: a.hour,
    "getMinutes": lambda a: a.minute,
    "getSeconds": lambda a: a.second,
}
for _name, _part in _CLOCK.items():
    _define(f"timestamp.{_name}() int", lambda a, part=_part: part(a.astimezone(UTC)))
for _name, _each in (("getHours", 3600), ("getMinutes", 60), ("getSeconds", 1)):
    _define(f"duration.{_name}() int", lambda a, each=_each: int(a.total_seconds() / each))
