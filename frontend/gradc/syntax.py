"""The syntax tree of a .grad file: frozen records, each with the span of its text.

`height` is the longest way down from a node. The parser bounds it, so that walking a tree may
recurse; chains of operators (`a + b + c + ...`) and statements are flat, of any length.
"""

from __future__ import annotations

from typing import TypeAlias

from gradc.ir.record import dataclass
from gradc.ir.span import Span


@dataclass(frozen=True, slots=True)
class Number:
    """An integer or a floating-point literal."""

    span: Span
    value: int | float
    height: int = 1


@dataclass(frozen=True, slots=True)
class Name:
    """A name where a value, a function or a type is meant."""

    span: Span
    text: str
    height: int = 1


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator's symbol where it stands in the text."""

    span: Span
    symbol: str


@dataclass(frozen=True, slots=True)
class Chain:
    """`first op operand op operand ...`, grouped from the left."""

    span: Span
    first: Expression
    rest: tuple[tuple[Operator, Expression], ...]
    height: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `+x`, `not x`."""

    span: Span
    operator: Operator
    operand: Expression
    height: int


@dataclass(frozen=True, slots=True)
class Conditional:
    """`if condition then chosen else other`, element by element."""

    span: Span
    condition: Expression
    chosen: Expression
    other: Expression
    height: int


@dataclass(frozen=True, slots=True)
class Tuple:
    """`(a, b)`, or `a, b` as a statement's value."""

    span: Span
    items: tuple[Expression, ...]
    height: int


@dataclass(frozen=True, slots=True)
class Array:
    """`[a, b]`."""

    span: Span
    items: tuple[Expression, ...]
    height: int


@dataclass(frozen=True, slots=True)
class Argument:
    """`value` or `name: value` in a call."""

    span: Span
    name: Name | None
    value: Expression
    height: int


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`; the function is a name, or a call that makes one (`grad(f)(x)`)."""

    span: Span
    function: Expression
    arguments: tuple[Argument, ...]
    height: int


@dataclass(frozen=True, slots=True)
class Slice:
    """`start:stop:step` in a subscript."""

    span: Span
    start: Expression | None
    stop: Expression | None
    step: Expression | None
    height: int


@dataclass(frozen=True, slots=True)
class Ellipsis:
    """`...` in a subscript."""

    span: Span
    height: int = 1


Index: TypeAlias = "Expression | Slice | Ellipsis"


@dataclass(frozen=True, slots=True)
class Subscript:
    """`value[items]`."""

    span: Span
    value: Expression
    items: tuple[Index, ...]
    height: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """`value.name`."""

    span: Span
    value: Expression
    name: Name
    height: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A statement with an error of syntax, and the names that it may have bound."""

    span: Span
    names: tuple[str, ...]
    height: int = 1


Expression: TypeAlias = (
    "Number | Name | Chain | Unary | Conditional | Tuple | Array | Call | Subscript | Attribute"
    " | Unreadable"
)


@dataclass(frozen=True, slots=True)
class Type:
    """`dtype[dims]`; without brackets, a scalar."""

    span: Span
    dtype: Name
    dims: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """`name: type` of a function."""

    span: Span
    name: Name
    type: Type


@dataclass(frozen=True, slots=True)
class Result:
    """A declared result; its name is optional."""

    span: Span
    name: Name | None
    type: Type


@dataclass(frozen=True, slots=True)
class Head:
    """`fn name(parameters) -> results`; `results` is None where they are not declared."""

    span: Span
    name: Name
    parameters: tuple[Parameter, ...]
    results: tuple[Result, ...] | None
    is_tuple: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """`targets = value`, or a bare value (`targets` is None)."""

    span: Span
    targets: tuple[Name, ...] | None
    value: Expression
    unpacks: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """Text in quotes: a file's path, a symbol."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a C function is: `from "file" ... symbol "name" status`, in any order."""

    files: tuple[Text, ...] = ()
    symbol: Text | None = None
    status: Name | None = None


@dataclass(frozen=True, slots=True)
class FunctionItem:
    """`fn name(...) -> ... { statements }`, with the comment lines that stand right above it.

    `extern fn name(...) -> ...` has an `origin` and no body.
    """

    span: Span
    head: Head
    body: tuple[Statement, ...]
    documentation: str = ""
    origin: Origin | None = None

    @property
    def name(self) -> Name:
        return self.head.name


@dataclass(frozen=True, slots=True)
class Const:
    """`const name = value`."""

    span: Span
    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Alias:
    """`name = form` at module level: a function made of others."""

    span: Span
    name: Name
    value: Expression
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Export:
    """`export name`, or `export name = form`."""

    span: Span
    name: Name
    value: Expression | None
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """`derivative of name(parameters) -> results by kind(directions) { statements }`.

    `kind` is "pushforward", whose directions are tangents of the parameters, or "pullback", whose
    directions are cotangents of the results.
    """

    span: Span
    name: Name
    parameters: tuple[Name, ...]
    results: tuple[Name, ...]
    kind: Name
    directions: tuple[Name, ...]
    body: tuple[Statement, ...]


Item: TypeAlias = "FunctionItem | Const | Alias | Export | Rule"


@dataclass(frozen=True, slots=True)
class Module:
    """One source file; `lost` are the names that declarations with errors of syntax may declare."""

    file: str
    text: str
    items: tuple[Item, ...]
    lost: frozenset[str] = frozenset()


def children(node: Expression | Index | Argument) -> tuple[Expression | Index | Argument, ...]:
    """The nodes right below an expression, in the order of the text."""
    match node:
        case Chain():
            return (node.first, *(operand for _, operand in node.rest))
        case Unary():
            return (node.operand,)
        case Conditional():
            return (node.condition, node.chosen, node.other)
        case Tuple() | Array():
            return node.items
        case Argument():
            return (node.value,)
        case Call():
            return (node.function, *node.arguments)
        case Slice():
            return tuple(p for p in (node.start, node.stop, node.step) if p is not None)
        case Subscript():
            return (node.value, *node.items)
        case Attribute():
            return (node.value,)
    return ()
