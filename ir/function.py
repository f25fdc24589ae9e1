"""The graph IR: values, the equations that define them, and functions. Pure data.

A value knows the equation that defines it (`owner`), so a graph can be grown by plain expressions
and made into a `Function` by naming its parameters and results. Every array operation on values
is strict: equal types, no broadcasting, no promotion (the front end inserts them). Only a Python
number may stand beside a value in arithmetic; it becomes a constant of the value's type.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gradc.ir.dims import Dim, Shape, names_of
from gradc.ir.record import dataclass
from gradc.ir.span import Span, current_span
from gradc.ir.types import ArrayType, DType

if TYPE_CHECKING:
    from gradc.ir.op import Op


@dataclasses.dataclass(eq=False, slots=True, repr=False, weakref_slot=True)
class Value:
    """One array in a graph: a parameter (no owner) or an output of the equation `owner`."""

    type: ArrayType
    name: str | None = None
    owner: Equation | None = None
    index: int = 0
    span: Span | None = None

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        return self.type.shape

    def __repr__(self) -> str:
        return f"<{self.name or (self.owner.op.name if self.owner else 'parameter')}: {self.type}>"

    def __add__(self, other: Value | float) -> Value:
        return _operate("add", self, other)

    def __radd__(self, other: float) -> Value:
        return _operate("add", other, self)

    def __sub__(self, other: Value | float) -> Value:
        return _operate("sub", self, other)

    def __rsub__(self, other: float) -> Value:
        return _operate("sub", other, self)

    def __mul__(self, other: Value | float) -> Value:
        return _operate("mul", self, other)

    def __rmul__(self, other: float) -> Value:
        return _operate("mul", other, self)

    def __truediv__(self, other: Value | float) -> Value:
        return _operate("div", self, other)

    def __rtruediv__(self, other: float) -> Value:
        return _operate("div", other, self)

    def __neg__(self) -> Value:
        return _operate("neg", self)


@dataclass(eq=False, slots=True, repr=False)
class Equation:
    """`outputs = op(*inputs, **attrs)`. Made by `apply` or `equation`, not changed afterwards.

    `unchanged_by` is a memory of the passes: the tables of rules none of which fires here.
    `attrs` hold hashable data only: numbers, text, dimensions, dtypes, tuples, `ConstantData`, and
    functions (the regions of control flow).
    """

    op: Op
    inputs: tuple[Value, ...]
    attrs: Mapping[str, Any]
    outputs: tuple[Value, ...] = ()
    span: Span | None = None
    unchanged_by: tuple[object, ...] = ()

    @property
    def result(self) -> Value | tuple[Value, ...]:
        """The output, or the tuple of outputs of an op that has several: what rules are given."""
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    def __repr__(self) -> str:
        return f"<{self.op.name} {', '.join(map(repr, self.inputs))}>"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition on sizes that a call must meet: `dim` is zero, or is not negative.

    `why` says it to the caller: "x[5:7] needs n >= 7".
    """

    dim: Dim
    relation: str  # "== 0" or ">= 0"
    why: str

    def holds(self, value: int) -> bool:
        """Whether the condition holds when `dim` has this value."""
        return value == 0 if self.relation == "== 0" else value >= 0


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """Parameters, equations in an order that defines before use, results, conditions on sizes."""

    name: str
    parameters: tuple[Value, ...]
    equations: tuple[Equation, ...]
    results: tuple[Value, ...]
    requires: tuple[Requirement, ...] = ()
    parameter_names: tuple[str, ...] = field(default=())
    result_names: tuple[str, ...] = field(default=())

    @property
    def sizes(self) -> tuple[str, ...]:
        """The size names of the parameters' shapes, in order of first appearance."""
        found: dict[str, None] = {}
        for parameter in self.parameters:
            for dim in parameter.shape:
                found.update(dict.fromkeys(sorted(names_of((dim,)))))
        return tuple(found)


def no_requirements(*types: ArrayType, **attrs: Any) -> Iterable[Requirement]:
    """The conditions on sizes of an op that has none."""
    return ()


def requirements_of(made: Equation) -> Iterable[Requirement]:
    """The conditions on sizes that an equation brings."""
    rule = made.op.requires
    if rule is no_requirements:
        return ()
    return rule(*[value.type for value in made.inputs], **made.attrs)


class UnboundValueError(ValueError):
    """A graph reads a value that is neither a parameter nor computed from the parameters."""

    def __init__(self, value: Value) -> None:
        self.value = value
        where = f" (made at {value.span})" if value.span else ""
        super().__init__(
            f"{value.name or 'an unnamed variable'}: {value.type}{where} is used, but is not "
            "among the inputs; add it to the inputs, or replace it by a constant"
        )


def apply(op: Op, *inputs: Value, **attrs: Any) -> Any:
    """Build the equation `op(*inputs, **attrs)`; its output, or the tuple of its outputs.

    Raises TypeRuleError where the op's type rule refuses the operands.
    """
    return equation(op, inputs, attrs, current_span()).result


def equation(
    op: Op, inputs: Iterable[Value], attrs: Mapping[str, Any], span: Span | None
) -> Equation:
    """Build an equation with new outputs, typed by the op's rule."""
    inputs = tuple(inputs)
    types = op.infer(*map(_type_of, inputs), **attrs)
    made = Equation(op, inputs, attrs, (), span)
    if isinstance(types, tuple):
        made.outputs = tuple([Value(type, None, made, i, span) for i, type in enumerate(types)])
    else:
        made.outputs = (Value(types, None, made, 0, span),)
    return made


_type_of = attrgetter("type")


def parameter(type: ArrayType, name: str | None = None, span: Span | None = None) -> Value:
    """A new value without an owner."""
    return Value(type, name, span=span)


def function(
    name: str,
    parameters: Iterable[Value],
    results: Iterable[Value],
    requires: Iterable[Requirement] = (),
    result_names: Iterable[str] = (),
) -> Function:
    """The function that computes `results` from `parameters`: only the equations it needs.

    A parameter may be any value, also one inside a graph: the graph is cut there. The conditions on
    sizes are `requires` and those of the equations. Raises UnboundValueError for a free value.
    """
    parameters, results = tuple(parameters), tuple(results)
    equations = sorted_equations(results, stop=parameters)
    known = set(parameters)
    conditions = dict.fromkeys(requires)
    for made in equations:
        for value in made.inputs:
            if value.owner is None and value not in known:
                raise UnboundValueError(value)
        for condition in requirements_of(made):
            conditions[condition] = None
    for value in results:
        if value.owner is None and value not in known:
            raise UnboundValueError(value)
    names = tuple(p.name or f"x{i}" for i, p in enumerate(parameters))
    return Function(
        name, parameters, equations, results, tuple(conditions), names, tuple(result_names)
    )


def sorted_equations(results: Iterable[Value], stop: Iterable[Value] = ()) -> tuple[Equation, ...]:
    """The equations that `results` need, inputs before users, in a deterministic order.

    Values in `stop` are taken as given. Iterative, so that depth is no limit.
    """
    given = set(stop)
    return tuple(equations_behind([value for value in results if value not in given], given))


def equations_behind(results: Collection[Value], given: Collection[Value]) -> list[Equation]:
    """The same for `results` that may stand in `given` themselves: they are computed all the same.

    `given` is only looked into, however large it is.
    """
    own = set(results)
    done: set[Equation] = set()
    order: list[Equation] = []
    for result in results:
        if result.owner is None or result.owner in done:
            continue
        stack = [(result.owner, iter(result.owner.inputs))]
        while stack:
            current, inputs = stack[-1]
            for value in inputs:
                owner = value.owner
                if owner is None or owner in done:
                    continue
                if value not in given or value in own:
                    stack.append((owner, iter(owner.inputs)))
                    break
            else:
                stack.pop()
                done.add(current)
                order.append(current)
    return order


def _operate(name: str, *operands: Value | float) -> Value:
    result: Value = getattr(_arithmetic(), name)(*operands)
    return result


@cache
def _arithmetic() -> Any:
    """The arithmetic ops. Ops are built on values, so values reach them only when used."""
    from gradc.ir.ops import arithmetic

    return arithmetic
