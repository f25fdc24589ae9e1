"""Why a gradient is zero, disconnected, or cannot be computed: where each path from x ends.

The graph is walked from x towards the cost. Each equation's reverse rule is asked, with a stand-in
for the cotangent, what it does with each input: it passes a gradient on, says zero, says that it is
disconnected, or that the derivative cannot be computed. Every answer but the first ends a path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType
from typing import Any

from gradc.driver import CompiledFunction
from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import names_of
from gradc.ir.function import Equation, Function, Value, parameter, sorted_equations
from gradc.ir.op import Cotangent, Disconnected, Null
from gradc.ir.ops.external import called
from gradc.ir.record import dataclass
from gradc.ir.span import Span
from gradc.tensor.variable import Tensor

_STEPS = "its derivative is zero wherever it has one"
_INDICES = ("argmax", "argmin", "argsort", "orders")
_NO_FLOAT = MappingProxyType(
    {
        **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan"), "a comparison is no number"),
        **dict.fromkeys(_INDICES, "an index does not vary with the entries"),
        "cast": "a cast to an integer or a boolean does not vary",
    }
)
_ZERO = MappingProxyType(
    {
        **dict.fromkeys(("floor", "ceil", "sign", "floor_divide"), _STEPS),
        **dict.fromkeys(("take", "scatter_add", "scatter_set"), "it is used as an index"),
        "zero_grad": "zero_grad makes the gradient zero",
        "where": "it is the condition, which does not vary",
    }
)
_LONGEST = 12  # steps of a path that are shown


@dataclass(frozen=True, slots=True)
class Reason:
    """Where a path ends: `kind` is "zero", "disconnected" or "null"."""

    kind: str
    op: str
    why: str
    span: Span | None
    path: tuple[str, ...]  # the names of variables and ops from x on

    def __str__(self) -> str:
        steps = self.path
        if len(steps) > _LONGEST:
            steps = (*steps[:4], f"({len(steps) - 8} more)", *steps[-4:])
        place = f"{self.span}: " if self.span else ""
        return f"{place}{self.op}: {self.why} ({' -> '.join(steps)})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the gradient of a cost with respect to `variable` is by the structure of the graph.

    `verdict`: "not zero" (a path carries a gradient: then only numbers can make it zero), "zero"
    (connected; all paths end), "disconnected" or "null" (it cannot be computed).
    """

    variable: str
    verdict: str
    reasons: tuple[Reason, ...]
    path: tuple[str, ...] = ()  # one that carries a gradient

    def __str__(self) -> str:
        lines = [f"d cost / d {self.variable}: {_MEANING[self.verdict]}"]
        if self.path:
            lines.append(f"  it flows: {' -> '.join(self.path[:_LONGEST])}")
        return "\n".join([*lines, *(f"  {reason}" for reason in self.reasons)])


_MEANING = MappingProxyType(
    {
        "not zero": "not zero by structure; paths that end on the way are listed",
        "zero": "zero, because every path ends",
        "disconnected": "disconnected: no path carries a gradient, or a zero",
        "null": "cannot be computed",
    }
)


def why_zero(cost: Any, x: Any, consider_constant: Iterable[Tensor] | None = None) -> Explanation:
    """Why the gradient of `cost` with respect to `x` is zero: where the paths between them end.

    cost and x are variables of a graph; or cost a gradc function and x the name of a parameter.
    """
    if isinstance(cost, CompiledFunction | Function):
        fn = cost.ir if isinstance(cost, CompiledFunction) else cost
        return explain(fn.results, _parameter(fn, x), name=str(x))
    for what, given in (("cost", cost), ("x", x)):
        if not isinstance(given, Tensor):
            raise GradcTypeError(f"why_zero: {what} is a symbolic variable, not {given!r}")
    if isinstance(consider_constant, Tensor):
        raise GradcTypeError(
            f"why_zero: consider_constant is a list of variables, not {consider_constant!r}"
        )
    held = [constant.value for constant in consider_constant or ()]
    return explain([cost.value], x.value, held)


def explain(
    outputs: Sequence[Value], x: Value, stop: Collection[Value] = (), name: str | None = None
) -> Explanation:
    """`why_zero` of values of the IR."""
    label = name or x.name or "x"
    equations = sorted_equations(outputs)
    came_from: dict[Value, tuple[Value, Equation] | None] = {x: None}
    reasons: list[Reason] = []
    for made in equations:
        alive = [value in came_from for value in made.inputs]
        if not any(alive):
            continue
        answers = _answers(made)
        for value, lives, answer in zip(made.inputs, alive, answers, strict=True):
            if not lives:
                continue
            end = _end(made, value, answer)
            if end is None and made.outputs[0] in stop and made.outputs[0] is not x:
                end = ("disconnected", "it is held constant")
            if end is not None:
                path = (*_path(came_from, value, label), called(made))
                reasons.append(Reason(end[0], called(made), end[1], made.span, path))
                continue
            for output in made.outputs:
                came_from.setdefault(output, (value, made))
    reached = next((output for output in outputs if output in came_from), None)
    if reached is None and not reasons:
        reasons.append(_no_path(equations, x, label))
    path = () if reached is None else _path(came_from, reached, label)
    return Explanation(label, _verdict(reached, reasons), tuple(dict.fromkeys(reasons)), path)


def missing_derivatives(
    outputs: Sequence[Value], wrt: Sequence[Value], stop: Collection[Value] = ()
) -> list[str]:
    """Every derivative between `wrt` and `outputs` that cannot be computed, as text."""
    found = (reason for x in wrt for reason in explain(outputs, x, stop).reasons)
    return list(dict.fromkeys(_missing(r) for r in found if r.kind == "null"))


def _missing(reason: Reason) -> str:
    return f"{reason.span}: {reason.why}" if reason.span else reason.why


def _answers(made: Equation) -> Sequence[Cotangent]:
    """What the reverse rule says of each input; None for all where the results are no floats."""
    if not any(output.dtype.is_float for output in made.outputs):
        return [None] * len(made.inputs)
    stand_ins = tuple(
        parameter(output.type) if output.dtype.is_float else None for output in made.outputs
    )
    cotangent: Any = stand_ins[0] if len(stand_ins) == 1 else stand_ins
    answers: Sequence[Cotangent] = made.op.vjp(made.inputs, made.result, cotangent, **made.attrs)
    return answers


def _end(made: Equation, value: Value, answer: Cotangent) -> tuple[str, str] | None:
    """How a path ends at this equation, if it does: the kind and the reason."""
    name = made.op.name
    if isinstance(answer, Null):
        return "null", answer.reason
    if isinstance(answer, Disconnected):
        return "disconnected", "its values do not depend on this operand, or the path is cut"
    if answer is not None:
        return None
    if not any(output.dtype.is_float for output in made.outputs):
        return "zero", _NO_FLOAT.get(name, "its result is an integer or a boolean")
    if not value.dtype.is_float:
        return "zero", _ZERO.get(name, "an integer or a boolean does not vary")
    return "zero", _ZERO.get(name, "its derivative is zero")


def _verdict(reached: Value | None, reasons: Sequence[Reason]) -> str:
    kinds = {reason.kind for reason in reasons}
    if "null" in kinds:
        return "null"
    if reached is not None:
        return "not zero"
    return "zero" if "zero" in kinds else "disconnected"


def _no_path(equations: Iterable[Equation], x: Value, label: str) -> Reason:
    sizes = names_of(x.shape)
    for made in equations:
        if made.op.name == "size_value" and sizes & names_of((made.attrs["dim"],)):
            why = "the cost depends on its shape only, not on its entries"
            return Reason("disconnected", "shape", why, made.span, (label,))
    return Reason("disconnected", "no path", "the cost does not use it", x.span, (label,))


def _path(
    came_from: dict[Value, tuple[Value, Equation] | None], value: Value, label: str
) -> tuple[str, ...]:
    """The steps from x to `value`."""
    steps: list[str] = []
    link = came_from[value]
    while link is not None:
        before, made = link
        steps.append(called(made))
        link = came_from[before]
    return (label, *reversed(steps))


def _parameter(fn: Function, x: Any) -> Value:
    if isinstance(x, str) and x in fn.parameter_names:
        return fn.parameters[fn.parameter_names.index(x)]
    raise GradcValueError(
        f"{fn.name} has no parameter {x!r}",
        label=f"its parameters are {', '.join(fn.parameter_names)}",
    )
