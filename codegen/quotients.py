"""Quotients by multiplication, where one reciprocal serves many: x / d from x, d and 1 / d.

These are quotients by numbers, by what a loop is given from outside, and beside a 1 / d in the same
loop. `exact_quotient` rounds as the division does (`math_quotient.py`): what is done here changes
no result. It is seven instructions in place of one: where a loop is so long that the unit which
divides is done before the others are, its quotients stay divisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from gradc.codegen.machine import RATE, costs_of_all, divider_cycles
from gradc.ir.loops import Finish, For, If, Instruction, MatMul, Ref, Statement, Store
from gradc.ir.types import DType

_FEW = 8  # quotients that stay divisions: the one for the reciprocal would not pay
_LONGER = 6  # instructions more than a division


def divide_by_reciprocals(statements: Iterable[Statement]) -> list[Statement]:
    """The statements of a kernel, in which many divisions by the same are one."""
    return _Rewriter().block(statements, 1)


class _Rewriter:
    """`blocks` are those around the statement that is rewritten, outermost first, as they grow."""

    def __init__(self) -> None:
        self.blocks: list[list[Statement]] = []
        self.trips: list[float] = []  # of the loop whose body a block is; infinite where unknown
        self.divides: list[bool] = []  # whether the quotients of a block stay divisions
        self.numbers: dict[Ref, float] = {}
        self.reciprocals: dict[Ref, Ref] = {}

    def block(self, statements: Iterable[Statement], trips: float) -> list[Statement]:
        self.blocks.append([])
        self.trips.append(trips)
        given = list(statements)
        self.divides.append(self.hides_divisions(given))
        if math.prod(self.trips) >= _FEW:
            given = _reciprocals_first(given, self.numbers)
        for statement in given:
            self.blocks[-1].append(self.statement(statement))
        self.trips.pop()
        self.divides.pop()
        return self.blocks.pop()

    def statement(self, statement: Statement) -> Statement:
        match statement:
            case Instruction(op="const"):
                self.numbers[statement.result] = cast(float, statement.value)
            case Instruction(op="div"):
                return self.quotient(statement)
            case For():
                return replace(statement, body=self.block(statement.body, self.trips_of(statement)))
            case If():
                return replace(statement, body=self.block(statement.body, 1))
            case MatMul(finish=Finish() as finish):
                body = divide_by_reciprocals(finish.body)
                return replace(statement, finish=replace(finish, body=body))
        return statement

    def trips_of(self, loop: For) -> float:
        start, stop = self.numbers.get(loop.start), self.numbers.get(loop.stop)
        return math.inf if start is None or stop is None else -(-(stop - start) // loop.step)

    def quotient(self, division: Instruction) -> Instruction:
        x, d = division.operands
        if self.numbers.get(x) == 1:
            self.reciprocals[d] = division.result
            return division
        reciprocal = None if self.divides[-1] else self.reciprocal(d)
        if reciprocal is None:
            return division
        return Instruction(division.result, "exact_quotient", (x, d, reciprocal))

    def hides_divisions(self, body: Iterable[Statement]) -> bool:
        """Whether divisions take no longer than what is computed beside them, if all stay so."""
        inside = list(_inside(body))
        made = [i for i in inside if isinstance(i, Instruction)]
        quotients = [i for i in made if i.op == "div" and self.numbers.get(i.operands[0]) != 1]
        if not quotients:
            return False
        cycles = list(map(divider_cycles, made))
        busy, others = sum(cycles), len(inside) - len(made)
        costs = costs_of_all(made)
        others += sum(1 if c else costs[i.result][0] for i, c in zip(made, cycles, strict=True))
        left = busy - sum(map(divider_cycles, quotients))
        return max(busy, others / RATE) <= max(left, (others + _LONGER * len(quotients)) / RATE)

    def reciprocal(self, d: Ref) -> Ref | None:
        """1 / d, if it is known, or a number, or serves enough quotients."""
        if d not in self.reciprocals:
            if d in self.numbers:
                number = _reciprocal_of(self.numbers[d], d.dtype)
                if number is None:
                    return None
                self.reciprocals[d] = self.const(number, d.dtype)
            elif math.prod(self.trips[d.depth + 1 :]) >= _FEW:
                made = Instruction(Ref(d.dtype, d.depth), "div", (self.const(1.0, d.dtype), d))
                self.blocks[d.depth].append(made)
                self.reciprocals[d] = made.result
        return self.reciprocals.get(d)

    def const(self, number: float, dtype: DType) -> Ref:
        made = Instruction(Ref(dtype), "const", value=number)
        self.blocks[0].append(made)
        return made.result


def _inside(statements: Iterable[Statement]) -> Iterator[Instruction | Store]:
    """The instructions and stores of a block, those of the loops in it once."""
    for statement in statements:
        if isinstance(statement, Instruction):
            yield statement
        elif isinstance(statement, For | If):
            yield from _inside(statement.body)
        elif isinstance(statement, Store):
            yield statement


def _reciprocal_of(number: float, dtype: DType) -> float | None:
    """1 / number, rounded to the dtype, if it is a normal number."""
    limits, one = np.finfo(dtype.numpy), dtype.numpy.type(1)
    if not float(limits.tiny) <= abs(number) <= 1 / float(limits.tiny):
        return None
    return float(one / dtype.numpy.type(number))


def _reciprocals_first(
    statements: Sequence[Statement], numbers: Mapping[Ref, float]
) -> list[Statement]:
    """The same, where each 1 / d stands before the quotients x / d."""
    reciprocals = {
        made.operands[1]: made
        for made in statements
        if isinstance(made, Instruction) and made.op == "div" and numbers.get(made.operands[0]) == 1
    }
    moved: set[Statement] = set()
    ordered: list[Statement] = []
    for made in statements:
        if isinstance(made, Instruction) and made.op == "div":
            first = reciprocals.get(made.operands[1])
            if first is not None and first not in moved:
                moved.add(first)
                ordered.append(first)
        if made not in moved:
            ordered.append(made)
    return ordered
