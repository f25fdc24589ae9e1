"""Loops that an op writes itself: a recurrence along an axis, a sort."""

from __future__ import annotations

from gradc.codegen.reader import Reader
from gradc.ir.function import Equation
from gradc.ir.lowering import Result, Routine


def lower_routine(reader: Reader, equation: Equation, vector_bits: int) -> None:
    """The op's own loops; its operands are read wherever they are."""
    rule = equation.op.lower
    assert isinstance(rule, Routine)
    (result,) = equation.outputs
    reader.begin(())
    operands = [reader.operand(value) for value in equation.inputs]
    store = Result(reader.buffers[result], reader.k, vector_bits)
    rule.write(reader.k, operands, store, **equation.attrs)
