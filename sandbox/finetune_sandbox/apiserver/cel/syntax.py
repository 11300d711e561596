"""The grammar of the Common Expression Language: from text to a tree."""

from __future__ import annotations

import ast as python
import re
from dataclasses import dataclass, field
from typing import Any

MACROS = {"all": 2, "exists": 2, "exists_one": 2, "existsOne": 2, "filter": 2, "map": 2}
"""Receiver-style macros with their smallest number of arguments."""

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
        "true",
        "false",
        "null",
        "in",
    ]
)

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
    |(?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
    |(?P<int>0x[0-9a-fA-F]+|\d+)
    |(?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<op>&&|\|\||==|!=|<=|>=|\.\?|\[\?|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_START = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_BINARY = (("||",), ("&&",), ("<", "<=", ">=", ">", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


class RuleSyntaxError(Exception):
    """A text that is no expression; knows where."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


@dataclass(eq=False)
class Expr:
    """A node of the tree.

    Attributes:
        kind: literal, ident, select, test (`has`), call, list, map, macro.
        at: Offset in the text.
        name: Of the identifier, field, function or macro.
        value: Of a literal.
        target: Receiver of a select, a member call or a macro.
        args: Arguments, items, or alternating keys and values.
        optional: `.?` and `[?` access; for lists and maps the indices of optional items.
        variable: Loop variable of a macro, or the name that `cel.bind` gives.
        type: Found by the checker.
    """

    kind: str
    at: int
    name: str = ""
    value: Any = None
    target: Expr | None = None
    args: list[Expr] = field(default_factory=list)
    optional: bool = False
    variable: str = ""
    type: Any = None


def parse(text: str) -> Expr:
    """The tree of an expression.

    Raises:
        RuleSyntaxError: It is none.
    """
    parser = _Parser(text)
    tree = parser.ternary()
    parser.expect_end()
    return tree


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise RuleSyntaxError(f"Syntax error: token recognition error at: '{text[at]}'", at)
            kind = found.lastgroup or ""
            if kind != "space":
                self.tokens.append((kind, found[0], at))
            at = found.end()
        self.tokens.append(("end", "<EOF>", len(text)))
        self.position = 0

    @property
    def current(self) -> tuple[str, str, int]:
        return self.tokens[self.position]

    def accept(self, *texts: str) -> str:
        kind, text, _ = self.current
        if kind in ("op", "ident") and text in texts:
            self.position += 1
            return text
        return ""

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.failure(f"'{text}'")

    def expect_end(self) -> None:
        if self.current[0] != "end":
            _kind, text, at = self.current
            raise RuleSyntaxError(f"Syntax error: extraneous input '{text}' expecting <EOF>", at)

    def failure(self, expected: str = _START) -> RuleSyntaxError:
        _, text, at = self.current
        return RuleSyntaxError(f"Syntax error: mismatched input '{text}' expecting {expected}", at)

    def ternary(self) -> Expr:
        condition = self.binary(0)
        at = self.current[2]
        if not self.accept("?"):
            return condition
        yes = self.binary(0)
        self.expect(":")
        return Expr("call", at, "_?_:_", args=[condition, yes, self.ternary()])

    def binary(self, level: int) -> Expr:
        if level == len(_BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while True:
            at = self.current[2]
            operator = self.accept(*_BINARY[level])
            if not operator:
                return left
            right = self.binary(level + 1)
            name = "@in" if operator == "in" else f"_{operator}_"
            left = Expr("call", at, name, args=[left, right])

    def unary(self) -> Expr:
        at = self.current[2]
        if self.accept("!"):
            return Expr("call", at, "!_", args=[self.unary()])
        if self.accept("-"):
            kind, _text, where = self.current
            if kind in ("int", "float"):
                operand = self.member()
                if operand.kind == "literal" and operand.at == where:
                    operand.value = -operand.value
                    return operand
                return Expr("call", at, "-_", args=[operand])
            return Expr("call", at, "-_", args=[self.unary()])
        return self.member()

    def member(self) -> Expr:
        left = self.primary()
        while True:
            at = self.current[2]
            if operator := self.accept(".", ".?"):
                kind, name, _ = self.current
                if kind != "ident":
                    raise self.failure("IDENTIFIER")
                self.position += 1
                if operator == "." and self.accept("("):
                    left = self.call(name, left, at)
                else:
                    left = Expr("select", at, name, target=left, optional=operator == ".?")
            elif operator := self.accept("[", "[?"):
                index = self.ternary()
                self.expect("]")
                left = Expr("call", at, "_[_]", args=[left, index], optional=operator == "[?")
            else:
                return left

    def call(self, name: str, target: Expr | None, at: int) -> Expr:
        args = self.items(")")
        if target is None and name == "has":
            if len(args) != 1 or args[0].kind != "select":
                raise RuleSyntaxError("invalid argument to has() macro", at)
            return Expr("test", at, args[0].name, target=args[0].target)
        if target is not None and target.kind == "ident" and target.name == "cel" and name == "bind" and len(args) == 3:
            if args[0].kind != "ident":
                raise RuleSyntaxError("cel.bind() variable names must be simple identifiers", at)
            return Expr("macro", at, "bind", variable=args[0].name, args=args[1:])
        if target is not None and name in MACROS and len(args) in (2, 3) and (len(args) == 2 or name == "map"):
            if args[0].kind != "ident":
                raise RuleSyntaxError("argument must be a simple name", args[0].at)
            return Expr(
                "macro",
                at,
                name.replace("existsOne", "exists_one"),
                target=target,
                variable=args[0].name,
                args=args[1:],
            )
        if target is not None and name in ("optMap", "optFlatMap") and len(args) == 2 and args[0].kind == "ident":
            return Expr("macro", at, name, target=target, variable=args[0].name, args=args[1:])
        return Expr("call", at, name, target=target, args=args)

    def items(self, close: str) -> list[Expr]:
        found: list[Expr] = []
        while not self.accept(close):
            optional = close == "]" and bool(self.accept("?"))
            item = self.ternary()
            item.optional = item.optional or optional
            found.append(item)
            if not self.accept(","):
                self.expect(close)
                break
        return found

    def primary(self) -> Expr:
        kind, text, at = self.current
        self.position += 1
        if kind == "op":
            if text == "(":
                inner = self.ternary()
                self.expect(")")
                return inner
            if text == "[":
                return Expr("list", at, args=self.items("]"))
            if text == "{":
                return self.map(at)
            if text == "." and self.current[0] == "ident":
                return self.primary()
        if kind == "ident":
            if text in ("true", "false", "null"):
                return Expr("literal", at, value={"true": True, "false": False, "null": None}[text])
            if text not in RESERVED:
                return self.call(text, None, at) if self.accept("(") else Expr("ident", at, text)
        if kind in ("int", "uint"):
            number = int(text.rstrip("uU"), 0)
            return Expr("literal", at, name="uint" if kind == "uint" else "", value=number)
        if kind == "float":
            return Expr("literal", at, value=float(text))
        if kind == "string":
            return Expr("literal", at, value=_unquote(text, at))
        self.position -= 1
        raise self.failure()

    def map(self, at: int) -> Expr:
        args: list[Expr] = []
        while not self.accept("}"):
            self.accept("?")
            args.append(self.ternary())
            self.expect(":")
            args.append(self.ternary())
            if not self.accept(","):
                self.expect("}")
                break
        return Expr("map", at, args=args)


def _unquote(text: str, at: int) -> str | bytes:
    body = re.sub(r"^[rRbB]+", "", text)
    prefix = text[: len(text) - len(body)].lower()
    if "r" not in prefix:
        body = body.replace("\\?", "?").replace("\\`", "`")
    try:
        value: str | bytes = python.literal_eval(prefix.replace("b", "b") + body)
    except (ValueError, SyntaxError) as error:
        raise RuleSyntaxError(f"Syntax error: {error}", at) from error
    return value
