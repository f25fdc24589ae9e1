"""Common subexpressions: of equations that compute the same, or its negative, one is kept."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import field

from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import neg
from gradc.ir.record import dataclass
from gradc.ir.span import at
from gradc.ir.text import print_function
from gradc.ir.transforms.rebuild import rebuild_equation, with_results
from gradc.ir.types import ConstantData

_COMMUTATIVE = frozenset(
    {"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or", "logical_xor"}
)
_MIRRORED = {"gt": "lt", "ge": "le"}

_SUMS = frozenset({"add", "sub"})
_LINEAR = frozenset({"mul", "contract", "sum"})  # in each operand
_MOVEMENTS = frozenset({"broadcast", "transpose", "reshape", "slice"})


def share_common_subexpressions(fn: Function) -> Function:
    """`fn` in which no two equations have the same op, inputs and attributes.

    Operands of a commutative op may be swapped; a > b is b < a. The first of equals is kept. Of
    floats that differ in sign only, such as what is computed of b - a and of a - b, the second is
    the negative of the first (up to the sign of a zero).
    """
    kept = _Kept()
    values: dict[Value, Value] = {}
    for made in fn.equations:
        inputs: Sequence[Value] = made.inputs
        if not values.keys().isdisjoint(inputs):
            inputs = [values.get(value, value) for value in inputs]
        first = kept.entered(made, inputs)
        if first is not made:
            values.update(zip(made.outputs, first.outputs, strict=True))
    if not values:
        return fn
    return with_results(fn, [values.get(result, result) for result in fn.results])


@dataclass(frozen=True, slots=True)
class _Kept:
    """Equations by what they compute, up to the sign that stands beside them.

    `negatives`: values with what they are the negatives of, which are not among them.
    """

    found: dict[Hashable, tuple[Equation, int]] = field(default_factory=dict)
    negatives: dict[Value, Value] = field(default_factory=dict)

    def entered(self, made: Equation, inputs: Sequence[Value]) -> Equation:
        """The equation that is kept for one that has these inputs."""
        key, sign = self._signed(made, inputs)
        first, other = self.found.get(key, (None, sign))
        opposite = None
        if first is not None and sign != other:
            if not self._is_cheap(made, inputs):
                return self._negated(first, made)
            opposite, key = first, (key, sign)
            first, _ = self.found.get(key, (None, sign))
        if first is None:
            first = made if inputs is made.inputs else rebuild_equation(made, inputs)
            self.found[key] = first, sign
            if opposite is not None:
                self.negatives[first.outputs[0]] = opposite.outputs[0]
            elif made.op is neg and inputs[0] not in self.negatives:
                self.negatives[first.outputs[0]] = inputs[0]
        return first

    def _signed(self, made: Equation, inputs: Sequence[Value]) -> tuple[Hashable, int]:
        """What an equation computes, without the signs of its operands, and the sign of that."""
        name = made.op.name
        if name == "constant":
            return _signed_number(made)
        if name == "sub" or not self.negatives.keys().isdisjoint(inputs):
            if name in _SUMS and made.outputs[0].dtype.is_float:
                return self._signed_sum(name, *inputs)
            if name in _LINEAR or name in _MOVEMENTS:
                plain = [self.negatives.get(x, x) for x in inputs]
                flips = sum(x is not y for x, y in zip(plain, inputs, strict=True))
                return computation(made, plain), -1 if flips % 2 else 1
        return computation(made, inputs), 1

    def _signed_sum(self, name: str, x: Value, y: Value) -> tuple[Hashable, int]:
        a, b = self.negatives.get(x, x), self.negatives.get(y, y)
        first, second = (1 if a is x else -1), (1 if b is y else -1)
        if name == "sub":
            second = -second
        if id(a) > id(b):
            a, b, first, second = b, a, second, first
        return ("add" if first == second else "sub", a, b), first

    def _is_cheap(self, made: Equation, inputs: Sequence[Value]) -> bool:
        """Whether to compute an equation costs no more than the negative of something."""
        if made.op.name == "sub":
            return self.negatives.keys().isdisjoint(inputs)
        return made.op.name in _MOVEMENTS or made.op.name == "constant"

    def _negated(self, first: Equation, made: Equation) -> Equation:
        with at(made.span):
            negative = (-first.outputs[0]).owner
        assert negative is not None
        return self.entered(negative, negative.inputs)


def _signed_number(made: Equation) -> tuple[Hashable, int]:
    """What tells a constant from others, for a scalar up to its sign, and that sign."""
    held: ConstantData = made.attrs["value"]
    number = 0 if held.type.shape or not held.type.dtype.is_float else held.number
    if number == 0 or number != number:
        return computation(made, ()), 1
    return ("number", held.type.dtype, abs(number)), 1 if number > 0 else -1


def _normal_contraction(made: Equation, operands: list[Value]) -> tuple[Hashable, ...]:
    """Equal for contractions that differ in the order of operands and the names of labels."""
    out = made.attrs["out"]
    places = {label: place for place, label in enumerate(out)}
    sides = [(operands[0], made.attrs["lhs"]), (operands[1], made.attrs["rhs"])]
    sides.sort(key=lambda side: (id(side[0]), [places.get(label, -1) for label in side[1]]))
    number: dict[int, int] = {}
    for label in (*sides[0][1], *sides[1][1]):
        number.setdefault(label, len(number))
    parts = (sides[0][1], sides[1][1], out)
    return sides[0][0], sides[1][0], *(tuple([number[x] for x in part]) for part in parts)


def computation(made: Equation, inputs: Sequence[Value]) -> Hashable:
    """Equal for equations that compute the same."""
    name = made.op.name
    if not made.attrs:
        if name in _COMMUTATIVE:
            a, b = inputs
            return (name, a, b) if id(a) <= id(b) else (name, b, a)
        if name in _MIRRORED:
            return _MIRRORED[name], *inputs[::-1]
        return name, *inputs
    operands = list(inputs)
    if name == "contract":
        return name, *_normal_contraction(made, operands)
    attrs = tuple(
        (name, print_function(part) if isinstance(part, Function) else part)
        for name, part in sorted(made.attrs.items())
    )
    # What is equal and not the same: 1, 1.0 and True.
    kinds = tuple([type(value) for _, value in attrs if isinstance(value, int | float)])
    return name, tuple(operands), attrs, kinds
