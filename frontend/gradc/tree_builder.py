"""Grammar rules to records of `syntax`: one method a rule, called bottom-up by the parser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isinf
from typing import Any, TypeVar

from gradc import syntax
from gradc.diagnostics import Label, refuse
from gradc.ir.span import Span
from gradc.lexer import MAX_DEPTH, Token

T = TypeVar("T")
MAX_INTEGER = 2**63  # one more than fits, because `-9223372036854775808` is minus a literal


class TreeBuilder:
    """Each method is given what a rule matched, tokens included, and returns the rule's record."""

    def module(self, parts: Sequence[Any]) -> tuple[syntax.Item, ...]:
        return _without_tokens(parts)

    def function(self, parts: Sequence[Any]) -> syntax.FunctionItem:
        body = parts[2] if len(parts) == 4 else ()
        return syntax.FunctionItem(_span(parts), parts[0], body)

    def head(self, parts: Sequence[Any]) -> syntax.Head:
        parameters = parts[3] if isinstance(parts[3], tuple) else ()
        is_tuple, results = parts[-1] if isinstance(parts[-1], tuple) else (False, None)
        last = results[-1] if results else parts[-1]
        span = _span((parts[0], last))
        return syntax.Head(span, _name(parts[1]), parameters, results, is_tuple)

    def external(self, parts: Sequence[Any]) -> syntax.FunctionItem:
        files: list[syntax.Text] = []
        found: dict[str, Any] = {}
        for word, text in parts[2:]:
            _check_word(word, ("from", "symbol", "status"), _EXTERNAL)
            wants_text = word.text != "status"
            if wants_text != (text is not None):
                wrong = (
                    f"`{word.text}` is followed by text in quotes"
                    if wants_text
                    else ("nothing follows `status`")
                )
                raise refuse("G0108", wrong, word.span, help=(_EXTERNAL,))
            if word.text == "from":
                files.append(text)
            elif word.text in found:
                raise refuse("G0108", f"`{word.text}` stands twice", word.span)
            else:
                found[word.text] = text or _name(word)
        last = parts[-1][1] or parts[-1][0] if len(parts) > 2 else parts[1]
        origin = syntax.Origin(tuple(files), found.get("symbol"), found.get("status"))
        return syntax.FunctionItem(_span((parts[0], last)), parts[1], (), "", origin)

    def clause(self, parts: Sequence[Any]) -> tuple[Token, syntax.Text | None]:
        given = parts[1] if len(parts) == 2 else None
        text = syntax.Text(given.span, given.text[1:-1]) if given else None
        return parts[0], text

    def body(self, parts: Sequence[Any]) -> tuple[syntax.Statement, ...]:
        return _without_tokens(parts)

    def parameters(self, parts: Sequence[Any]) -> tuple[syntax.Parameter, ...]:
        return _without_tokens(parts)

    def parameter(self, parts: Sequence[Any]) -> syntax.Parameter:
        return syntax.Parameter(_span(parts), _name(parts[0]), parts[2])

    def type(self, parts: Sequence[Any]) -> syntax.Type:
        dims = parts[2] if len(parts) == 4 else ()
        return syntax.Type(_span(parts), _name(parts[0]), dims)

    def dims(self, parts: Sequence[Any]) -> tuple[syntax.Expression, ...]:
        return _without_tokens(parts)

    def one_result(self, parts: Sequence[Any]) -> tuple[bool, tuple[syntax.Result, ...]]:
        return False, (syntax.Result(parts[0].span, None, parts[0]),)

    def many_results(self, parts: Sequence[Any]) -> tuple[bool, tuple[syntax.Result, ...]]:
        return True, _without_tokens(parts)

    def result(self, parts: Sequence[Any]) -> syntax.Result:
        name = _name(parts[0]) if len(parts) == 3 else None
        return syntax.Result(_span(parts), name, parts[-1])

    def export(self, parts: Sequence[Any]) -> syntax.Export:
        value = parts[3] if len(parts) == 4 else None
        return syntax.Export(_span(parts), _name(parts[1]), value)

    def const(self, parts: Sequence[Any]) -> syntax.Const:
        return syntax.Const(_span(parts), _name(parts[1]), parts[3])

    def alias(self, parts: Sequence[Any]) -> syntax.Alias:
        return syntax.Alias(_span(parts), _name(parts[0]), parts[2])

    def rule(self, parts: Sequence[Any]) -> syntax.Rule:
        rest = iter(parts)
        _, of, name, _ = (next(rest) for _ in range(4))
        _check_word(of, ("of",))
        parameters = _until(rest, "RPAR")
        results: tuple[syntax.Name, ...] = ()
        by = next(rest)
        if by.type == "ARROW":
            results, by = next(rest), next(rest)
        _check_word(by, ("by",))
        kind, _ = next(rest), next(rest)
        _check_word(kind, ("pullback", "pushforward"))
        directions = _until(rest, "RPAR")
        next(rest)
        body = _until(rest, "RBRACE")
        return syntax.Rule(
            _span(parts), _name(name), parameters, results, _name(kind), directions, body
        )

    def names(self, parts: Sequence[Any]) -> tuple[syntax.Name, ...]:
        return tuple(_name(part) for part in parts if part.type == "NAME")

    def statement(self, parts: Sequence[Any]) -> syntax.Statement:
        if len(parts) == 1:
            return syntax.Statement(parts[0].span, None, parts[0])
        left, _, value = parts
        unpacks = isinstance(left, syntax.Tuple)
        targets = left.items if unpacks else (left,)
        for target in targets or (left,):
            if not isinstance(target, syntax.Name):
                raise refuse(
                    "G0110",
                    "only a name can stand left of `=`",
                    target.span,
                    "this is an expression",
                    help=(_target_advice(target),),
                )
        return syntax.Statement(_span(parts), targets, value, unpacks)

    def expressions(self, parts: Sequence[Any]) -> syntax.Expression:
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return]
        return _checked(syntax.Tuple(_span(parts), _without_tokens(parts), _height(parts)))

    def conditional(self, parts: Sequence[Any]) -> syntax.Conditional:
        _, condition, _, chosen, _, other = parts
        made = syntax.Conditional(_span(parts), condition, chosen, other, _height(parts))
        return _checked(made)

    def chain(self, parts: Sequence[Any]) -> syntax.Chain:
        rest = tuple((_operator(parts[i]), parts[i + 1]) for i in range(1, len(parts), 2))
        return _checked(syntax.Chain(_span(parts), parts[0], rest, _height(parts)))

    disjunction = conjunction = sum = product = chain

    def comparison(self, parts: Sequence[Any]) -> syntax.Chain:
        if len(parts) > 3:
            raise refuse(
                "G0109",
                "comparisons cannot be chained",
                parts[3].span,
                "a second comparison",
                causes=(Label(parts[1].span, "the first"),),
                help=("join two comparisons by `and`: `low < x and x < high`",),
            )
        return self.chain(parts)

    def unary(self, parts: Sequence[Any]) -> syntax.Unary:
        made = syntax.Unary(_span(parts), _operator(parts[0]), parts[1], _height(parts))
        return _checked(made)

    def call(self, parts: Sequence[Any]) -> syntax.Call:
        arguments = parts[2] if len(parts) == 4 else ()
        height = _height((parts[0], *arguments))
        return _checked(syntax.Call(_span(parts), parts[0], arguments, height))

    def arguments(self, parts: Sequence[Any]) -> tuple[syntax.Argument, ...]:
        return _without_tokens(parts)

    def argument(self, parts: Sequence[Any]) -> syntax.Argument:
        name = _name(parts[0]) if len(parts) == 3 else None
        return syntax.Argument(_span(parts), name, parts[-1], parts[-1].height)

    def subscript(self, parts: Sequence[Any]) -> syntax.Subscript:
        height = _height((parts[0], *parts[2]))
        return _checked(syntax.Subscript(_span(parts), parts[0], parts[2], height))

    def subscripts(self, parts: Sequence[Any]) -> tuple[syntax.Index, ...]:
        return _without_tokens(parts)

    def ellipsis(self, parts: Sequence[Any]) -> syntax.Ellipsis:
        return syntax.Ellipsis(_span(parts))

    def slice(self, parts: Sequence[Any]) -> syntax.Slice:
        bounds: list[Any] = [None]
        for part in parts:
            if isinstance(part, Token):
                bounds.append(None)
            else:
                bounds[-1] = part
        start, stop, step = (*bounds, None)[:3]
        return _checked(syntax.Slice(_span(parts), start, stop, step, _height(parts)))

    def attribute(self, parts: Sequence[Any]) -> syntax.Attribute:
        value, _, name = parts
        return _checked(syntax.Attribute(_span(parts), value, _name(name), _height((value,))))

    def group(self, parts: Sequence[Any]) -> syntax.Expression:
        return replace(parts[1], span=_span(parts))  # type: ignore[no-any-return]

    def items(self, parts: Sequence[Any]) -> tuple[syntax.Expression, ...]:
        return _without_tokens(parts)

    def tuple(self, parts: Sequence[Any]) -> syntax.Tuple:
        items = _flattened(parts)
        return _checked(syntax.Tuple(_span(parts), items, _height(items)))

    def array(self, parts: Sequence[Any]) -> syntax.Array:
        items = _flattened(parts)
        return _checked(syntax.Array(_span(parts), items, _height(items)))

    def name(self, parts: Sequence[Any]) -> syntax.Name:
        return _name(parts[0])

    def number(self, parts: Sequence[Any]) -> syntax.Number:
        token = parts[0]
        return syntax.Number(token.span, _number_value(token))


def _span(parts: Sequence[Any]) -> Span:
    """From the start of the first part to the end of the last."""
    first, last = _place(parts[0]), _place(parts[-1])
    return Span(first.file, first.line, first.column, last.end_line, last.end_column)


def _place(part: Any) -> Token | Span:
    return part if isinstance(part, Token) else part.span


def _until(parts: Iterator[Any], end: str) -> tuple[Any, ...]:
    """What stands before the token `end`, if anything does, which is taken too."""
    found = next(parts)
    if isinstance(found, Token):
        assert found.type == end
        return ()
    next(parts)
    return tuple(found)


_RULE = "a rule is written `derivative of f(x) -> y by pullback(c) { ... }`"
_EXTERNAL = 'a C function is declared `extern fn name(x: f64[n]) -> f64[n] from "file.c"`'


def _check_word(token: Token, words: Sequence[str], advice: str = _RULE) -> None:
    """Raise Refused unless the token is one of the words that stand here."""
    if token.text in words:
        return
    expected = " or ".join(f"`{word}`" for word in words)
    raise refuse(
        "G0108",
        f"expected {expected}, found `{token.text}`",
        token.span,
        help=(advice,),
    )


def _name(token: Token) -> syntax.Name:
    return syntax.Name(token.span, token.text)


def _operator(token: Token) -> syntax.Operator:
    return syntax.Operator(token.span, token.text)


def _without_tokens(parts: Sequence[Any]) -> tuple[Any, ...]:
    return (*(part for part in parts if not isinstance(part, Token)),)


def _flattened(parts: Sequence[Any]) -> tuple[Any, ...]:
    """The expressions among the parts, those of an `items` list included."""
    found: list[Any] = []
    for part in _without_tokens(parts):
        found.extend(part if isinstance(part, tuple) else (part,))
    return (*found,)


def _height(parts: Sequence[Any]) -> int:
    return 1 + max((part.height for part in parts if not isinstance(part, Token)), default=0)


def _checked(node: T) -> T:
    """The node, unless its tree is too high to be walked by recursion."""
    if node.height > MAX_DEPTH:  # type: ignore[attr-defined]
        raise refuse(
            "G0105",
            f"this expression is nested more than {MAX_DEPTH} deep",
            node.span,  # type: ignore[attr-defined]
            help=("bind an inner part to a name of its own",),
        )
    return node


def _target_advice(target: syntax.Expression) -> str:
    if isinstance(target, syntax.Subscript):
        return "arrays do not change; write `where(...)`, or build the array from its parts"
    return "a comparison for equality is written `==`"


def _number_value(token: Token) -> int | float:
    text = token.text
    if not _underscores_are_between_digits(text):
        raise refuse(
            "G0103",
            f"`{text}` is not a number",
            token.span,
            help=("an underscore stands between two digits, as in `1_000`",),
        )
    digits = text.replace("_", "")
    if digits.isdigit():
        if int(digits) > MAX_INTEGER:
            raise refuse(
                "G0104",
                "this integer does not fit into 64 bits",
                token.span,
                help=(f"write it as a float: `{digits[:1]}.{digits[1:3]}e{len(digits) - 1}`",),
            )
        return int(digits)
    value = float(digits)
    if isinf(value):
        raise refuse(
            "G0104",
            "this number is larger than the largest f64, 1.8e308",
            token.span,
            help=("infinity is written `inf`",),
        )
    return value


def _underscores_are_between_digits(text: str) -> bool:
    pieces = text.split("_")
    return all(left[-1:].isdigit() and right[:1].isdigit() for left, right in pairwise(pieces))
