"""The text form of functions: `print_function` and `parse_function` are inverse to each other.

    function    = "fn" NAME "(" [parameter {"," parameter}] ")"
                  "{" {condition} {equation} results "}"
    parameter   = NAME ":" type
    condition   = "require" dim ("== 0" | ">= 0") STRING
    equation    = [target {"," target} "="] NAME "(" [item {"," item}] ")" [span]
    target      = LOCAL [":" type]                     -- the type is checked against the op's rule
    item        = value | NAME "=" attribute
    value       = LOCAL | NAME                         -- LOCAL is % and digits, NAME a parameter
    results     = "return" [result {"," result}]
    result      = [NAME "="] value
    type        = DTYPE ["[" [dim {"," dim}] "]"]      -- a scalar is f64, as an attribute f64[]
    attribute   = dim | FLOAT | STRING | "true" | "false" | "none" | DTYPE | type | constant | tuple
                | function
    tuple       = "[" [attribute {"," attribute}] "]"
    constant    = DTYPE NUMBER | DTYPE "[" dims "]" "{" [NUMBER {"," NUMBER}] ["..."] "}"
    span        = "@" STRING LINE [COLUMN [END_LINE END_COLUMN]]
    dim         = integers and size names with + - * // and parentheses (see dims.py)

Numbers print as the shortest text that gives the same bits back; nan and inf are words, a nan with
other bits than the usual ones is written nan:HEX. "{1.0, ...}" repeats the one element. A size with
the name of a word above is written "1*f64". `--` starts a comment that ends with the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gradc.ir.dims import SizeExpr
from gradc.ir.function import Equation, Function, Value
from gradc.ir.op import Op
from gradc.ir.span import Span
from gradc.ir.text_numbers import TextFormError, format_number, quote
from gradc.ir.types import DTYPES_BY_NAME, ArrayType, ConstantData, DType

__all__ = ["TextFormError", "parse_function", "print_function"]

_RESERVED = frozenset({*DTYPES_BY_NAME, "true", "false", "none", "nan", "inf", "fn"})


def parse_function(text: str, ops: Mapping[str, Op] | None = None) -> Function:
    """The function that `text` describes, its equations as they stand there; `ops` by their names.

    Raises TextFormError, with line and column, for what the grammar or an op's type rule refuses.
    """
    from gradc.ir.text_parser import parse  # a compiler prints texts, but reads none

    return parse(text, ops)


def print_function(fn: Function, *, spans: bool = False, indent: str = "") -> str:
    """The text of `fn`: values numbered in order (%0, %1), parameters by name; ends with a newline.

    `spans` adds to each equation where it comes from in the user's source.
    """
    names = dict(zip(fn.parameters, _parameter_names(fn), strict=True))
    parameters = ", ".join(f"{names[p]}: {p.type}" for p in fn.parameters)
    inner = indent + "  "
    lines = [f"{indent}fn {_identifier(fn.name)}({parameters}) {{"]
    for condition in fn.requires:
        why = quote(condition.why)
        lines.append(f"{inner}require {condition.dim} {condition.relation} {why}")
    for made in fn.equations:
        for output in made.outputs:
            names[output] = f"%{len(names) - len(fn.parameters)}"
        lines.append(inner + _equation(made, names, inner) + (_span(made.span) if spans else ""))
    results = [names[result] for result in fn.results]
    if fn.result_names:
        results = [f"{_identifier(n)} = {r}" for n, r in zip(fn.result_names, results, strict=True)]
    lines.append(f"{inner}return {', '.join(results)}".rstrip())
    lines.append(f"{indent}}}\n")
    return "\n".join(lines)


def _parameter_names(fn: Function) -> list[str]:
    """The names of the parameters, made identifiers and distinct."""
    found: dict[str, None] = {}
    for name in map(_identifier, fn.parameter_names):
        while name in found:
            name += "_"
        found[name] = None
    return list(found)


def _identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if name and not name[0].isdigit() else f"_{name}"


def _equation(made: Equation, names: Mapping[Value, str], indent: str) -> str:
    targets = ", ".join(f"{names[output]}: {output.type}" for output in made.outputs)
    inputs = (names.get(value, "%undefined") for value in made.inputs)
    attrs = (f"{key}={_attribute(value, indent)}" for key, value in made.attrs.items())
    return f"{targets} = {made.op.name}({', '.join((*inputs, *attrs))})"


def _attribute(value: Any, indent: str) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_attribute(part, indent) for part in value)}]"
    if isinstance(value, Function):
        return print_function(value, indent=indent + "  ").strip()
    if isinstance(value, ConstantData):
        return _constant(value)
    if isinstance(value, ArrayType):
        return str(value) if value.shape else f"{value}[]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, SizeExpr):
        text = str(value)
        return f"1*{text}" if text in _RESERVED else text
    if isinstance(value, int | DType):
        return str(value)
    raise TypeError(f"an attribute of type {type(value).__name__} has no text form: {value!r}")


def _constant(value: ConstantData) -> str:
    elements = value.array.reshape(-1)
    itemsize = value.type.dtype.itemsize
    if not value.type.shape:
        return f"{value.type.dtype} {format_number(elements[0])}"
    if len(elements) > 1 and value.data == value.data[:itemsize] * len(elements):
        return f"{value.type} {{{format_number(elements[0])}, ...}}"
    return f"{value.type} {{{_listed(elements)}}}"


def _listed(elements: Iterable[Any]) -> str:
    return ", ".join(map(format_number, elements))


def _span(span: Span | None) -> str:
    if span is None:
        return ""
    numbers = [span.line, span.column, span.end_line, span.end_column]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return f" @ {quote(span.file)} {' '.join(map(str, numbers))}"
