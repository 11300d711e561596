"""CEL: results, types, cost."""

import pytest
from finetune_sandbox.apiserver.cel.check import RuleTypeError, check
from finetune_sandbox.apiserver.cel.evaluate import compile_expr, to_cel
from finetune_sandbox.apiserver.cel.rules import check_rules, evaluate
from finetune_sandbox.apiserver.cel.syntax import RuleSyntaxError, parse
from finetune_sandbox.apiserver.cel.types import of_schema
from finetune_sandbox.apiserver.cel.values import CelError
from finetune_sandbox.apiserver.schema.node import Node

SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "d": {"type": "number"},
        "s": {"type": "string", "maxLength": 20},
        "t": {"type": "string", "format": "date-time"},
        "w": {"type": "string", "format": "duration"},
        "l": {"type": "array", "items": {"type": "integer"}, "maxItems": 9},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 9},
        "m": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 9},
        "o": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "p": {"x-kubernetes-int-or-string": True},
        "my-key": {"type": "boolean"},
        "namespace": {"type": "string"},
    },
}
NODE = Node(SCHEMA)
OBJECT = {
    "a": 3, "d": 2, "s": "Hello", "t": "2024-02-29T12:00:00Z", "w": "1h30m", "l": [3, 1, 2], "tags": ["a", "b"],
    "m": {"k": "v"}, "o": {}, "p": "50%", "my-key": True, "namespace": "n",
}  # fmt: skip


def run(text):
    kind = of_schema(NODE)
    assert kind is not None
    tree = parse(text)
    check(tree, {"self": kind, "oldSelf": kind})
    return compile_expr(tree)({"self": to_cel(OBJECT, NODE)})


@pytest.mark.parametrize(
    "text",
    [
        "self.a == 3 && self.a + 2 * 3 == 9",
        "self.a / 2 == 1 && self.a % 2 == 1 && -7 / 2 == -3 && -7 % 2 == -1",
        "self.d / 4.0 == 0.5 && self.d > 1",
        "self.s.startsWith('He') && self.s.endsWith('lo') && self.s.contains('ell') && self.s.matches('^H.*o$')",
        "self.s.lowerAscii() == 'hello' && self.s.size() == 5 && size(self.s) == 5",
        "self.s.substring(1, 3) == 'el' && self.s.indexOf('l') == 2 && self.s.replace('l', 'L') == 'HeLLo'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && ['a', 'b'].join('-') == 'a-b'",
        "self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x == 1)",
        "self.l.filter(x, x > 1).size() == 2 && self.l.map(x, x * 2) == [6, 2, 4] && self.l.map(x, x > 1, x) == [3, 2]",
        "!self.l.isSorted() && self.l.sum() == 6 && self.l.max() == 3 && self.l.indexOf(1) == 1",
        "self.m['k'] == 'v' && 'k' in self.m && !('z' in self.m) && self.m.all(k, k.size() == 1)",
        "has(self.a) && !has(self.o.x) && self.?o.?x.orValue(7) == 7 && !self.o.?x.hasValue()",
        "self.?a.orValue(0) == 3 && optional.of(1).value() == 1 && self.?a.optMap(v, v + 1).orValue(0) == 4",
        "self.t < timestamp('2024-03-01T00:00:00Z') && self.t.getFullYear() == 2024 && self.t.getMonth() == 1",
        "self.w == duration('90m') && self.t + self.w > self.t",
        "type(self.p) == string && type(self.a) == int && type(self.l) == list",
        "self.p == '50%' || self.p > 1",
        "self.my__dash__key && self.__namespace__ == 'n'",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').compareTo(quantity('0.5')) == 0",
        "!isQuantity('x') && isQuantity('3') && quantity('2').asInteger() == 2 && quantity('-1').sign() == -1",
        "url('https://h:8/p?a=1').getHost() == 'h:8' && url('https://h:8/p').getPort() == '8' && isURL('https://x')",
        "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && !isIP('x')",
        "sets.contains([1, 2, 3], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])",
        "!format.dns1123Label().validate('ok-name').hasValue() && format.dns1123Label().validate('Bad_').hasValue()",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('1.0.0-rc.1')",
        "cel.bind(x, self.a, x * x == 9)",
        "(self.a > 2 ? 'big' : 'small') == 'big'",
        "true || self.m['missing'] == 'x'",
        "self.m['missing'] == 'x' || true",
        "int('7') == 7 && string(7) == '7' && double(2) == 2.0 && int(2.9) == 2",
        "dyn(1) == 1.0 || true",
        "'a' in ['a', 'b'] && r'\\d' == '\\\\d' && \"it's\" == 'it\\'s'",
        "self.tags.exists(t, t == 'a') && self.tags[0] == 'a'",
        "{'a': 1}['a'] == 1 && [1, 2][1] == 2 && 0x10 == 16 && 1u < 2u && 1e3 == 1000.0",
    ],
)
def test_true(text):
    assert run(text) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("self.o.x > 1", "no such key: x"),
        ("self.m['z'] == ''", "no such key: z"),
        ("self.l[9] == 1", "index out of bounds"),
        ("1 / (self.a - 3) == 1", "division by zero"),
        ("self.p > 1", "no such overload"),
        ("9223372036854775807 + self.a > 0", "overflow"),
        ("self.l.all(x, self.m['z'] == '')", "no such key"),
    ],
)
def test_failures(text, message):
    with pytest.raises(CelError, match=message):
        run(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("self.zzz > 1", "undefined field 'zzz'"),
        ("self.a == 'x'", r"no matching overload for '_==_' applied to '\(int, string\)'"),
        ("self.a == 1.0", r"'\(int, double\)'"),
        ("self.s.foo()", "undeclared reference to 'foo'"),
        ("other == 1", "undeclared reference to 'other'"),
        ("self.s + 1 == ''", r"no matching overload for '_\+_'"),
        ("self.l.all(x, x)", "expected type 'bool' but found 'int'"),
        ("self.a.all(x, true)", "cannot be range of a comprehension"),
        ("self.a.b == 1", "does not support field selection"),
        ("self.a && true", "'_&&_'"),
        ("self.s.startsWith(1)", "startsWith"),
        ("self.a in self.tags", "@in"),
        ("self.a == null", "_==_"),
    ],
)
def test_type_errors(text, message):
    with pytest.raises(RuleTypeError, match=message):
        run(text)


@pytest.mark.parametrize(
    "text", ["self.a >", "(self.a", "self..a", "1 +* 2", "'open", "a b", "has(self)", "x.all(1, true)", "§"]
)
def test_syntax_errors(text):
    with pytest.raises(RuleSyntaxError):
        parse(text)


def rules(schema, *texts):
    return Node({**schema, "x-kubernetes-validations": [{"rule": text} for text in texts]})


UNBOUNDED = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("schema", "refused"),
    [
        (rules({"type": "object", "properties": {"l": UNBOUNDED}}, "self.l.all(x, x.startsWith('a'))"), False),
        (rules({"type": "object", "properties": {"l": UNBOUNDED}}, "self.l.all(x, self.l.all(y, x == y))"), True),
        (
            rules(
                {"type": "object", "properties": {"l": {**UNBOUNDED, "maxItems": 9}}},
                "self.l.all(x, self.l.all(y, x != ''))",
            ),
            False,
        ),
        (
            Node(
                {
                    "type": "array",
                    "items": rules(
                        {"type": "object", "properties": {"n": {"type": "string"}}}, "self.n.contains('a')"
                    ).raw,
                }
            ),
            True,
        ),
        (rules({"type": "object", "properties": {"s": {"type": "string"}}}, "self.s.matches('^a+$')"), False),
    ],
)
def test_cost(schema, refused):
    errors = check_rules(schema, "s")
    assert bool(errors) is refused
    assert all(error.kind == "Forbidden" for error in errors)


def test_transition_rules_run_only_when_there_is_an_old_value():
    node = Node(
        {
            "type": "object",
            "properties": {
                "id": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed"}]}
            },
        }
    )
    assert evaluate(node, {"id": "a"}, None) == []
    assert evaluate(node, {"id": "a"}, {}) == []
    assert [error.field for error in evaluate(node, {"id": "b"}, {"id": "a"})] == ["id"]


def test_rules_of_unchanged_values_are_not_repeated():
    node = rules({"type": "object", "properties": {"a": {"type": "integer"}}}, "self.a > 5")
    assert evaluate(node, {"a": 1}, {"a": 1}) == []
    assert len(evaluate(node, {"a": 1}, {"a": 2})) == 1


def test_message_expression_and_reason():
    rule = {
        "rule": "self.a > 5",
        "messageExpression": "'too small: ' + string(self.a)",
        "reason": "FieldValueForbidden",
        "fieldPath": ".a",
    }
    node = Node({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [rule]})
    (error,) = evaluate(node, {"a": 1}, None)
    assert (error.kind, error.field, error.detail) == ("Forbidden", "a", "too small: 1")


def test_list_maps_are_compared_by_key():
    items = {
        "type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}, "required": ["n"],
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}],
    }  # fmt: skip
    node = Node(
        {
            "type": "array",
            "items": items,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n"],
            "maxItems": 5,
        }
    )
    assert check_rules(node, "s") == []
    old = [{"n": "a", "v": 1}, {"n": "b", "v": 5}]
    assert (
        evaluate(
            Node({"type": "object", "properties": {"l": node.raw}}),
            {"l": [{"n": "b", "v": 4}, {"n": "a", "v": 2}]},
            {"l": old},
        )[0].field
        == "l[0]"
    )
