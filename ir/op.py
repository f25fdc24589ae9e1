"""The one record that says everything about an op.

`primals` are an equation's inputs and `result` its output (the tuple of outputs where an op has
several); rules are given the equation's attributes by name.

    jvp(primals, result, tangents, **attrs) -> tangent
        `tangents[i]` is None where input i does not vary (a symbolic zero); None is zero, `Masked`
        a tangent that a mask cuts, `Null(reason)` one that cannot be computed.
    vjp(primals, result, cotangent, **attrs) -> one cotangent an input
        None is zero, `Masked` a cotangent that a mask cuts. `DISCONNECTED` says that the result
        depends on the input only through its type, or not at all; `Null(reason)` that the
        derivative cannot be computed.
    batch(inputs, batched, size, **attrs) -> result
        Inputs with `batched[i]` have a leading axis of length `size`; so has every result.

A jvp rule sees only tangents of float type; a cotangent has the result's dtype, and the cotangent
returned for an input has the input's dtype if that is a float, else the result's dtype.
Rules are dtype-free and build ordinary IR, so derivatives nest to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from gradc.ir.function import Requirement, Value, equation, no_requirements
from gradc.ir.lowering import Lowering
from gradc.ir.record import dataclass
from gradc.ir.span import current_span
from gradc.ir.types import ArrayType


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The cotangent of an input on which the result's values do not depend."""


DISCONNECTED = Disconnected()


@dataclass(frozen=True, slots=True)
class Null:
    """The derivative that cannot be computed, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Masked:
    """The tangent or cotangent `value` where `mask` (bool, same shape) holds, and zero elsewhere.

    What a `where` cuts stays cut: both modes multiply `value` through pointwise rules and apply
    the mask last, so that 0 * inf never makes a NaN of a branch that was not taken.
    """

    mask: Value
    value: Value


Cotangent: TypeAlias = "Value | Masked | Disconnected | Null | None"
Types: TypeAlias = "ArrayType | tuple[ArrayType, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """An operation with its type rule, value, derivatives, batching and code.

    infer(*types, **attrs) -> output type, or tuple of types; raises TypeRuleError.
    evaluate(*arrays, **attrs) -> NumPy array(s); dimensions in attrs arrive as integers.
    requires(*types, **attrs) -> the conditions on sizes that cannot be decided from the types.
    lift(name, inputs) -> values: what a call makes of inputs that are no values (Python numbers).
    partials: of an op applied entry by entry, the partial derivative for each input, of which
    reverse mode builds those that it needs; `vjp` applies all, see `kinds.elementwise`.
    """

    name: str
    infer: Callable[..., Types]
    evaluate: Callable[..., Any]
    jvp: Callable[..., Any]
    vjp: Callable[..., Any]
    batch: Callable[..., Any]
    lower: Lowering
    requires: Callable[..., Iterable[Requirement]] = no_requirements
    lift: Callable[[str, tuple[Any, ...]], tuple[Value, ...]] | None = None
    partials: Sequence[Callable[..., Any]] = ()

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        """Build the equation: the output, or the tuple of outputs where the op has several."""
        values = inputs if self.lift is None else self.lift(self.name, inputs)
        return equation(self, values, attrs, current_span()).result

    def __repr__(self) -> str:
        return f"<op {self.name}>"
