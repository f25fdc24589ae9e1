"""Expressions to arrays: each node of the syntax tree becomes calls of `gradc.tensor`.

A value is a `Tensor`, or a static value (number, size, tuple, type, none). Errors of
`gradc.tensor` come back as diagnostics at the place in the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from gradc import syntax
from gradc import tensor as gt
from gradc.diagnostics import Diagnostic, Label, Refused, refuse
from gradc.function_table import BUILTIN_NAMES, close_names, did_you_mean
from gradc.ir.dims import SizeExpr
from gradc.ir.function import Function
from gradc.ir.record import dataclass
from gradc.ir.span import Span, at
from gradc.ir.types import DTYPES_BY_NAME, DType
from gradc.located import located
from gradc.static_values import (
    CONSTANTS,
    NOT_STATIC,
    StaticValueError,
    describe,
    static_binary,
    static_negative,
)
from gradc.suspicious import in_comparison, in_operation
from gradc.tensor import Tensor
from gradc.tensor.operands import promote

Evaluated: TypeAlias = Any  # a Tensor, or a static value

OPERATORS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "+": gt.add,
        "-": gt.subtract,
        "*": gt.multiply,
        "/": gt.divide,
        "//": gt.floor_divide,
        "%": gt.remainder,
        "**": gt.power,
        "@": gt.matmul,
        "==": gt.equal,
        "!=": gt.not_equal,
        "<": gt.less,
        "<=": gt.less_equal,
        ">": gt.greater,
        ">=": gt.greater_equal,
        "and": gt.logical_and,
        "or": gt.logical_or,
    }
)
ATTRIBUTES = ("T", "mT", "ndim", "shape", "size")


class Poisoned(Exception):
    """The value depends on something that has been reported already."""


@dataclass(frozen=True, slots=True)
class Poison:
    """Stands for the value of a statement, or for a function, that has errors."""


POISON = Poison()


@dataclass(frozen=True, slots=True)
class Binding:
    """What a name stands for, where it was bound, and as what ("parameter", "size", ...)."""

    value: Evaluated | Function | Poison
    span: Span | None
    kind: str


@dataclass(slots=True)
class Scope:
    """The names an expression may read, and the functions it may call."""

    file: str
    text: str
    call: Callable[[syntax.Call, Scope], Evaluated]  # gradc.calls.evaluate_call
    values: dict[str, Binding] = field(default_factory=dict)
    functions: dict[str, Binding] = field(default_factory=dict)
    equations: int = 0  # inlined so far
    warnings: list[Diagnostic] = field(default_factory=list)
    lost: frozenset[str] = frozenset()  # names that pieces with errors of syntax may have given

    def inner(self) -> Scope:
        """The scope of a function of this module: it reads the module's names and binds its own."""
        return replace(self, values=dict(self.values), equations=0)

    def source(self, span: Span) -> str:
        """The source text of a span within one line."""
        if span.line != span.end_line:
            return ""
        line = self.text.replace("\r\n", "\n").split("\n")[span.line - 1]
        return line[span.column - 1 : span.end_column - 1]


def evaluate(node: syntax.Expression, scope: Scope) -> Evaluated:
    """The value of an expression.

    Raises Refused with the diagnostic, or Poisoned where the error has been reported before.
    """
    return _EVALUATE[type(node)](node, scope)


def evaluate_array(node: syntax.Expression, scope: Scope) -> Tensor:
    """The value of an expression as an array."""
    return as_array(evaluate(node, scope), node.span)


def as_array(value: Evaluated, span: Span) -> Tensor:
    """A number, size or array as an array; Refused for a tuple, a type and none."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool | int | float | SizeExpr):
        with at(span):
            return gt.asarray(value)
    raise refuse("G0201", f"expected an array, found {describe(value)}", span)


def _number(node: syntax.Number, scope: Scope) -> Evaluated:
    if isinstance(node.value, int) and node.value >= 2**63:
        raise refuse("G0104", "this integer does not fit into 64 bits", node.span)
    return node.value


def _name(node: syntax.Name, scope: Scope) -> Evaluated:
    binding = scope.values.get(node.text)
    if binding is not None:
        if isinstance(binding.value, Poison):
            raise Poisoned
        return binding.value
    if node.text in CONSTANTS:
        return CONSTANTS[node.text]
    if node.text in DTYPES_BY_NAME:
        return DTYPES_BY_NAME[node.text]
    raise unknown_name(node, scope)


def check_not_lost(node: syntax.Name, scope: Scope) -> None:
    """Raise Poisoned for a name that a piece with an error of syntax may have given."""
    if node.text in scope.lost:
        raise Poisoned


_SPELLED = {"None": "none", "newaxis": "none", "True": "true", "False": "false"}


def unknown_name(node: syntax.Name, scope: Scope) -> Refused:
    """The error for a name that stands for no value; Poisoned where an error explains that."""
    check_not_lost(node, scope)
    text, advice = node.text, []
    if text in _SPELLED:
        advice.append(f"write `{_SPELLED[text]}`")
    elif text in scope.functions or text in BUILTIN_NAMES:
        message = f"`{text}` is a function, and not a value"
        return refuse("G0304", message, node.span, help=(f"call it: `{text}(...)`",))
    else:
        advice.extend(did_you_mean(text, (*scope.values, *CONSTANTS)))
    near = [scope.values[name] for name in close_names(text, tuple(scope.values))[:1]]
    causes = [Label(b.span, f"a {b.kind} of a similar name") for b in near if b.span is not None]
    return refuse(
        "G0301",
        f"the name `{text}` is not known here",
        node.span,
        causes=[c for c in causes if c.span.file == node.span.file],
        help=advice,
    )


def _chain(node: syntax.Chain, scope: Scope) -> Evaluated:
    operands = _evaluate_all((node.first, *(operand for _, operand in node.rest)), scope)
    value, span = operands[0], node.first.span
    for (symbol, operand), right in zip(node.rest, operands[1:], strict=True):
        here = Span(
            span.file, span.line, span.column, operand.span.end_line, operand.span.end_column
        )
        value = _binary(symbol, (value, right), (span, operand.span), here, scope)
        span = here
    return value


def _evaluate_all(nodes: Iterable[syntax.Expression], scope: Scope) -> list[Evaluated]:
    """The values of expressions; Poisoned only where none of them has an error of its own."""
    values, is_poisoned = [], False
    for node in nodes:
        try:
            values.append(evaluate(node, scope))
        except Poisoned:
            is_poisoned = True
    if is_poisoned:
        raise Poisoned
    return values


def _binary(
    symbol: syntax.Operator,
    values: tuple[Evaluated, Evaluated],
    spans: tuple[Span, Span],
    here: Span,
    scope: Scope,
) -> Evaluated:
    scope.warnings.extend(in_comparison(symbol, *values, here))
    scope.warnings.extend(in_operation(values, spans))
    try:
        known = static_binary(symbol.symbol, *values)
    except StaticValueError as error:
        raise refuse("G0205", str(error), symbol.span) from error
    if known is not NOT_STATIC:
        return known
    for value, span in zip(values, spans, strict=True):
        _check_operand(value, span, symbol)
    code = "G0203" if symbol.symbol == "@" else ""
    with located(here, symbol.span, spans, code):
        return OPERATORS[symbol.symbol](*values)


def _check_operand(value: Evaluated, span: Span, symbol: syntax.Operator) -> None:
    if isinstance(value, tuple | DType) or value is None:
        raise refuse(
            "G0201",
            f"`{symbol.symbol}` takes arrays and numbers, not {describe(value)}",
            symbol.span,
            causes=(Label(span, f"this is {describe(value)}"),),
        )
    if symbol.symbol in ("and", "or", "not") and not _is_boolean(value):
        what = str(value.type) if isinstance(value, Tensor) else describe(value)
        raise refuse(
            "G0201",
            f"`{symbol.symbol}` takes booleans",
            symbol.span,
            causes=(Label(span, f"this is {what}"),),
            help=("compare first: `x != 0`",),
        )


def _is_boolean(value: Evaluated) -> bool:
    return isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype.kind == "b")


def _unary(node: syntax.Unary, scope: Scope) -> Evaluated:
    symbol, operand = node.operator.symbol, node.operand
    if symbol == "-" and isinstance(operand, syntax.Number):
        return -operand.value  # so that -9223372036854775808 can be written
    value = evaluate(operand, scope)
    _check_operand(value, operand.span, node.operator)
    if symbol == "not":
        if isinstance(value, bool):
            return not value
        with located(node.span, node.operator.span, (operand.span,)):
            return gt.logical_not(value)
    if symbol == "+":
        return value
    try:
        known = static_negative(value)
    except StaticValueError as error:
        raise refuse("G0205", str(error), node.span) from error
    if known is not NOT_STATIC:
        return known
    with located(node.span, node.operator.span, (operand.span,)):
        return gt.negative(value)


def _conditional(node: syntax.Conditional, scope: Scope) -> Evaluated:
    parts = (node.condition, node.chosen, node.other)
    values = [evaluate(part, scope) for part in parts]
    spans = [part.span for part in parts]
    condition = values[0]
    if not _is_boolean(condition):
        what = str(condition.type) if isinstance(condition, Tensor) else describe(condition)
        raise refuse(
            "G0201",
            "the condition of an `if` is boolean",
            spans[0],
            f"this is {what}",
            help=("compare first: `x != 0`",),
        )
    if isinstance(condition, bool):
        return values[1] if condition else values[2]
    for value, span in zip(values[1:], spans[1:], strict=True):
        as_array(value, span)
    with located(node.span, node.span, spans):
        return gt.where(*values)


def _tuple(node: syntax.Tuple, scope: Scope) -> Evaluated:
    return tuple(evaluate(item, scope) for item in node.items)


def _array(node: syntax.Array, scope: Scope) -> Evaluated:
    """An array literal: a constant where every entry is a number, else its entries stacked."""
    numbers = _nested_numbers(node, scope)
    if numbers is not None:
        with located(node.span, node.span, ()):
            return gt.constant(numbers)
    items = [evaluate_array(item, scope) for item in node.items]
    if not items:
        raise refuse(
            "G0206", "an array literal has at least one entry", node.span,
            help=("an empty array is written `zeros(0)`",),
        )  # fmt: skip
    with located(node.span, node.span, [item.span for item in node.items]):
        return gt.stack(promote(*items))


def _nested_numbers(node: syntax.Array, scope: Scope) -> list[Any] | None:
    """The entries of a literal made of numbers only; Refused where its rows differ in length."""
    found: list[Any] = []
    for item in node.items:
        if isinstance(item, syntax.Array):
            inner = _nested_numbers(item, scope)
            if inner is None:
                return None
            found.append(inner)
            continue
        if isinstance(item, syntax.Number):
            found.append(_number(item, scope))
            continue
        value = evaluate(item, scope)
        if not isinstance(value, bool | int | float):
            return None
        found.append(value)
    shapes = [_literal_shape(entry) for entry in found]
    for item, shape in zip(node.items, shapes, strict=True):
        if shape != shapes[0]:
            raise refuse(
                "G0206",
                "the entries of an array literal have one shape",
                item.span,
                f"this entry has the shape {shape}",
                causes=(Label(node.items[0].span, f"the first has the shape {shapes[0]}"),),
            )
    return found or None


def _literal_shape(entry: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(entry, list):
        shape.append(len(entry))
        entry = entry[0]
    return tuple(shape)


def _subscript(node: syntax.Subscript, scope: Scope) -> Evaluated:
    value = evaluate(node.value, scope)
    items = [_index(item, scope) for item in node.items]
    if isinstance(value, tuple):
        return _tuple_item(value, items, node)
    array = as_array(value, node.value.span)
    spans = (node.value.span, *(item.span for item in node.items))
    last = node.items[-1].span
    first = node.items[0].span
    brackets = Span(first.file, first.line, first.column, last.end_line, last.end_column)
    with located(node.span, brackets, spans):
        return array[tuple(items)]


def _tuple_item(value: tuple[Any, ...], items: list[Any], node: syntax.Subscript) -> Evaluated:
    if len(items) != 1 or not isinstance(items[0], int | slice) or isinstance(items[0], bool):
        raise refuse("G0204", "a tuple is indexed by one integer", node.span)
    try:
        return value[items[0]]
    except (IndexError, ValueError) as error:
        raise refuse(
            "G0204", f"a tuple of {len(value)} has no entry {items[0]}", node.items[0].span
        ) from error


def _index(node: syntax.Index, scope: Scope) -> Any:
    if isinstance(node, syntax.Ellipsis):
        return Ellipsis
    if isinstance(node, syntax.Slice):
        bounds = (node.start, node.stop, node.step)
        return slice(*(None if b is None else evaluate(b, scope) for b in bounds))
    value = evaluate(node, scope)
    if isinstance(value, float | DType | tuple):
        raise refuse("G0204", f"an index is an integer, not {describe(value)}", node.span)
    return value


def _attribute(node: syntax.Attribute, scope: Scope) -> Evaluated:
    name = node.name.text
    value = evaluate(node.value, scope)
    if name not in ATTRIBUTES:
        advice = did_you_mean(name, ATTRIBUTES)
        if name in BUILTIN_NAMES:
            advice = [f"functions are called as `{name}(x)`, not as methods"]
        have = ", ".join(f".{known}" for known in ATTRIBUTES)
        message = f"arrays have no `.{name}`; they have {have}"
        raise refuse("G0302", message, node.name.span, help=advice)
    array = as_array(value, node.value.span)
    if name == "shape":
        return array.shape
    if name == "ndim":
        return array.ndim
    if name == "size":
        return array.size
    with located(node.span, node.name.span, (node.value.span,)):
        return array.T if name == "T" else array.mT


def _call(node: syntax.Call, scope: Scope) -> Evaluated:
    return scope.call(node, scope)


def _unreadable(node: syntax.Unreadable, scope: Scope) -> Evaluated:
    scope.lost |= frozenset(node.names)
    raise Poisoned


_EVALUATE: Mapping[type, Callable[[Any, Scope], Evaluated]] = MappingProxyType(
    {
        syntax.Number: _number,
        syntax.Name: _name,
        syntax.Chain: _chain,
        syntax.Unary: _unary,
        syntax.Conditional: _conditional,
        syntax.Tuple: _tuple,
        syntax.Array: _array,
        syntax.Subscript: _subscript,
        syntax.Attribute: _attribute,
        syntax.Call: _call,
        syntax.Unreadable: _unreadable,
    }
)
