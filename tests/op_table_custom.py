"""Rows for `custom`: x * exp(y) by a region, with rules as regions, one of them or none."""

from __future__ import annotations

from typing import Any

import numpy as np
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.ops.custom import VALUE, custom
from gradc.ir.ops.elementwise import exp
from gradc.ir.types import f64
from op_case import Case, Operand

TYPE = f64["n", 3]


def inputs() -> list[Value]:
    return [parameter(TYPE, "x"), parameter(TYPE, "y")]


def value() -> Function:
    x, y = inputs()
    return function("f", [x, y], [x * exp(y)])


def pullback() -> Function:
    x, y, result, c = *inputs(), parameter(TYPE, "result"), parameter(TYPE, "c")
    return function("f_pullback", [x, y, result, c], [c * exp(y), c * result])


def pushforward() -> Function:
    x, y, result = *inputs(), parameter(TYPE, "result")
    dx, dy = parameter(TYPE, "dx"), parameter(TYPE, "dy")
    return function("f_pushforward", [x, y, result, dx, dy], [dx * exp(y) + result * dy])


def _row(note: str, forward: Function | None, reverse: Function | None) -> Case:
    answers = (VALUE, VALUE) if reverse else ()
    rules = {"pushforward": forward, "pullback": reverse, "answers": answers}
    return Case(
        custom,
        (Operand(("n", 3), dtype=f64), Operand(("n", 3), dtype=f64)),
        _expected,
        attrs={"name": "f", "value": value(), **rules},
        note=note,
    )


def _expected(x: Any, y: Any, **attrs: Any) -> Any:
    return x * np.exp(y)


CASES = (
    _row("both", pushforward(), pullback()),
    _row("pullback", None, pullback()),
    _row("pushforward", pushforward(), None),
    _row("none", None, None),
)
