"""The parser of the text form; its grammar stands in `text.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from gradc.ir.dims import Dim, SizeExpr, parse_dim
from gradc.ir.function import (
    Equation,
    Function,
    Requirement,
    Value,
    equation,
    parameter,
    requirements_of,
)
from gradc.ir.op import Op
from gradc.ir.ops.table import OPS_BY_NAME
from gradc.ir.record import dataclass
from gradc.ir.span import Span
from gradc.ir.text_numbers import TextFormError, parse_number
from gradc.ir.types import DTYPES_BY_NAME, ArrayType, ConstantData, DType, TypeRuleError

T = TypeVar("T")

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|--[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<float>\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|nan:[0-9a-f]+)
      | (?P<int>\d+)
      | (?P<local>%\d+)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>\.\.\.|//|==|>=|[-+*(){}\[\],:=@])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int  # offset in the text


def parse(text: str, ops: Mapping[str, Op] | None = None) -> Function:
    """The function that `text` describes, its equations as they stand there.

    Raises TextFormError, with line and column, for what the grammar or an op's type rule refuses.
    """
    parser = _Parser(text, OPS_BY_NAME if ops is None else ops)
    fn = parser.function()
    parser.expect_end()
    return fn


class _Parser:
    """A recursive descent over tokens; it descends only into tuples and regions."""

    def __init__(self, text: str, ops: Mapping[str, Op]) -> None:
        self._text, self._ops = text, ops
        self._tokens = self._scan()
        self._position = 0
        self._depth = 0

    # --- functions ---------------------------------------------------------------------------

    def function(self) -> Function:
        self._take("fn")
        name = self._take_kind("name", "the function's name").text
        self._take("(")
        values: dict[str, Value] = {}
        for parameter_name, value in self._list(")", self._parameter):
            if parameter_name in values:
                raise self._error(f"the parameter {parameter_name} stands here twice")
            values[parameter_name] = value
        parameters = tuple(values.values())
        parameter_names = tuple(values)
        self._take("{")
        requires = self._conditions()
        equations: list[Equation] = []
        while not self._next_is("return"):
            equations.append(self._equation(values))
        result_names, results = self._results(values)
        for made in equations:
            requires.update(dict.fromkeys(requirements_of(made)))
        return Function(
            name,
            parameters,
            tuple(equations),
            results,
            tuple(requires),
            parameter_names,
            result_names,
        )

    def _parameter(self) -> tuple[str, Value]:
        name = self._take_kind("name", "a parameter's name").text
        self._take(":")
        return name, parameter(self._type(), name)

    def _conditions(self) -> dict[Requirement, None]:
        found: dict[Requirement, None] = {}
        while self._next_is("require"):
            self._take("require")
            dim = self._dim()
            relation = self._take_any("==", ">=").text
            zero = self._take_kind("int", "0")
            if zero.text != "0":
                raise self._error("a condition compares with 0", zero)
            why = json.loads(self._take_kind("string", "the reason, in quotes").text)
            found[Requirement(dim, f"{relation} 0", why)] = None
        return found

    def _results(self, values: Mapping[str, Value]) -> tuple[tuple[str, ...], tuple[Value, ...]]:
        start = self._take("return")
        pairs = self._list("}", lambda: self._result(values))
        names = tuple(name for name, _ in pairs if name is not None)
        if names and len(names) != len(pairs):
            raise self._error("either all results have names or none has", start)
        return names, tuple(value for _, value in pairs)

    def _result(self, values: Mapping[str, Value]) -> tuple[str | None, Value]:
        name = None
        if self._peek().kind == "name" and self._peek(1).text == "=":
            name = self._advance().text
            self._take("=")
        return name, self._value(values)

    # --- equations ---------------------------------------------------------------------------

    def _equation(self, values: dict[str, Value]) -> Equation:
        targets: list[tuple[_Token, ArrayType | None]] = []
        while self._peek().kind == "local":
            target = self._advance()
            if target.text in values:
                raise self._error(f"{target.text} is defined a second time", target)
            targets.append((target, self._target_type()))
            self._take("=" if not self._next_is(",") else ",")
        name = self._take_kind("name", "an op's name or return")
        if name.text not in self._ops:
            raise self._error(f"there is no op {name.text}", name)
        inputs, attrs = self._items(values)
        try:
            made = equation(self._ops[name.text], inputs, attrs, self._span())
        except (TypeRuleError, TypeError, ValueError) as error:
            raise self._error(str(error), name) from error
        if len(targets) != len(made.outputs):
            raise self._error(
                f"{name.text} has {len(made.outputs)} results, not {len(targets)}", name
            )
        for (target, wanted), output in zip(targets, made.outputs, strict=True):
            if wanted is not None and wanted != output.type:
                message = f"{target.text} has the type {output.type}, not {wanted}"
                raise self._error(message, target)
            values[target.text] = output
        return made

    def _target_type(self) -> ArrayType | None:
        if not self._next_is(":"):
            return None
        self._take(":")
        return self._type()

    def _items(self, values: Mapping[str, Value]) -> tuple[list[Value], dict[str, Any]]:
        inputs: list[Value] = []
        attrs: dict[str, Any] = {}
        self._take("(")
        for key, item in self._list(")", lambda: self._item(values)):
            if key is None:
                inputs.append(item)
            elif key in attrs:
                raise self._error(f"the attribute {key} stands here twice")
            else:
                attrs[key] = item
        return inputs, attrs

    def _item(self, values: Mapping[str, Value]) -> tuple[str | None, Any]:
        if self._peek().kind == "name" and self._peek(1).text == "=":
            key = self._advance().text
            self._take("=")
            return key, self._attribute()
        return None, self._value(values)

    def _value(self, values: Mapping[str, Value]) -> Value:
        token = self._advance()
        if token.kind not in ("local", "name"):
            raise self._error(f"expected a value, found {_shown(token)}", token)
        if token.text not in values:
            raise self._error(f"{token.text} is not defined here", token)
        return values[token.text]

    def _span(self) -> Span | None:
        if not self._next_is("@"):
            return None
        self._take("@")
        file = json.loads(self._take_kind("string", "a file, in quotes").text)
        numbers = [int(self._take_kind("int", "a line").text)]
        while self._peek().kind == "int" and len(numbers) < 4:
            numbers.append(int(self._advance().text))
        return Span(file, *numbers)

    # --- types and attributes ----------------------------------------------------------------

    def _type(self) -> ArrayType:
        dtype = self._dtype()
        if not self._next_is("["):
            return ArrayType(dtype)
        self._take("[")
        return ArrayType(dtype, tuple(self._list("]", self._dim)))

    def _dtype(self) -> DType:
        token = self._take_kind("name", "a dtype")
        if token.text not in DTYPES_BY_NAME:
            have = ", ".join(DTYPES_BY_NAME)
            raise self._error(f"{token.text} is no dtype; those are {have}", token)
        return DTYPES_BY_NAME[token.text]

    def _attribute(self) -> Any:
        token = self._peek()
        if token.text == "[":
            return self._tuple()
        if token.kind == "string":
            return json.loads(self._advance().text)
        if token.text in ("true", "false", "none"):
            return {"true": True, "false": False, "none": None}[self._advance().text]
        if token.text == "fn":
            return self._nested(self.function)
        if token.text in DTYPES_BY_NAME:
            return self._typed()
        number = self._peek(1) if token.text == "-" else token
        if number.kind == "float" or number.text in ("nan", "inf"):
            return float(self._number(DTYPES_BY_NAME["f64"]))
        return self._dim()

    def _tuple(self) -> tuple[Any, ...]:
        self._take("[")
        return tuple(self._nested(lambda: self._list("]", self._attribute)))

    def _nested(self, read: Callable[[], T]) -> T:
        if self._depth >= 100:
            raise self._error("tuples and regions are nested more than 100 deep")
        self._depth += 1
        try:
            return read()
        finally:
            self._depth -= 1

    def _typed(self) -> DType | ArrayType | ConstantData:
        """What begins with a dtype: the dtype, an array type or a constant."""
        start = self._peek()
        if self._peek(1).text != "[":
            dtype = self._dtype()
            if self._next_is(",") or self._next_is(")") or self._next_is("]"):
                return dtype
            return self._constant(ArrayType(dtype), [self._number(dtype)], start)
        type = self._type()
        if not self._next_is("{"):
            return type
        self._take("{")
        elements = self._list("}", lambda: self._element(type.dtype))
        return self._constant(type, elements, start)

    def _element(self, dtype: DType) -> Any:
        if self._next_is("..."):
            self._take("...")
            return ...
        return self._number(dtype)

    def _constant(self, type: ArrayType, elements: list[Any], start: _Token) -> ConstantData:
        if not type.is_static or not isinstance(type.size, int):
            raise self._error(f"a constant of type {type} has no known size", start)
        if len(elements) == 2 and elements[1] is ...:
            elements = [elements[0]] * type.size
        if len(elements) != type.size or any(element is ... for element in elements):
            raise self._error(f"{type} has {type.size} elements, not {len(elements)}", start)
        return ConstantData(type, np.array(elements, dtype=type.dtype.numpy).tobytes())

    def _number(self, dtype: DType) -> Any:
        sign = self._advance().text if self._next_is("-") else ""
        token = self._advance()
        try:
            return parse_number(sign + token.text, dtype)
        except (ValueError, KeyError) as error:
            message = f"expected a number of type {dtype}, found {_shown(token)}"
            raise self._error(message, token) from error

    def _dim(self) -> Dim:
        """A dimension: the tokens up to the end of the expression, read by `parse_dim`."""
        start, depth = self._peek(), 0
        parts: list[str] = []
        while depth or self._continues_dim(parts):
            token = self._advance()
            if token.kind not in ("int", "name", "mark"):
                raise self._error(f"expected a dimension, found {_shown(token)}", token)
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            parts.append(token.text)
        try:
            dim = parse_dim(" ".join(parts))
        except ValueError as error:
            raise self._error(f"expected a dimension or attribute: {error}", start) from error
        return dim if isinstance(dim, SizeExpr) else int(dim)

    def _continues_dim(self, parts: list[str]) -> bool:
        """Whether the next token belongs to the dimension that `parts` begin."""
        token = self._peek()
        operand_wanted = not parts or parts[-1] in ("+", "-", "*", "//", "(")
        if operand_wanted:
            return token.kind in ("int", "name") or token.text in ("(", "-")
        return token.text in ("+", "-", "*", "//")

    # --- tokens ------------------------------------------------------------------------------

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        for match in _TOKEN.finditer(self._text):
            if match.start() != position:
                break
            position = match.end()
            if match.lastgroup != "space":
                tokens.append(_Token(str(match.lastgroup), match.group(), match.start()))
        if position < len(self._text):
            wrong = _Token("end", self._text[position], position)
            raise self._error(f"{wrong.text!r} does not belong here", wrong)
        tokens.append(_Token("end", "", len(self._text)))
        return tokens

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._position + ahead, len(self._tokens) - 1)]

    def _advance(self) -> _Token:
        token = self._tokens[self._position]
        if token.kind != "end":
            self._position += 1
        return token

    def _next_is(self, text: str) -> bool:
        token = self._tokens[self._position]
        return token.text == text and token.kind in ("mark", "name")

    def _take(self, text: str) -> _Token:
        return self._take_any(text)

    def _take_any(self, *texts: str) -> _Token:
        if not any(map(self._next_is, texts)):
            wanted = " or ".join(texts)
            raise self._error(f"expected {wanted}, found {_shown(self._peek())}")
        return self._advance()

    def _take_kind(self, kind: str, meaning: str) -> _Token:
        if self._peek().kind != kind:
            raise self._error(f"expected {meaning}, found {_shown(self._peek())}")
        return self._advance()

    def _list(self, end: str, read: Callable[[], T]) -> list[T]:
        """Items separated by commas, and the mark that ends them."""
        found: list[T] = []
        while not self._next_is(end):
            found.append(read())
            if not self._next_is(end):
                self._take(",")
        self._take(end)
        return found

    def expect_end(self) -> None:
        if self._peek().kind != "end":
            raise self._error(f"expected the end of the text, found {_shown(self._peek())}")

    def _error(self, message: str, token: _Token | None = None) -> TextFormError:
        start = (token or self._peek()).start
        line = self._text.count("\n", 0, start) + 1
        column = start - (self._text.rfind("\n", 0, start) + 1) + 1
        return TextFormError(f"line {line}, column {column}: {message}")


def _shown(token: _Token) -> str:
    return token.text if token.kind != "end" else "the end"
